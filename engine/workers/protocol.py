"""Messages over a Unix socket, one JSON line each: between the queue's owner, its workers, and the
processes attached to it.

A connection's first message says what it is: a worker's `Hello`, or one request of an attached
client, which is answered and then closed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from engine import Method
from engine.errors import KIND_SENTENCE, OurError, PasticheError
from engine.events import Event
from engine.overview import Overview
from engine.plan.job import Answer, Job, Request, Status
from engine.shutdown import end, spawn

CLOSE_SECONDS = 2.0
REFUSAL = "SetupError"  # of a worker with other cards; another error is the owner's own
MAX_LINE = 1 << 28  # bytes; four pictures of the largest size must fit

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Announce a worker; one with another fingerprint than the owner expects is answered by Refused."""

    medium: str
    pid: int
    fingerprint: Annotated[str, Field(alias="kit")] = ""  # its older name, which others still say
    kind: Literal["hello"] = "hello"


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Say how many jobs the worker takes at a time, now that its models are loaded. None for a `reason`:
    it cannot serve. None without one: it was told to end, which is nobody's fault."""

    slots: int = 0
    reason: str = ""
    kind: Literal["serving"] = "serving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    job: Job
    kind: Literal["run"] = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    job: str
    kind: Literal["stop"] = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Client to owner: do what the Engine's method does. Answered by Returned; `follow` by events. `ask`
    names the job, so that asking again after a lost connection asks for the same one."""

    method: Method | Literal["follow"]
    arguments: tuple[str, ...] = ()
    request: Request | None = None
    kind: Literal["call"] = "call"


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    value: Status | Overview | Answer | bool | None
    kind: Literal["returned"] = "returned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    error: str
    message: str
    kind: Literal["refused"] = "refused"


Message = Annotated[
    Hello | Serving | Run | Stop | Call | Returned | Refused | Event, Field(discriminator="kind")
]
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


class Link:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def post(self, message: Message) -> None:
        """Send without waiting; a closed connection swallows it (its reader notices the end)."""
        if not self._writer.is_closing():
            self._writer.write(_MESSAGE.dump_json(message, by_alias=True) + b"\n")

    async def send(self, message: Message) -> None:
        self.post(message)
        await self._writer.drain()

    async def dismiss(self, message: Message) -> list[Message]:
        """Send the last message and give what is said still: a socket closed over that loses ours."""
        self.post(message)
        heard: list[Message] = []
        with suppress(OSError, OurError, TimeoutError):
            self._writer.write_eof()
            async with asyncio.timeout(CLOSE_SECONDS):
                while (said := await self.receive()) is not None:
                    heard.append(said)
        return heard

    async def receive(self) -> Message | None:
        """Read the next message, None at the end. Raises OurError for anything else."""
        try:
            line = await self._reader.readline()
            return _MESSAGE.validate_json(line) if line.endswith(b"\n") else None
        except (ConnectionError, asyncio.IncompleteReadError):
            return None
        except ValueError:
            # Not chained: pydantic's message would quote what somebody typed.
            raise OurError(
                "The other side of the socket speaks another language; is it another version?"
            ) from None

    async def close(self) -> None:
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._writer.wait_closed()


async def connect(path: str) -> Link:
    return Link(*await asyncio.open_unix_connection(path, limit=MAX_LINE))


@dataclass(slots=True, eq=False)
class Server:
    """Listen on a Unix socket; `serve` has each connection until it returns."""

    path: Path
    serve: Callable[[Link], Awaitable[None]]
    _server: asyncio.Server | None = None
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._enter, str(self.path), limit=MAX_LINE)

    def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spawn(self._connections, self._run(Link(reader, writer)))

    async def _run(self, link: Link) -> None:
        try:
            await self.serve(link)
        except PasticheError as error:
            log.info("a connection was refused", extra={"why": type(error).__name__})
            link.post(Refused(error=type(error).__name__, message=str(error)))
        except ConnectionError:
            log.debug("a connection ended early")
        except Exception:
            log.exception("a connection failed")
            link.post(Refused(error="OurError", message=KIND_SENTENCE))
        finally:
            await link.close()

    def shut(self) -> None:
        if self._server is not None:
            self._server.close()
        self.path.unlink(missing_ok=True)

    async def close(self) -> None:
        self.shut()
        await end(*self._connections)
