"""A request, the job made of it, and the queue's protocol."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from engine.events import Event
from engine.plan.cards import Sampling
from engine.plan.picture import Order
from engine.plan.route import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Hold who speaks and where, as a platform names them; `alone` in a chat of two."""

    platform: str
    asker: str
    place: str
    server: str = ""
    alone: bool = False
    locale: str = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What an experiment changes in one request. Empty fields change nothing.

    `expert` answers whatever the router says, `plain` its base alone; `sampling` replaces the card's
    values by name (of a picture: steps, guidance, scale, speed), `template` its prompt. `router` is
    "rules", "keywords" (no semantic step), or "default": the command's first card, whatever the words.
    `blind`: nobody is told which it was before the end. `exposure` is the pair or single answer that
    it is shown in.
    """

    experiment: str = ""
    arm: str = ""
    expert: str = ""
    plain: bool = False
    sampling: tuple[tuple[str, float], ...] = ()
    template: str = ""
    router: str = "rules"
    blind: bool = True
    exposure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody asked, already parsed and cleaned. `asker` is the platform's own id.

    `typed` is the message as it came, options and all; `text` what is left to route and to write by.
    `parent` is the request that this one repeats or continues; `beginning` is text to continue that
    was not typed (the answer before, for /continue); `notes` and `synopsis` are what else it
    is to keep in mind. `size` is (width, height) in pixels; it, `count`, `negative` and `scale` are for
    pictures. `address` is the client's own note of where to answer after
    a restart. A `private` request leaves the record when its answer has arrived. `treatment` is what
    an experiment changes in it. `alone`: asked in a chat of two; else in a group, or on the `server`.
    `borrowed`: a third person's words, which no study keeps. Of these the record keeps `alone` only.
    `free`: plain text, in which nobody typed the command.
    """

    command: str
    text: str
    platform: str
    asker: str
    place: str
    typed: str = ""
    style: str | None = None
    length: int | None = None
    seed: int | None = None
    conversation: str | None = None
    parent: str | None = None
    beginning: str | None = None
    notes: tuple[str, ...] = ()
    synopsis: str = ""
    size: tuple[int, int] | None = None
    count: int | None = None
    negative: str | None = None
    scale: float | None = None
    address: str = ""
    private: bool = False
    treatment: Treatment | None = None
    alone: bool = False
    server: str = ""
    borrowed: bool = False
    free: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of one expert: all that a worker needs and nothing about the asker.

    `prompt[:head]` is instruction and request, which is never trimmed. So many characters after it are
    `recalled`, a synopsis, and then `noted`, a note a line; the rest is the beginning, trimmed from its
    front when the base's window is too small. `length` is in tokens, 0 for pictures;
    those have an `order`. A `plain` job is the expert's base alone, without its adapter.
    """

    id: str
    request: str
    expert: str
    medium: str
    prompt: str
    head: int
    length: int
    seed: int
    sampling: Sampling
    order: Order | None = None
    plain: bool = False
    attempt: int = 1
    alone: bool = False
    recalled: int = 0
    noted: int = 0

    @property
    def beginning(self) -> str:
        return self.prompt[self.head + self.recalled + self.noted :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A request with its answer, as the ledger knows it: for /why, /again and /continue.

    `expired`: its words were blanked when their time was over. `spot` is the place's keyed lookup; of a
    chat of two it is empty by then.
    """

    request: Request
    request_id: str
    job: Job
    route: Route
    state: str
    text: str
    pictures: int = 0
    expired: bool = False
    spot: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    job: str
    medium: str
    expert: str
    state: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The queue at a glance. `workers` maps a medium to "ready", "starting" or "away"."""

    owner: int
    waiting: tuple[Waiting, ...]
    workers: dict[str, str]


class JobQueue(Protocol):
    """Where accepted jobs wait. Real ones: queues.embedded, queues.postgres. They have cancel, status,
    overview, retry and drop besides, as engine.Engine says."""

    async def accept(self, request: Request, route: Route, job: Job) -> None:
        """Commit ledger row and queue entry in one transaction; an id that is known stays."""

    def follow(self, job: str) -> AsyncGenerator[Event]:
        """Its events from here on, ending with exactly one final event, read from the ledger."""
