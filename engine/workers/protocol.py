"""Messages over a Unix socket, one JSON line each: between the queue's owner, its workers, and the
processes attached to it.

A connection's first message says what it is: a worker's `Hello`, or one request of an attached
client, which is answered and then closed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from engine.errors import OurError
from engine.events import Event
from engine.overview import Overview
from engine.plan.job import Answer, Job, Request, Status

CLOSE_SECONDS = 2.0
MAX_LINE = 1 << 26  # bytes; four large pictures must fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """A worker announces itself; `kit` is what it serves with (queues.kits), empty if it does not say.

    One that serves with something else than the owner expects is answered by Refused.
    """

    medium: str
    pid: int
    kit: str = ""
    kind: Literal["hello"] = "hello"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The worker's models are loaded; it takes so many jobs at a time."""

    slots: int
    kind: Literal["ready"] = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """The worker cannot work: `reason` is for the operator."""

    reason: str
    kind: Literal["unfit"] = "unfit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """The worker was told to end; what it leaves undone is nobody's fault."""

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
class Ask:
    """Client to owner: answered by Done once it is accepted, then to be followed.

    The client names the job, so that asking again after a lost connection asks for the same one.
    """

    request: Request
    job: str
    kind: Literal["ask"] = "ask"


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """Client to owner: the events of a job asked for earlier."""

    job: str
    kind: Literal["follow"] = "follow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Client to owner: answered by Done."""

    job: str
    kind: Literal["cancel"] = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Client to owner: the answer was shown. Answered by Done."""

    job: str
    kind: Literal["delivered"] = "delivered"


@dataclass(frozen=True, slots=True, kw_only=True)
class GetStatus:
    """Client to owner: answered by Told."""

    kind: Literal["get_status"] = "get_status"


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAnswer:
    """Client to owner: a place's last answer to the asker, or one job's. Answered by Told."""

    platform: str = ""
    asker: str = ""
    place: str = ""
    job: str = ""
    kind: Literal["get_answer"] = "get_answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOverview:
    """Client to owner: answered by Told."""

    kind: Literal["get_overview"] = "get_overview"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend:
    """Client to owner: an operator wants a job queued again, or over. Answered by Done."""

    job: str
    action: Literal["retry", "drop"]
    kind: Literal["mend"] = "mend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Owner to client."""

    ok: bool
    kind: Literal["done"] = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Owner to client."""

    status: Status | None = None
    answer: Answer | None = None
    overview: Overview | None = None
    kind: Literal["told"] = "told"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Owner to client: an error of this class name, with its message."""

    error: str
    message: str
    kind: Literal["refused"] = "refused"


Message = Annotated[
    Hello | Ready | Unfit | Leaving | Run | Stop | Ask | Follow | Cancel | Delivered | GetStatus
    | GetAnswer | GetOverview | Mend | Done | Told | Refused | Event,
    Field(discriminator="kind"),
]  # fmt: skip
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


class Link:
    """One connection that speaks in messages."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def post(self, message: Message) -> None:
        """Send without waiting; a closed connection swallows it (its reader notices the end)."""
        if not self._writer.is_closing():
            self._writer.write(_MESSAGE.dump_json(message) + b"\n")

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

    async def messages(self) -> AsyncIterator[Message]:
        """Everything until the end."""
        while (message := await self.receive()) is not None:
            yield message

    async def close(self) -> None:
        """Close, whatever the other side does."""
        self._writer.close()
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), CLOSE_SECONDS)


async def connect(path: str) -> Link:
    """A link to the socket. Raises ConnectionError or FileNotFoundError when nobody listens."""
    return Link(*await asyncio.open_unix_connection(path, limit=MAX_LINE))
