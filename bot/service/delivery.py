"""From an answer to its arrival: what is in a client's hands, what is owed, what can never arrive."""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from engine.events import UNSERVED, Loading, Queued

if TYPE_CHECKING:
    from bot.service.dispatch_table import DispatchTable
    from engine import Engine
    from engine.ledger.outbox import Debt
    from engine.process.services import Services

GRACE_SECONDS = 900.0  # a client has this long from a final event to its delivery


class Deliveries:
    """Keep the clients' side of the outbox."""

    def __init__(self, engine: "Engine", services: "Services", handlers: "DispatchTable") -> None:
        self._engine = engine
        self._services = services
        self._handlers = handlers
        self._live: dict[str, float] = {}  # jobs that a client has in hand, until when
        self._unserved: set[str] = set()  # of them, those that no worker can do now

    def take_in_hand(self, job: str, event: object = None) -> None:
        """Note that a client follows the job, and has heard this of it."""
        self._live[job] = float("inf")
        match event:
            case Loading(what=what) if what == UNSERVED:
                self._unserved.add(job)
            case Queued() | None:
                pass
            case _:
                self._unserved.discard(job)

    def let_go(self, job: str) -> None:
        """Give the client GRACE_SECONDS to deliver a job whose events are over."""
        self._unserved.discard(job)
        if job in self._live:
            self._live[job] = time.monotonic() + GRACE_SECONDS

    def drop(self, job: str) -> None:
        """Leave the job, if it was accepted after all, to whoever looks for debts."""
        self._live.pop(job, None)

    async def delivered(self, job: str, messages: Sequence[str] = ()) -> None:
        """Note the arrival; `messages` ("chat:message") hold the answer, for replies to them."""
        answer = await self._engine.answer(job) if messages else None
        if answer is not None and not answer.request.private:
            await self._services.outbox.shown(answer.request.platform, job, tuple(messages))
        await self._engine.delivered(job)
        await self._handlers.study.delivered(job)
        self._live.pop(job, None)

    async def undelivered(self, job: str, seconds: float = 0.0) -> None:
        """Owe it still, to be tried again in so many seconds at the earliest."""
        await self._services.outbox.undelivered(job, seconds)
        self._live.pop(job, None)

    async def lost(self, job: str, why: str = "") -> None:  # noqa: ARG002 - for the reader of a call
        """Give it up: the chat is gone, or we may not write there."""
        await self._services.outbox.lost(job)
        await self._services.agreements.event("abandon", job)
        self._live.pop(job, None)

    @property
    def in_hand(self) -> int:
        return sum(until > time.monotonic() for until in self._live.values())

    @property
    def under_way(self) -> int:
        """Count those that can get on: the others wait as safely when this process has gone."""
        now = time.monotonic()
        return sum(t > now and job not in self._unserved for job, t in self._live.items())

    async def keep_hold(self, more: Iterable[str] = ()) -> None:
        """Tell other bots on the same ledger which answers are in our hands, and that `more` are."""
        live = [job for job, until in self._live.items() if until > time.monotonic()]
        await self._services.outbox.hold([*more, *live])

    async def debts(self, platform: str) -> list["Debt"]:
        """List what is owed on a platform and in no client's hands."""
        now = time.monotonic()
        self._live = {job: until for job, until in self._live.items() if until > now}
        return [
            debt
            for debt in await self._services.outbox.due(platform)
            if debt.job not in self._live
            and not await self._handlers.study.settles(debt.job, debt.address)
        ]
