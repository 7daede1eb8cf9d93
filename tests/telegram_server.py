"""A loopback Bot API server: as much of the wire as the bot uses, with its limits and its faults.

It is one reading of the protocol. It runs in the test's own loop; the bot is another process. What a
person does is a method (`say`, `press`, `shut`); what the bot did is in `calls`, `messages`.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from telegram_chats import BOT, TOKEN
from telegram_methods import Methods
from telegram_parameters import ApiError, read


@dataclass
class Call:
    """One request of the bot and what it got: the HTTP status, 0 for a dropped connection."""

    method: str
    params: dict[str, Any]
    files: dict[str, bytes]
    at: float
    status: int = 200
    result: Any = None
    error: str = ""

    @property
    def chat(self) -> int:
        return int(self.params.get("chat_id", 0))

    @property
    def text(self) -> str:
        return str(self.params.get("text", self.params.get("caption", "")))


@dataclass
class Fault:
    """What goes wrong at a method: a status (429 with `retry_after`), or a dropped connection before
    ("drop") or after ("drop_after") the request has taken effect, or a body that is no JSON."""

    kind: int | str
    retry_after: int = 0
    when: Callable[[dict[str, Any]], bool] = lambda _params: True


class TelegramServer(Methods):
    """Start with `async with TelegramServer() as server`; its address is `server.base`."""

    def __init__(self, token: str = TOKEN, *, limits: bool = True) -> None:
        super().__init__(limits=limits)
        self.token = token
        self.calls: list[Call] = []
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)

    async def __aenter__(self) -> "TelegramServer":
        app = web.Application(client_max_size=60_000_000)
        app.router.add_route("*", "/bot{token}/{method}", self._serve)
        app.router.add_get("/file/bot{token}/{path:.*}", self._file)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._news.set()
        await self._runner.cleanup()

    def fail(self, method: str, *kinds: int | str, retry_after: int = 0, **more: Any) -> None:
        """The next calls of the method go wrong, one after the other."""
        self.faults[method] += [Fault(kind, retry_after, **more) for kind in kinds]

    def shown(self, chat: int) -> list[dict[str, Any]]:
        """The bot's messages in a chat as they stand now, oldest first."""
        mine = (m for (c, _), m in self.messages.items() if c == chat)
        return [m for m in mine if m["from"]["id"] == BOT["id"]]

    def made(self, *methods: str) -> list[Call]:
        """The calls of these methods, all of them or those that succeeded."""
        return [c for c in self.calls if c.method in methods]

    async def until(self, true: Callable[[], Any], seconds: float = 200) -> Any:
        """Wait for a condition; its value."""
        end = time.monotonic() + seconds
        while not (value := true()):
            if time.monotonic() > end:
                last = [(c.method, c.status, c.error, c.text[:60]) for c in self.calls[-8:]]
                raise TimeoutError(f"it did not come; the last calls: {last}")
            await asyncio.sleep(0.02)
        return value

    async def answer_in(self, chat: int, words: str, seconds: float = 200) -> dict[str, Any]:
        """The bot's first message in the chat that holds the words."""
        found = await self.until(
            lambda: [m for m in self.shown(chat) if words in _words(m)], seconds
        )
        return dict(found[0])

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        params, files = await read(request)
        call = Call(request.match_info["method"], params, files, time.monotonic())
        if call.method != "getUpdates":
            self.calls.append(call)
        after = None
        try:
            self._check_token(request.match_info["token"])
            fault = self._fault(call)
            if fault is not None and fault.kind == "drop_after":
                after = fault
            elif fault is not None:
                return self._broken(request, call, fault)
            call.result = await self._do(call)
        except ApiError as error:
            call.status, call.error = error.code, error.description
            body = {"ok": False, "error_code": error.code, "description": error.description}
            if error.parameters:
                body["parameters"] = error.parameters
            return web.json_response(body, status=error.code)
        if after is not None:
            return self._broken(request, call, after)
        return web.json_response({"ok": True, "result": call.result})

    def _check_token(self, token: str) -> None:
        if ":" not in token:
            raise ApiError(404, "Not Found")
        if token != self.token:
            raise ApiError(401, "Unauthorized")

    def _fault(self, call: Call) -> Fault | None:
        waiting = self.faults[call.method]
        if waiting and waiting[0].when(call.params):
            return waiting.popleft()
        return None

    def _broken(self, request: web.Request, call: Call, fault: Fault) -> web.StreamResponse:
        if isinstance(fault.kind, str) and fault.kind.startswith("drop"):
            call.status, call.error = 0, fault.kind
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        call.error = "fault"
        if fault.kind == "no json":
            return web.Response(text="<html>surprise</html>")
        call.status = int(fault.kind)
        body: dict[str, Any] = {"ok": False, "error_code": call.status, "description": "Fault"}
        if call.status == 429:
            body["description"] = f"Too Many Requests: retry after {fault.retry_after}"
            body["parameters"] = {"retry_after": fault.retry_after}
            chat = self.chats.get(call.chat)
            if chat is not None:
                chat.forbidden_until = time.monotonic() + fault.retry_after
        if call.status == 502:
            return web.Response(text="<html>Bad Gateway</html>", status=502)
        return web.json_response(body, status=call.status)

    async def _do(self, call: Call) -> Any:
        handler = getattr(self, f"_api_{call.method.lower()}", None)
        if handler is None:
            raise ApiError(404, "Not Found: method not found")
        result = handler(call.params, call.files)
        return await result if asyncio.iscoroutine(result) else result

    async def _file(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({"ok": False, "error_code": 404, "description": "Not Found"})


def _words(message: dict[str, Any]) -> str:
    return str(message.get("text", "")) + str(message.get("caption", ""))
