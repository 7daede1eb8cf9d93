"""Messages over a Unix socket, one JSON line each: between the queue's owner, its workers, and the
processes attached to it.

A connection's first message says what it is: a worker's `Hello`, or one request of an attached
client, which is answered and then closed.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from engine import Method
from engine.errors import OurError
from engine.events import Event
from engine.overview import Overview
from engine.plan.job import Answer, Job, Request, Status

CLOSE_SECONDS = 2.0
MAX_LINE = 1 << 26  # bytes; four large pictures must fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Announce a worker, with its serving fingerprint, empty if it does not say.

    One that serves with something else than the owner expects is answered by Refused.
    """

    medium: str
    pid: int
    fingerprint: Annotated[str, Field(alias="kit")] = ""  # its older name, which others still say
    kind: Literal["hello"] = "hello"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Say that the worker's models are loaded, and how many jobs it takes at a time."""

    slots: int
    kind: Literal["ready"] = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """Say that the worker cannot work; `reason` is for the operator."""

    reason: str
    kind: Literal["unfit"] = "unfit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """Say that the worker was told to end; what it leaves undone is nobody's fault."""

    kind: Literal["leaving"] = "leaving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Owner to worker: generate this."""

    job: Job
    kind: Literal["run"] = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Owner to worker: stop this at the next token."""

    job: str
    kind: Literal["stop"] = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Client to owner: do what the Engine's method does. Answered by Returned; `follow` by events.

    `ask` sends the request that the owner shall plan, and names the job, so that asking again after a
    lost connection asks for the same one.
    """

    method: Method | Literal["follow"]
    arguments: tuple[str, ...] = ()
    request: Request | None = None
    kind: Literal["call"] = "call"


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """Owner to client: what the method gave."""

    value: Status | Overview | Answer | bool | None
    kind: Literal["returned"] = "returned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Owner to client: an error of this class name, with its message."""

    error: str
    message: str
    kind: Literal["refused"] = "refused"


Message = Annotated[
    Hello | Ready | Unfit | Leaving | Run | Stop | Call | Returned | Refused | Event,
    Field(discriminator="kind"),
]
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


class Link:
    """One connection that speaks in messages."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def post(self, message: Message) -> None:
        """Send without waiting; a closed connection swallows it (its reader notices the end)."""
        if not self._writer.is_closing():
            self._writer.write(_MESSAGE.dump_json(message, by_alias=True) + b"\n")

    async def send(self, message: Message) -> None:
        """Send, and wait while the other side is slow."""
        self.post(message)
        await self._writer.drain()

    async def receive(self) -> Message | None:
        """The next message, or None at the end. Raises OurError for anything else."""
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
        """Close, whatever the other side does."""
        self._writer.close()
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), CLOSE_SECONDS)


async def connect(path: str) -> Link:
    """A link to the socket. Raises ConnectionError or FileNotFoundError when nobody listens."""
    return Link(*await asyncio.open_unix_connection(path, limit=MAX_LINE))
