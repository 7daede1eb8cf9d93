"""What Discord refuses in messages and commands, as its documentation has it (August 2026)."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

CONTENT = 2000
CUSTOM_ID = 100
NONCE = 25
LABEL = 80
ROWS = WIDTH = 5
FILES = 10
CHOICES = 25
COMMAND_NAME = re.compile(r"^[-_'\w]{1,32}$")


class Refusal(Exception):
    """An HTTP error with Discord's own code."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(f"{status} {code} {message}")
        self.status, self.code, self.message = status, code, message


def bad(message: str) -> Refusal:
    """An invalid form body."""
    return Refusal(400, 50035, message)


def check_message(payload: dict[str, Any], files: Sequence[Any], *, new: bool) -> None:
    """Raise Refusal for what Discord would not take."""
    content = payload.get("content") or ""
    if len(content) > CONTENT:
        raise bad(f"content: {len(content)} characters, at most {CONTENT}")
    said = content or files or payload.get("embeds") or payload.get("components")
    if new and not said:
        raise Refusal(400, 50006, "Cannot send an empty message")
    if len(files) > FILES or len(payload.get("embeds") or ()) > 10:
        raise bad("too many attachments or embeds")
    if len(str(payload.get("nonce") or "")) > NONCE:
        raise bad(f"nonce: at most {NONCE} characters")
    check_components(payload.get("components") or [])
    declared = [a for a in payload.get("attachments") or () if "filename" in a]
    if len(declared) < len(files):
        raise bad("attachments: a file was not declared")


def check_components(rows: list[dict[str, Any]]) -> None:
    """Action rows of buttons or one select each."""
    if len(rows) > ROWS:
        raise bad(f"components: {len(rows)} rows, at most {ROWS}")
    ids = [item.get("custom_id") for row in rows for item in _items(row) if item.get("style") != 5]
    if len(set(ids)) != len(ids):
        raise bad("components: a custom_id stands there twice")
    for name in ids:
        if not isinstance(name, str) or not 1 <= len(name) <= CUSTOM_ID:
            raise bad(f"custom_id: {name!r} is not 1 to {CUSTOM_ID} characters")


def _items(row: dict[str, Any]) -> list[dict[str, Any]]:
    if row.get("type") != 1 or not 1 <= len(row["components"]) <= WIDTH:
        raise bad("components: a row holds 1 to 5 items")
    for item in row["components"]:
        if item["type"] == 2 and not 1 <= len(item.get("label") or "") <= LABEL:
            raise bad(f"label: {item.get('label')!r} is not 1 to {LABEL} characters")
        if item["type"] == 3 and not 1 <= len(item["options"]) <= 25:
            raise bad("select: 1 to 25 options")
    return list(row["components"])


def check_commands(commands: list[dict[str, Any]]) -> None:
    """All of an application's commands, as they are put in bulk."""
    if len(commands) > 100 or len({c["name"] for c in commands}) != len(commands):
        raise bad("commands: too many, or a name twice")
    for command in commands:
        _check_command(command)


def _check_command(command: dict[str, Any]) -> None:
    if command.get("type", 1) != 1:
        raise bad("type: the bot has slash commands alone")
    _check_names(command)
    options = command.get("options") or []
    required = [bool(o.get("required")) for o in options]
    if len(options) > 25 or required != sorted(required, reverse=True):
        raise bad(f"{command['name']}: too many options, or a required one after an optional one")
    for option in options:
        _check_names(option)
        if len(option.get("choices") or ()) > CHOICES:
            raise bad(f"{option['name']}: at most {CHOICES} choices")
        if (option.get("max_length") or 1) > 6000:
            raise bad(f"{option['name']}: max_length at most 6000")
    if sum(map(len, _texts(command))) > 8000:
        raise bad(f"{command['name']}: more than 8000 characters")


def _check_names(part: dict[str, Any]) -> None:
    for name in (part["name"], *(part.get("name_localizations") or {}).values()):
        if not (COMMAND_NAME.match(name) and name == name.lower()):
            raise bad(f"name: {name!r}")
    for text in (part["description"], *(part.get("description_localizations") or {}).values()):
        if not 1 <= len(text) <= 100:
            raise bad(f"description: {text!r}")


def _texts(part: dict[str, Any]) -> Iterator[str]:
    yield part["name"]
    yield part.get("description") or ""
    for option in part.get("options") or ():
        yield from _texts(option)
    for choice in part.get("choices") or ():
        yield from (choice["name"], str(choice["value"]))


def unsafe(payload: dict[str, Any]) -> str:
    """Why this message could mention somebody; empty if it cannot."""
    allowed = payload.get("allowed_mentions")
    if allowed is None:
        return "no allowed_mentions"
    if allowed.get("parse") or allowed.get("users") or allowed.get("roles"):
        return f"allowed_mentions is {allowed}"
    return "replied_user is mentioned" if allowed.get("replied_user") else ""
