"""The gateway of the loopback Discord: HELLO, IDENTIFY, RESUME, heartbeats, and their faults."""

import contextlib
import itertools
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

GUILDS, GUILD_MESSAGES, DIRECT_MESSAGES, MESSAGE_CONTENT = 1 << 0, 1 << 9, 1 << 12, 1 << 15
PRIVILEGED = (1 << 1) | (1 << 8) | MESSAGE_CONTENT
KEPT = 5000  # events a session can be resumed over


@dataclass
class Session:
    """What one IDENTIFY began; it outlives its sockets."""

    name: str
    intents: int
    seq: int = 0
    events: list[tuple[int, dict[str, Any]]] = field(default_factory=list)


def _compressor(kind: str) -> Any:
    if kind == "zstd-stream":
        try:
            from compression import zstd
        except ImportError:
            import zstandard as zstd
        return zstd.ZstdCompressor()
    return zlib.compressobj()


def _flush(kind: str, made: Any) -> bytes:
    return made.flush(zlib.Z_SYNC_FLUSH if kind == "zlib-stream" else made.FLUSH_BLOCK)


class Gateway:
    """One bot's connection at a time."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.heartbeat_ms = 41_250
        self.acks = True
        self.privileged = False  # whether the message-content intent is switched on for the app
        self.url = ""
        self.ready: dict[str, Any] = {}
        self.first: list[tuple[str, dict[str, Any]]] = []  # sent after READY
        self.session: Session | None = None
        self.identified: list[dict[str, Any]] = []
        self.resumed: list[dict[str, Any]] = []
        self.beats = 0
        self._names = itertools.count(1)
        self._socket: web.WebSocketResponse | None = None
        self._kind = ""
        self._packer: Any = None

    @property
    def connected(self) -> bool:
        """Whether a bot is there that has said who it is."""
        return self._socket is not None and not self._socket.closed and self.session is not None

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """One WebSocket, to its end."""
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        self._kind = request.query.get("compress", "")
        self._packer = _compressor(self._kind) if self._kind else None
        self._socket = socket
        await self._send({"op": 10, "d": {"heartbeat_interval": self.heartbeat_ms}})
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await self._receive(json.loads(message.data), socket)
        return socket

    async def _receive(self, message: dict[str, Any], socket: web.WebSocketResponse) -> None:
        match message["op"]:
            case 1:
                self.beats += 1
                if self.acks:
                    await self._send({"op": 11})
            case 2:
                await self._identify(message["d"], socket)
            case 6:
                await self._resume(message["d"], socket)

    async def _identify(self, data: dict[str, Any], socket: web.WebSocketResponse) -> None:
        self.identified.append(data)
        if data["token"] != self.token:
            await socket.close(code=4004, message=b"Authentication failed.")
            return
        if data["intents"] & PRIVILEGED and not self.privileged:
            await socket.close(code=4014, message=b"Disallowed intent(s).")
            return
        self.session = Session(f"session-{next(self._names)}", data["intents"])
        about = {"v": 10, "session_id": self.session.name, "resume_gateway_url": self.url}
        about |= {"shard": data["shard"]} if "shard" in data else {}
        await self.dispatch("READY", self.ready | about)
        for name, event in self.first:
            await self.dispatch(name, event)

    async def _resume(self, data: dict[str, Any], socket: web.WebSocketResponse) -> None:
        self.resumed.append(data)
        session = self.session
        if session is None or session.name != data["session_id"] or data["token"] != self.token:
            await self._send({"op": 9, "d": False})
            return
        for seq, event in list(session.events):
            if seq > data["seq"]:
                await self._send(event)
        await self.dispatch("RESUMED", {})

    async def _send(self, message: dict[str, Any]) -> None:
        if self._socket is None or self._socket.closed:
            return
        text = json.dumps(message)
        if self._packer is None:
            await self._socket.send_str(text)
            return
        packed = self._packer.compress(text.encode()) + _flush(self._kind, self._packer)
        await self._socket.send_bytes(packed)

    async def dispatch(self, name: str, data: Any) -> None:
        """An event; kept for a RESUME if nobody listens."""
        session = self.session
        if session is None:
            return
        session.seq += 1
        event = {"op": 0, "t": name, "s": session.seq, "d": data}
        session.events = [*session.events[-KEPT:], (session.seq, event)]
        with contextlib.suppress(ConnectionError):  # it is kept
            await self._send(event)

    async def send_raw(self, message: Any) -> None:
        """Anything, in an event's place."""
        await self._send(message)

    async def close(self, code: int) -> None:
        """End the socket from Discord's side."""
        if self._socket is not None:
            await self._socket.close(code=code)

    async def invalidate(self, *, resumable: bool = False) -> None:
        """INVALID SESSION."""
        if not resumable:
            self.session = None
        await self._send({"op": 9, "d": resumable})

    async def ask_to_reconnect(self) -> None:
        """RECONNECT."""
        await self._send({"op": 7, "d": None})
