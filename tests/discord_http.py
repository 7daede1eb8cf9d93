"""Between aiohttp and the loopback Discord: bodies in, answers and refusals out."""

import json
from typing import Any

from aiohttp import web
from discord_limits import Refusal


class Limited(Refusal):
    """429 of the server's own count."""

    def __init__(self, seconds: float) -> None:
        super().__init__(429, 0, "You are being rate limited.")
        self.seconds = seconds


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """As Discord sends it: the content type names no charset."""
    text = json.dumps(body).encode()
    return web.Response(body=text, status=status, headers=headers, content_type="application/json")


def limited(seconds: float) -> web.Response:
    body = {"message": "You are being rate limited.", "retry_after": seconds, "global": False}
    return answer(body, status=429, headers={"Via": "1.1 google"})


def refused(error: Refusal) -> web.Response:
    if isinstance(error, Limited):
        return limited(error.seconds)
    body = {"code": error.code, "message": error.message}
    return answer(body, status=error.status)


async def body_of(request: web.Request) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    if request.content_type == "multipart/form-data":
        payload: dict[str, Any] = {}
        files = []
        async for part in await request.multipart():
            data = bytes(await part.read())
            if part.name == "payload_json":
                payload = json.loads(data)
            else:
                files.append((part.filename or "", data))
        return payload.get("data", payload) | {"type": payload.get("type")}, files
    raw = await request.read()
    read = json.loads(raw) if raw else {}
    return ({"list": read} if isinstance(read, list) else read), []
