"""What the Bot API does to a request: its parameters read, text, caption and buttons in bounds."""

import json
from typing import Any

from aiohttp import web

TEXT, CAPTION, CALLBACK = 4096, 1024, 64


def units(text: str) -> int:
    """UTF-16 code units, in which Telegram counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


class ApiError(Exception):
    """What the Bot API answers instead of a result."""

    def __init__(self, code: int, description: str, **parameters: int) -> None:
        super().__init__(description)
        self.code, self.description, self.parameters = code, description, parameters


def bad(description: str) -> ApiError:
    return ApiError(400, f"Bad Request: {description}")


def body_of(params: dict, name: str) -> dict[str, Any]:
    """Text or caption, in bounds; the bot sends no markup, so none is read here."""
    if params.get("parse_mode"):
        raise bad("this server reads no markup")
    text = str(params.get(name) or "").strip()
    if name == "text" and not text:
        raise bad("message text is empty")
    if units(text) > (TEXT if name == "text" else CAPTION):
        what = "message" if name == "text" else "message caption"
        raise bad(f"{what} is too long")
    return {name: text}


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
