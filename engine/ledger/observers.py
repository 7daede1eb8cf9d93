"""What a layer above the ledger is told, in the ledger's own transactions, and how its tables forget.

The ledger and the chat know this protocol only; the composition root hands in who keeps it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.plan.job import Job, Request
from engine.plan.route import Route


@dataclass(frozen=True, slots=True)
class Rule:
    """How a table lets go of somebody: by a column that names them, with their requests, or not at
    all, because it is about nobody (`why` says how that is).

    `standing` is what /withdraw leaves even when it deletes: the log that shows the withdrawal.
    `also`: a column by which a row goes that is another's, with what it is about.
    """

    by: Literal["pseudonym", "lookup", "request", "nobody"]
    column: Any = None
    standing: bool = False
    why: str = ""
    also: Any = None


class Observer(Protocol):
    """Keeps rows of its own about jobs, and what people say and do with answers; lets go of people.

    `rules` are its tables', those that point at others first. `borrowed` is of the table whose rows go
    on from others' by a column `parent`: the column that names the person, and those of the words that
    are taken over. `pictures` are the columns that name pictures it holds. `expiring` names what is
    deleted when its time is over: what it counts as, the time's column, and the seconds. `beginnings`
    are times since when there has been something to keep.
    """

    rules: Mapping[str, Rule]
    borrowed: tuple[Any, Sequence[str]]
    pictures: Sequence[Any]
    expiring: Sequence[tuple[str, Any, float]]
    beginnings: Sequence[Any]

    async def accepted(
        self, connection: AsyncConnection, request: Request, route: Route, job: Job, now: float
    ) -> object: ...

    async def finished(
        self, connection: AsyncConnection, job: str, text: str | None, notes: str | None
    ) -> None:
        """Note that the job has its final state, and its pictures their rows; `notes` are JSON."""

    async def delivered(self, connection: AsyncConnection, job: str, now: float) -> None: ...

    async def erased(self, connection: AsyncConnection, jobs: Sequence[str]) -> None:
        """Let nothing lead to these jobs any more: they lost their words, or their rows."""

    async def rated(
        self,
        connection: AsyncConnection,
        platform: str,
        rater: str,
        job: str,
        value: int,
        now: float,
    ) -> None: ...

    async def judged(
        self, connection: AsyncConnection, job: str, judged: Sequence[dict[str, Any]], now: float
    ) -> None: ...

    async def hidden(self, connection: AsyncConnection, job: str, now: float) -> None:
        """Let go of an answer that was taken away, with its words and pictures."""

    async def forgotten(
        self, connection: AsyncConnection, lookup: str, pseudonyms: Sequence[str], now: float
    ) -> int:
        """Delete all that it holds of a person; how many pictures that discards."""
