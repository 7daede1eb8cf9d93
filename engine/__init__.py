"""The straight line from a request to its events. Knows no chat platform."""

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from engine.events import Event
    from engine.overview import Overview
    from engine.plan.cards import Registry
    from engine.plan.job import Answer, Request, Status
    from engine.plan.plan import Plan

Method = Literal[
    "ask", "cancel", "status", "overview", "retry", "drop", "last", "answer", "delivered"
]


class Engine(Protocol):
    """What a client talks to; each short method is one `call` by its name. Real ones:
    engine.LocalEngine, process.client.ClientEngine, process.bootstrap.ReconnectingEngine around
    either."""

    registry: "Registry"

    def plan(self, request: "Request", job: str = "") -> "Plan":
        """Choose who answers and make the job, under that id if one is given. Raises AskerError."""

    def follow(self, job: str) -> "AsyncGenerator[Event]":
        """Give the events of an accepted job: Queued, what happens, then one final event."""

    async def call(self, method: Method, *arguments: Any) -> Any: ...

    async def ask(self, plan: "Plan") -> None:
        """Accept it; an id that was accepted before is left as it is. Raises AskerError or OurError."""
        await self.call("ask", plan)

    async def cancel(self, job: str) -> bool:
        """Tell whether it was still to be stopped."""
        return bool(await self.call("cancel", job))

    async def status(self) -> "Status":
        return await self.call("status")  # type: ignore[no-any-return]

    async def overview(self) -> "Overview":
        return await self.call("overview")  # type: ignore[no-any-return]

    async def retry(self, job: str) -> bool:
        """Tell whether a job that was given up is queued again."""
        return bool(await self.call("retry", job))

    async def drop(self, job: str) -> bool:
        """Tell whether the job is over now, on the operator's word."""
        return bool(await self.call("drop", job))

    async def last(self, platform: str, asker: str, place: str) -> "Answer | None":
        """Find the asker's newest request in that place, with its answer."""
        return await self.call("last", platform, asker, place)  # type: ignore[no-any-return]

    async def answer(self, job: str) -> "Answer | None":
        return await self.call("answer", job)  # type: ignore[no-any-return]

    async def delivered(self, job: str) -> None:
        await self.call("delivered", job)
