"""What the Bot API does to a request: its parameters read, HTML to text with entities, in bounds."""

import html
import json
import re
from typing import Any

from aiohttp import web

TEXT, CAPTION, CALLBACK = 4096, 1024, 64
TAGS = frozenset(
    ("b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "span", "tg-spoiler", "a", "code")
) | {"pre", "blockquote", "tg-emoji"}
_TAG = re.compile(r"<(?P<end>/?)(?P<name>[a-zA-Z][a-zA-Z0-9-]*)(?P<rest>[^<>]*)>")


class MarkupError(ValueError):
    """The description that the Bot API would give."""


def units(text: str) -> int:
    """UTF-16 code units, in which Telegram counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def parse_html(source: str) -> tuple[str, list[dict]]:
    """(text, entities) of parse_mode=HTML. Raises MarkupError as strictly as the real parser."""
    text, entities, opened, at = "", [], [], 0
    while at < len(source):
        if source[at] != "<":
            end = source.find("<", at)
            end = len(source) if end < 0 else end
            text += html.unescape(source[at:end])
            at = end
            continue
        offset = len(source[:at].encode())
        tag = _TAG.match(source, at)
        if tag is None:
            raise MarkupError(f"can't parse entities: Unclosed start tag at byte offset {offset}")
        name = tag["name"].lower()
        if name not in TAGS:
            raise MarkupError(
                f'can\'t parse entities: Unsupported start tag "{name}" at byte offset {offset}'
            )
        if not tag["end"]:
            opened.append((name, units(text)))
        else:
            if not opened or opened[-1][0] != name:
                raise MarkupError(
                    f"can't parse entities: Unmatched end tag at byte offset {offset}"
                )
            _, start = opened.pop()
            if units(text) > start:
                entities.append({"type": name, "offset": start, "length": units(text) - start})
        at = tag.end()
    if opened:
        raise MarkupError(
            f"can't parse entities: Can't find end tag corresponding to start tag {opened[-1][0]}"
        )
    return text, entities


class ApiError(Exception):
    """What the Bot API answers instead of a result."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code, self.description, self.parameters = code, description, parameters


def bad(description: str) -> ApiError:
    return ApiError(400, f"Bad Request: {description}")


def body_of(params: dict, name: str, *, empty: bool = False) -> dict[str, Any]:
    """Text or caption with its entities, in bounds."""
    source = str(params.get(name) or "")
    try:
        text, entities = parse_html(source) if params.get("parse_mode") == "HTML" else (source, [])
    except MarkupError as error:
        raise bad(str(error)) from None
    text = text.strip()
    if name == "text" and not text and not empty:
        raise bad("message text is empty")
    if units(text) > (TEXT if name == "text" else CAPTION):
        what = "message" if name == "text" else "message caption"
        raise bad(f"{what} is too long")
    return {name: text, "entities" if name == "text" else "caption_entities": entities}


def markup_of(params: dict) -> dict[str, Any]:
    markup = params.get("reply_markup")
    if not markup:
        return {}
    rows = markup.get("inline_keyboard", [])
    if sum(len(row) for row in rows) > 100 or any(len(row) > 8 for row in rows):
        raise bad("reply markup is too long")
    for row in rows:
        for button in row:
            if not 0 < len(button.get("callback_data", "").encode()) <= CALLBACK:
                raise bad("BUTTON_DATA_INVALID")
            if not button["text"].strip():
                raise bad("text buttons are unallowed in the inline keyboard")
    return {"reply_markup": markup} if rows else {}


async def read(request: web.Request) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Parameters (JSON in them read) and files, from whichever encoding the client chose."""
    if request.content_type == "application/json":
        return dict(await request.json()), {}
    given, params, files = {**request.query, **await request.post()}, {}, {}
    for name, value in given.items():
        if isinstance(value, web.FileField):
            files[name] = value.file.read()
        elif name in ("text", "caption", "data", "url", "secret_token", "parse_mode"):
            params[name] = value
        else:
            try:
                params[name] = json.loads(value)
            except (ValueError, TypeError):
                params[name] = value
    # a photo given as attach://name is the file of that name
    for name in ("photo", "document"):
        if str(params.get(name, "")).startswith("attach://"):
            files[name] = files[params.pop(name).removeprefix("attach://")]
    return params, files
