"""A loopback Discord at wire level: REST v10, webhooks, interactions and gateway, with its limits.

One reading of the documentation. It refuses what Discord would refuse; what would merely be unwise
(a message that could mention somebody, a retry before its time) stands in `violations`.
"""

import asyncio
import itertools
import re
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Self

from aiohttp import web
from discord_gateway import Gateway
from discord_http import Limited, answer, body_of, limited, refused
from discord_limits import CHOICES, Refusal, bad, check_commands, check_message, unsafe
from discord_world import (
    APP,
    CHANNEL,
    ELSEWHERE,
    EPHEMERAL,
    GUILD,
    LOADING,
    MIB,
    OWNER,
    THREAD,
    TOKEN,
    UNANSWERED,
    Call,
    Fault,
    Interaction,
    Message,
    guild,
    user,
)

CALL = web.RequestKey("call", Call)


class DiscordServer:
    """`async with DiscordServer() as discord`: listens on a free port of the loopback."""

    def __init__(self) -> None:
        self.gateway = Gateway(TOKEN)
        self.messages: dict[str, Message] = {}
        self.commands: list[dict[str, Any]] = []
        self.interactions: dict[str, Interaction] = {}
        self.calls: list[Call] = []
        self.violations: list[str] = []
        self.faults: list[Fault] = []
        self.privates: dict[str, str] = {}  # private channel -> the person there
        self.gone: set[str] = set()  # deleted channels
        self.closed: set[str] = set()  # channels where the bot may not write
        self.archived: dict[str, bool] = {}  # threads where nothing is edited; whether for good
        self.fileless: set[str] = set()  # ... where it may not attach files
        self.upload_limit = 10 * MIB
        self.token_life = 900.0
        self.rates = {"message": (5, 5.0), "webhook": (5, 2.0)}
        self._used: dict[str, list[float]] = defaultdict(list)
        self._not_before: dict[str, float] = {}
        self._serial = itertools.count()
        self._nonces: dict[tuple[str, str], Message] = {}

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._middleware], client_max_size=600 * MIB)
        app.router.add_get("/", self.gateway.handle)
        app.router.add_get("/cdn/{message}/{number}", self._file)
        for method, path, handler in self._routes():
            app.router.add_route(method, f"/api/v10{path}", handler)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.base = f"http://127.0.0.1:{port}/api/v10"
        self.gateway.url = f"ws://127.0.0.1:{port}/"
        guilds = [{"id": GUILD, "unavailable": True}]
        self.gateway.ready = {
            "user": user(APP),
            "guilds": guilds,
            "application": {"id": APP, "flags": 0},
        }
        self.gateway.first = [("GUILD_CREATE", guild())]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.gateway.close(1001)
        await self._runner.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """What points `pastiche serve` here."""
        return {
            "DISCORD_TOKEN": TOKEN,
            "DISCORD_API_BASE": self.base,
            "DISCORD_GATEWAY_URL": self.gateway.url,
        }

    def _routes(self) -> list[tuple[str, str, Callable[[web.Request], Any]]]:
        at_message = "/channels/{channel}/messages/{message}"
        hook = "/webhooks/{app}/{token}"
        return [
            ("GET", "/users/@me", self._me),
            ("GET", "/oauth2/applications/@me", self._application),
            ("PUT", "/applications/{app}/commands", self._put_commands),
            ("POST", "/interactions/{id}/{token}/callback", self._callback),
            ("POST", hook, self._followup),
            ("PATCH", hook + "/messages/{message}", self._hook_edit),
            ("DELETE", hook + "/messages/{message}", self._hook_delete),
            ("POST", "/channels/{channel}/messages", self._post),
            ("PATCH", at_message, self._patch),
            ("DELETE", at_message, self._delete),
            ("POST", "/users/@me/channels", self._open_private),
        ]

    # what tests set and look at

    def fail(
        self, method: str, path: str, *, status: int | None = None, times: int = 1,
        retry_after: float = 0.0, effective: bool = False, code: int = 0, after: int = 0,
    ) -> Fault:  # fmt: skip
        """Let the next requests fail: with a status, or (None) by dropping the connection."""
        fault = Fault(method, re.compile(path), status, times, retry_after, effective, code, after)
        self.faults.append(fault)
        return fault

    async def wait(self, condition: Callable[[], Any], seconds: float = 200) -> Any:
        """Until the condition holds; returns its value."""
        until = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > until:
                last = [(c.method, c.path, c.status) for c in self.calls[-5:]]
                raise TimeoutError(f"never came; the last calls: {last}")
            await asyncio.sleep(0.01)
        return value

    def in_channel(self, channel: str) -> list[Message]:
        """What stands there, oldest first."""
        return [m for m in self.messages.values() if m.channel == channel and not m.deleted]

    def new_id(self) -> str:
        """A snowflake of now."""
        stamp = int(time.time() * 1000) - 1_420_070_400_000
        return str((stamp << 22) | next(self._serial) % (1 << 22))

    # the middleware: authorisation, planned faults, rates

    @web.middleware
    async def _middleware(
        self, request: web.Request, handler: Callable[..., Any]
    ) -> web.StreamResponse:
        if request.path == "/" or request.path.startswith("/cdn/"):
            return await handler(request)
        path = request.path.removeprefix("/api/v10")
        call = Call(request.method, path, time.monotonic())
        self.calls.append(call)
        call.payload, call.files = await body_of(request)
        request[CALL] = call
        key = f"{request.method} {path}"
        if call.at < self._not_before.get(key, 0) - 0.05:
            self.violations.append(f"{key} came {self._not_before[key] - call.at:.2f} s early")
        fault = self._fault(call)
        if fault is not None and not fault.effective:
            return self._planned(fault, request, key)
        try:
            self._authorise(request)
            headers = self._rate(request)
            response = await handler(request)
            response.headers.update(headers)
        except Refusal as error:
            response = refused(error)
        call.status = response.status
        if fault is not None:
            return self._planned(fault, request, key)
        return response

    def _fault(self, call: Call) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == call.method and fault.path.search(call.path):
                if fault.after:
                    fault.after -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def _planned(self, fault: Fault, request: web.Request, key: str) -> web.Response:
        if fault.status is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        request[CALL].status = fault.status
        if fault.status == 429 and not fault.code:
            self._not_before[key] = time.monotonic() + fault.retry_after
            return limited(fault.retry_after)
        told = refused(Refusal(fault.status, fault.code, "planned"))
        if fault.retry_after:  # as a proxy before Discord says it
            told.headers["Retry-After"] = f"{fault.retry_after:g}"
        return told

    def _authorise(self, request: web.Request) -> None:
        if request.path.startswith(("/api/v10/webhooks", "/api/v10/interactions")):
            return
        if request.headers.get("Authorization") != f"Bot {TOKEN}":
            raise Refusal(401, 0, "401: Unauthorized")

    def _rate(self, request: web.Request) -> dict[str, str]:
        """A fixed window for each channel or webhook token, as headers tell it."""
        names = request.match_info
        if "message" in names or request.path.endswith("/messages") or request.method == "POST":
            kind = "webhook" if "token" in names else "message"
        else:
            return {}
        if request.path.endswith(("/callback", "/@me/channels")):
            return {}
        key = f"{kind} {request.method} {names.get('token') or names.get('channel')}"
        most, window = self.rates[kind]
        now = time.monotonic()
        used = self._used[key] = [at for at in self._used[key] if at > now - window]
        if len(used) >= most:
            raise Limited(used[0] + window - now)
        used.append(now)
        left = used[0] + window - now
        return {
            "X-RateLimit-Limit": str(most),
            "X-RateLimit-Remaining": str(most - len(used)),
            "X-RateLimit-Reset-After": f"{left:.3f}",
            "X-RateLimit-Reset": f"{time.time() + left:.3f}",
            "X-RateLimit-Bucket": f"{kind}-{request.method}",
        }

    # the application

    async def _me(self, request: web.Request) -> web.Response:
        return answer(user(APP))

    async def _application(self, request: web.Request) -> web.Response:
        about = {"id": APP, "name": "Pastiche", "description": "", "icon": None, "bot_public": True}
        rest = {
            "bot_require_code_grant": False,
            "owner": user(OWNER),
            "verify_key": "k",
            "flags": 0,
        }
        return answer(about | rest)

    async def _put_commands(self, request: web.Request) -> web.Response:
        commands: Any = request[CALL].payload["list"]
        check_commands(commands)
        known = {(c["name"], c["type"]): c["id"] for c in self.commands}
        self.commands = [
            {"description": ""} | c | {"id": known.get((c["name"], c["type"])) or self.new_id()}
            for c in commands
        ]
        return answer([c | {"application_id": APP} for c in self.commands])

    # interactions and their webhooks

    async def _callback(self, request: web.Request) -> web.Response:
        interaction = self.interactions.get(request.match_info["token"])
        if interaction is None or time.monotonic() - interaction.born > UNANSWERED:
            raise Refusal(404, 10062, "Unknown interaction")
        if interaction.callback is not None:
            raise Refusal(400, 40060, "Interaction has already been acknowledged.")
        payload = request[CALL].payload
        kind, data = payload["type"], payload.get("data") or {}
        if kind == 8 and len(data["choices"]) > CHOICES:
            raise bad("choices: at most 25")
        if kind in (4, 7):
            self._check(interaction.channel, data, request[CALL].files, new=kind == 4)
        if kind in (6, 7) and interaction.source is None:
            raise bad("type: only a component can be updated")
        interaction.ack_seconds = time.monotonic() - interaction.born
        interaction.callback, interaction.callback_data = kind, data
        self._respond(interaction, kind, data, request[CALL].files)
        return answer(self._callback_answer(interaction, kind))

    def _respond(
        self, interaction: Interaction, kind: int, data: dict[str, Any], files: Any
    ) -> None:
        if kind in (4, 5):
            made = Message(self.new_id(), interaction.channel, APP, flags=data.get("flags", 0))
            made.flags |= LOADING if kind == 5 else 0
            if kind == 4:
                self._write(made, data, files)
            interaction.response = self.messages[made.id] = made
        elif kind in (6, 7):
            interaction.response = interaction.source
            if kind == 7 and interaction.source is not None:
                self._write(interaction.source, data, files)

    def _callback_answer(self, interaction: Interaction, kind: int) -> dict[str, Any]:
        about: dict[str, Any] = {"id": interaction.id, "type": interaction.kind}
        resource = None
        if interaction.response is not None and kind in (4, 5, 7):
            about["response_message_id"] = interaction.response.id
            about["response_message_loading"] = kind == 5
            resource = {"type": kind, "message": self.message(interaction.response)}
        return {"interaction": about, "resource": resource}

    def _alive(self, request: web.Request) -> Interaction:
        interaction = self.interactions.get(request.match_info["token"])
        if interaction is None:
            raise Refusal(404, 10015, "Unknown Webhook")
        if time.monotonic() - interaction.born > self.token_life:
            raise Refusal(401, 50027, "Invalid Webhook Token")
        if interaction.callback is None:
            raise Refusal(404, 10008, "Unknown Message")
        return interaction

    def _of_hook(self, request: web.Request) -> Message:
        interaction, name = self._alive(request), request.match_info["message"]
        found = [m for m in interaction.said if name in ("@original", m.id)]
        if not found or found[0].channel in self.gone:
            raise Refusal(404, 10008, "Unknown Message")
        if found[0].channel in self.archived:
            raise Refusal(400, 50083, "Thread is archived")
        return found[0]

    async def _followup(self, request: web.Request) -> web.Response:
        interaction = self._alive(request)
        call = request[CALL]
        self._check(interaction.channel, call.payload, call.files, new=True)
        thinking = interaction.response
        if thinking is not None and thinking.flags & LOADING and not thinking.deleted:
            made = (
                thinking  # the first follow-up takes the place of "is thinking", as it was deferred
            )
        else:
            flags = call.payload.get("flags", 0)
            made = Message(self.new_id(), interaction.channel, APP, flags=flags)
            interaction.followups.append(made)
        self.messages[made.id] = made
        self._write(made, call.payload, call.files)
        return answer(self.message(made))

    async def _hook_edit(self, request: web.Request) -> web.Response:
        message, call = self._of_hook(request), request[CALL]
        self._check(message.channel, call.payload, call.files, new=False)
        self._write(message, call.payload, call.files)
        return answer(self.message(message))

    async def _hook_delete(self, request: web.Request) -> web.Response:
        self._of_hook(request).deleted = True
        return web.Response(status=204)

    # channels

    def _open(self, request: web.Request, *, write: bool = True) -> str:
        channel = request.match_info["channel"]
        known = {CHANNEL, THREAD, ELSEWHERE, *self.privates} - self.gone
        if channel not in known:
            raise Refusal(404, 10003, "Unknown Channel")
        if write and self.archived.get(channel):
            raise Refusal(403, 160005, "Thread is locked")
        if write:  # who writes in an archived thread brings it back
            self.archived.pop(channel, None)
        if write and channel in self.closed:
            raise Refusal(403, 50013, "Missing Permissions")
        return channel

    def _message(self, request: web.Request, *, own: bool = False) -> Message:
        channel = self._open(request, write=False)
        message = self.messages.get(request.match_info["message"])
        if message is None or message.deleted or message.channel != channel:
            raise Refusal(404, 10008, "Unknown Message")
        if own and channel in self.archived:
            raise Refusal(400, 50083, "Thread is archived")
        if own and message.author != APP:
            raise Refusal(403, 50005, "Cannot edit a message authored by another user")
        return message

    async def _file(self, request: web.Request) -> web.Response:
        files = self.messages[request.match_info["message"]].files
        return web.Response(body=files[int(request.match_info["number"])][1])

    async def _post(self, request: web.Request) -> web.Response:
        channel, call = self._open(request), request[CALL]
        self._check(channel, call.payload, call.files, new=True)
        nonce = call.payload.get("nonce")
        if call.payload.get("enforce_nonce") and (channel, nonce) in self._nonces:
            return answer(self.message(self._nonces[channel, nonce]))
        made = Message(self.new_id(), channel, APP, nonce=nonce)
        made.reply_to = self._reference(call.payload, channel)
        self.messages[made.id] = made
        if nonce:
            self._nonces[channel, nonce] = made
        self._write(made, call.payload, call.files)
        return answer(self.message(made))

    def _reference(self, payload: dict[str, Any], channel: str) -> str | None:
        reference = payload.get("message_reference") or {}
        name = reference.get("message_id")
        target = self.messages.get(str(name))
        there = target is not None and not target.deleted and target.channel == channel
        if name and not there and reference.get("fail_if_not_exists", True):
            raise bad("message_reference: Unknown message")
        return str(name) if name and there else None

    async def _patch(self, request: web.Request) -> web.Response:
        message, call = self._message(request, own=True), request[CALL]
        if message.flags & EPHEMERAL:
            raise Refusal(404, 10008, "Unknown Message")
        self._check(message.channel, call.payload, call.files, new=False)
        self._write(message, call.payload, call.files)
        return answer(self.message(message))

    async def _delete(self, request: web.Request) -> web.Response:
        self._message(request, own=True).deleted = True
        return web.Response(status=204)

    async def _open_private(self, request: web.Request) -> web.Response:
        return answer(self.channel(self.private(str(request[CALL].payload["recipient_id"]))))

    # values

    def private(self, person: str) -> str:
        """The channel between the bot and a person."""
        for channel, there in self.privates.items():
            if there == person:
                return channel
        channel = str(3 * 10**18 + len(self.privates))
        self.privates[channel] = person
        return channel

    def _check(
        self, channel: str, payload: dict[str, Any], files: list[tuple[str, bytes]], *, new: bool
    ) -> None:
        if why := unsafe(payload):
            self.violations.append(f"{why}: {payload.get('content', '')[:60]!r}")
        if any(len(data) > self.upload_limit for _, data in files):
            raise Refusal(413, 40005, "Request entity too large")
        if files and channel in self.fileless:
            raise Refusal(403, 50013, "Missing Permissions")
        check_message(payload, files, new=new)

    def _write(
        self, message: Message, payload: dict[str, Any], files: list[tuple[str, bytes]]
    ) -> None:
        message.flags &= ~LOADING
        if "content" in payload:
            message.content = payload["content"] or ""
            message.versions.append((time.monotonic(), message.content))
        if "components" in payload:
            message.components = payload["components"]
        if files or "attachments" in payload:
            kept = [
                a for a in payload.get("attachments") or () if "filename" not in a or "size" in a
            ]
            message.files = [*message.files[: len(kept)], *files]

    def message(self, message: Message) -> dict[str, Any]:
        """The wire form."""
        attachments = [
            {
                "id": str(n),
                "filename": name,
                "size": len(data),
                "url": f"{self.base.removesuffix('/api/v10')}/cdn/{message.id}/{n}",
                "proxy_url": "",
                "content_type": "text/plain; charset=utf-8"
                if name.endswith(".txt")
                else "image/png",
            }
            for n, (name, data) in enumerate(message.files)
        ]
        wire: dict[str, Any] = {
            "id": message.id, "channel_id": message.channel, "author": user(message.author),
            "content": message.content, "timestamp": "2026-11-22T12:00:00+00:00",
            "edited_timestamp": None, "tts": False, "mention_everyone": False, "mentions": [],
            "mention_roles": [], "attachments": attachments, "embeds": [], "pinned": False,
            "type": 19 if message.reply_to else 0, "flags": message.flags,
            "components": message.components,
        }  # fmt: skip
        if message.reply_to:
            wire["message_reference"] = {
                "message_id": message.reply_to,
                "channel_id": message.channel,
            }
            target = self.messages.get(message.reply_to)
            wire["referenced_message"] = self.message(target) if target else None
        return wire

    def channel(self, channel: str) -> dict[str, Any]:
        """The wire form, also of a private one."""
        if channel in self.privates:
            recipients = [user(self.privates[channel])]
            return {"id": channel, "type": 1, "recipients": recipients, "last_message_id": None}
        there = [c for c in (*guild()["channels"], *guild()["threads"]) if c["id"] == channel]
        return there[0] | {"guild_id": GUILD}
