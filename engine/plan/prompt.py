"""From what was typed to the prompt that an expert reads. Pure.

A request has two parts: the *instruction* ("I want a short mystery story in the style of
lovecraft") and the *beginning*, the story's own opening, which is to be continued. They are told
apart by "Here is the beginning:", by a colon after the instruction ("in the style of lovecraft: They
sat alone..."), or by the end of a wish's first line. Where none of these stands, the text is a plain
wish or a bare opening. Story text has colons of its own, so a clause before one counts as an
instruction only if it asks for a story or names a style.

Models see plain prose, never a chat template: the adapters are trained on continuation (the source
report, section 6).
"""

import re
from dataclasses import dataclass

INSTRUCTION = "Continue the following story in the style requested:"
BEGINNING_LINE = "Here is the beginning:"
MAX_INSTRUCTION = 240  # characters; further on, nothing is an instruction any more

KIND = (
    r"(?:story|stories|tale|mystery|romance|thriller|fable|opening|scene|chapter|passage|report"
    r"|article|piece)"
)
_STYLE = re.compile(r"\bin\s+the\s+(?:style|manner)\s+of\b", re.I)
_STYLE_LAST = re.compile(
    r"\bin\s+the\s+(?:style|manner)\s+of\s+\S+(?:\s+\S+){0,5}\s*\Z",  # a word has one way to be cut
    re.I,
)
_WANT = (
    r"(?:i\s+want|i\s+would\s+like|i['’]d\s+like|give|tell|make|write|compose|create|invent"
    r"|(?:can|could|would)\s+you\s+(?:please\s+)?(?:write|tell|make|give|compose|create))"
)
_WISH = re.compile(
    rf"\W{{0,20}}(?:please\s+)?(?:{_WANT}\s+(?:me\s+|us\s+|up\s+)?"
    r"(?:an?|another|some|something|about|one|in\s+the\s+style)\b"
    r"|continue\s+(?:this|the|my|it)\b"
    rf"|(?:an?|another|some)\s+(?:\w[\w'’-]*\s+){{0,4}}{KIND}"
    r"(?=\s+(?:about|of|on|in|with|where|for|by|set|that)\b|\s*+(?:[.,!]\s*+)?\Z|[.,!]\s))",
    re.I,
)
_PHRASE = re.compile(
    rf"\W{{0,20}}(?:please\s+)?(?:an?|another|some|short|brief|long|new)\s+(?:\w[\w'’-]*\s+){{0,5}}{KIND}\s*\Z"
    rf"|\W{{0,20}}{_WANT}\b.*\b{KIND}\b",
    re.I | re.S,
)
_KIND_WORD = re.compile(rf"\b{KIND}\b", re.I)
_MARKER = re.compile(
    r"(?:^[^\S\n]*+|(?<=[.!?…])[^\S\n]++)(?P<said>"
    r"here(?:\s+is|['’]s)\s+(?:the|a|my|its)\s+(?:beginning|opening|start)(?:\s+of\s+\w+(?:\s+\w+)?)?"
    r"[^\S\n]*(?:[:：]|$)"
    r"|(?:it\s+begins|(?:the\s+|its\s+|my\s+)?(?:beginning|opening|start))[^\S\n]*[:：])[^\S\n]*",
    re.I | re.M,
)
_COLON = re.compile(r"[:：](?=\s|$)|\s[-–—](?=\s)")
_END_OF_SENTENCE = re.compile(
    r"(?<!\b[A-Z])(?<!\b(?:Mr|Dr|St|vs))(?<!\b(?:Mrs|e\.g|i\.e))[.!?…](?=\s|$)"
)
_ARTICLE = re.compile(r"(?:an?|some|the|another)\s", re.I)
_FIELD = re.compile(r"\{(?:instruction|request|topic)\}")
_BLANK_LINES = re.compile(r"\n[^\S\n]*\n\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The two parts, as they stand in the text. An unmarked text (nothing told them apart) has no
    beginning; `wish` says whether it asks for a story or already is one."""

    instruction: str
    beginning: str
    marked: bool
    wish: bool


def split(text: str) -> Parts:
    """Tell instruction and beginning apart; the instruction always starts at offset 0 of the text.

    >>> split("in the style of H. P. Lovecraft: They sat alone.").beginning
    'They sat alone.'
    >>> split("A story, please. Here is the beginning: They sat alone.").instruction
    'A story, please.'
    >>> split("They sat alone: it was raining.").marked, split("The last chapter: she wept.").marked
    (False, False)
    """
    ends = [end for end in (_marker(text), _colon(text), _first_line(text)) if end]
    if not ends:
        return Parts(instruction=text, beginning="", marked=False, wish=_wishes(text))
    end, start = min(ends)
    return Parts(
        instruction=text[:end].rstrip(), beginning=text[start:].strip(), marked=True, wish=True
    )


def _wishes(text: str) -> bool:
    start = text[:MAX_INSTRUCTION]
    return bool(_WISH.match(start) or _STYLE.match(start.lstrip()))


def _marker(text: str) -> tuple[int, int] | None:
    """ "Here is the beginning" anywhere; the shorter "Beginning:" only after a wish."""
    for marker in _MARKER.finditer(text):
        place = marker.start("said")
        if marker["said"].lower().startswith("here"):
            return place, marker.end()
        if place > MAX_INSTRUCTION:
            continue
        if _wishes(text[:place]) or _STYLE.search(text[:place]):
            return place, marker.end()
    return None


def _colon(text: str) -> tuple[int, int] | None:
    """The first colon that ends an instruction; a dash does only right after a style's name."""
    for colon in _COLON.finditer(text[: MAX_INSTRUCTION + 1]):
        clause = text[: colon.start()]
        if "\n" in clause.strip():
            return None
        if _instructs(clause, dash=":" not in colon[0] and "：" not in colon[0]):
            return colon.start(), colon.end()
    return None


def _instructs(clause: str, *, dash: bool) -> bool:
    if last := _STYLE_LAST.search(clause):
        return names_a_style(clause, last.start(), clause[last.start() :])
    if dash or _END_OF_SENTENCE.search(clause):
        return False
    asks = _PHRASE.match(clause) or (_WISH.match(clause) and _KIND_WORD.search(clause))
    return bool(_STYLE.search(clause) or asks)


_DONE = re.compile(r"\b(?:\w+ed|told|built|made|sung|sang|drawn|was|were|is)\s*\Z", re.I)
_DETERMINED = re.compile(r"\bof\s+(?:an?|her|his|its|their|our|my|your|this|that)\b", re.I)


def names_a_style(text: str, start: int, phrase: str) -> bool:
    """Whether "in the style of ..." at `start` asks for a style, and is not told in the story.

    >>> names_a_style("She dressed in the style of her mother", 12, "in the style of her mother")
    False
    """
    before = text[max(0, start - MAX_INSTRUCTION) : start]
    if _KIND_WORD.search(before) and not _DONE.search(before[-40:]):
        return True
    return not (_DONE.search(before[-40:]) or _DETERMINED.search(phrase))


def _first_line(text: str) -> tuple[int, int] | None:
    if not _wishes(text):
        return None
    end = text[: MAX_INSTRUCTION + 1].find("\n")
    if end < 0:
        return None
    line = text[:end].rstrip()
    blank = _BLANK_LINES.match(text, end)
    if not (blank or line[-1:] in ".!?…:" or _STYLE_LAST.search(line)):
        return None
    marker = _MARKER.match(text, blank.end() if blank else end + 1)
    return end, marker.end() if marker else end + 1


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
        head = re.sub(r"\n{3,}", "\n\n", head)
    return head + (opening if beginning is None else beginning).strip(), len(head)


def _topic(instruction: str) -> str:
    topic = " ".join(instruction.split()).rstrip(":,;. ")
    return f"{topic[:1].upper()}{topic[1:]}\n\n" if topic else ""


def _request(instruction: str) -> str:
    wish = " ".join(instruction.split()).rstrip(":,;-–— ") or "a story"
    if style := _STYLE.match(wish):
        wish = f"a story {style[0].lower()}{wish[style.end() :]}"
    if _ARTICLE.match(wish):
        wish = f"I want {wish[0].lower()}{wish[1:]}"
    if wish[-1] not in ".!?…":
        wish += "."
    return f"{wish[0].upper()}{wish[1:]}\n{BEGINNING_LINE}\n"
