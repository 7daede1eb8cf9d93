"""The table of the conversation: which handler answers a command, a button or a receipt."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, Protocol

from bot.messages.buttons import Press, Verb
from bot.messages.grammar import Command, Simple
from bot.service.request import Reply, Who
from engine.events import Event

if TYPE_CHECKING:
    from engine.plan.plan import Plan


class Step(Enum):
    """Yielded first, once, by a stream: its request is accepted."""

    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class GoOn:
    """Mean a command by a press."""

    command: Command
    who: Who


Events = AsyncGenerator[Event | Reply]
Stream = AsyncGenerator[Event | Reply | Literal[Step.ACCEPTED]]
Response = Reply | Events
CommandHandler = Callable[[Simple, Who], Awaitable[Reply]]
StreamHandler = Callable[[Any, Who], Stream]
PressHandler = Callable[[Press, Who], Awaitable[Response | GoOn]]
ReceiptHandler = Callable[[str, bool], Awaitable[None]]


class Treated(Protocol):
    """Hold a plan under an experiment's arm, and what its asker is told beside the answer."""

    @property
    def plan(self) -> "Plan":
        """What is asked for."""

    @property
    def note(self) -> str:
        """What its asker is told."""

    async def accepted(self) -> None:
        """Record the exposure before anything of the answer is shown."""

    async def shown(self, event: Event | Reply) -> None:
        """Take an answer that came to nothing out of what is scored."""


class ChatStudy(Protocol):
    """Add to the conversation what the study does; `title` is empty while none runs."""

    title: str

    async def treat(self, command: Command, plan: "Plan", who: Who) -> Treated | Reply | None:
        """Change the plan as an experiment's arm has it, or ask a question first."""

    async def heard(self, command: Command, who: Who) -> Reply | GoOn | None:
        """Take what was typed as the answer to a question that is to be answered so."""

    async def invitation(self, who: Who, job: str) -> Reply | None:
        """Ask something after an answer that was shown whole."""

    async def stop(self, who: Who, name: str = "") -> bool:
        """Stop the comparison of that name, or the one under way; False if there is none to stop."""

    async def leaving(self, who: Who) -> list[str]:
        """Tell, while it is known, what somebody is owed to be told about what they took part in."""

    async def delivered(self, job: str) -> None:
        """Record that an answer has arrived."""

    async def settles(self, job: str, address: str) -> bool:
        """Settle a debt that is never sent by itself; False for any other."""


@dataclass(slots=True, kw_only=True)
class DispatchTable:
    """Find handlers; `receipts` by the receipt's kind ("pair" of "pair:01...")."""

    commands: dict[str, CommandHandler] = field(default_factory=dict)
    streams: dict[type[Command], StreamHandler] = field(default_factory=dict)
    verbs: dict[Verb, PressHandler] = field(default_factory=dict)
    receipts: dict[str, ReceiptHandler] = field(default_factory=dict)
    study: ChatStudy = field(init=False)
