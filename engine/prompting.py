"""From what was typed to the prompt that an expert reads. Pure.

A request has two parts: the *instruction* ("I want a short mystery story in the style of
lovecraft") and the *beginning*, the story's own opening, which is to be continued. They are told
apart by a "Here is the beginning:" line, by a colon after the instruction ("in the style of
lovecraft: They sat alone..."), or by a blank line after a wish ("I want a story about rain.").
Where none of these stands, the text is a plain wish or a bare opening.

Models see plain prose, never a chat template: the adapters are trained on continuation (the source
report, section 6).
"""

import re
from dataclasses import dataclass

INSTRUCTION = "Continue the following story in the style requested:"
BEGINNING_LINE = "Here is the beginning:"

# The words that make a clause before a colon an instruction and not the story's own first words.
_STYLE = re.compile(r"\bin\s+the\s+(?:style|manner)\s+of\b", re.I)
_KIND = r"(?:story|tale|mystery|opening|scene|chapter|passage|report|article|news\s+story|piece)"
_WISH = re.compile(
    r"^\W*(?:please\s+)?(?:(?:i\s+want|i\s+would\s+like|i'd\s+like|i’d\s+like|write|tell|give|make"
    r"|compose|create|continue|can\s+you|could\s+you)\b"
    rf"|(?:an?\s+|some\s+|the\s+)?(?:[\w'’-]+\s+){{0,4}}{_KIND}\s+(?:about|of|on|in|with|where|for)\b)",
    re.I,
)
_KIND_WORD = re.compile(rf"\b{_KIND}\b", re.I)
_MARKER = re.compile(
    r"^[^\S\n]*(?:here(?:\s+is|'s|’s)\s+)?(?:the|its|my)\s+(?:beginning|opening)\s*:[^\S\n]*",
    re.I | re.M,
)
_COLON = re.compile(r":(?=\s|$)")
_END_OF_SENTENCE = re.compile(r"[.!?…](?=\s|$)")
_ARTICLE = re.compile(r"(?:an?|some|the)\s", re.I)
_FIELD = re.compile(r"\{(?:instruction|request|topic)\}")
_BLANK_LINES = re.compile(r"\n\s*\n\s*")
MAX_INSTRUCTION = 240  # characters before a colon that can still be an instruction


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The two parts, each with its place in the text. `marked`: something told them apart.

    An unmarked text has no beginning; `wish` says whether it asks for a story or already is one.
    """

    instruction: str
    beginning: str
    marked: bool
    wish: bool


def split(text: str) -> Parts:
    """Tell instruction and beginning apart; the instruction always starts at offset 0 of the text.

    >>> split("in the style of lovecraft: They sat alone.").beginning
    'They sat alone.'
    >>> split("A story, please.\\nHere is the beginning:\\n\\nThey sat alone.").instruction
    'A story, please.'
    >>> split("They sat alone: it was raining.").marked
    False
    """
    if marker := _MARKER.search(text):
        return _parts(text, marker.start(), marker.end())
    colon = _COLON.search(text)
    if colon and colon.start() <= MAX_INSTRUCTION and _instructs(text[: colon.start()]):
        return _parts(text, colon.start(), colon.end())
    wish = bool(_WISH.search(text) or _STYLE.match(text.lstrip()))
    paragraph = _BLANK_LINES.search(text)
    if wish and paragraph and paragraph.start() <= MAX_INSTRUCTION:
        return _parts(text, paragraph.start(), paragraph.end())
    return Parts(instruction=text, beginning="", marked=False, wish=wish)


def _parts(text: str, end: int, start: int) -> Parts:
    return Parts(
        instruction=text[:end].rstrip(), beginning=text[start:].strip(), marked=True, wish=True
    )


def _instructs(clause: str) -> bool:
    if "\n" in clause.strip() or _END_OF_SENTENCE.search(clause):
        return False
    return bool(_STYLE.search(clause) or _WISH.search(clause) or _ends_in_kind(clause))


def _ends_in_kind(clause: str) -> bool:
    """A short noun phrase: "a ghost story", "short mystery"."""
    return len(clause.split()) <= 6 and bool(_KIND_WORD.search(clause))


def assemble(template: str, text: str, beginning: str | None = None) -> tuple[str, int]:
    """The prompt, and how many of its first characters (the head) must never be trimmed.

    `beginning` overrides the text's own: it is the answer that /continue goes on from.

    >>> prompt, head = assemble("{instruction}\\n\\n{request}\\n{beginning}",
    ...                         "in the style of agatha: It was late.")
    >>> print(prompt)
    Continue the following story in the style requested:
    <BLANKLINE>
    I want a story in the style of agatha.
    Here is the beginning:
    <BLANKLINE>
    It was late.
    >>> prompt[head:]
    'It was late.'
    """
    parts = split(text)
    asked = parts.marked or parts.wish
    if "{topic}" in template:  # a headline is asked for, a whole sentence is an opening
        asked = parts.marked or not _END_OF_SENTENCE.search(parts.instruction)
    opening = parts.beginning if asked else parts.instruction
    # Filled in one pass, not by format(): what was typed may itself hold braces.
    filled = {
        "{instruction}": INSTRUCTION,
        "{request}": _request(parts.instruction) if asked else "",
        "{topic}": _topic(parts.instruction) if asked else "",
    }
    head = _FIELD.sub(lambda field: filled[field[0]], template.removesuffix("{beginning}"))
    if not asked:
        head = _BLANK_LINES.sub("\n\n", head)
    return head + (opening if beginning is None else beginning).strip(), len(head)


def _topic(instruction: str) -> str:
    """What is asked for as a headline stands: one line, then a blank one."""
    topic = " ".join(instruction.split()).rstrip(":,;. ")
    return f"{topic[:1].upper()}{topic[1:]}\n\n"


def _request(instruction: str) -> str:
    """The wish as one sentence and the line that announces the beginning, whatever was typed."""
    wish = " ".join(instruction.split()).rstrip(":,; ") or "a story"
    if _STYLE.match(wish):
        wish = f"a story {wish[0].lower()}{wish[1:]}"
    if _ARTICLE.match(wish):
        wish = f"I want {wish[0].lower()}{wish[1:]}"
    if wish[-1] not in ".!?…":
        wish += "."
    return f"{wish[0].upper()}{wish[1:]}\n{BEGINNING_LINE}\n"
