"""What each stage of the conversation is given: a stage is a function that takes the context first."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.service.delivery import Deliveries
    from bot.service.dispatch_table import DispatchTable
    from bot.service.moderation import Moderation
    from bot.service.rate_limit import Repeats, RequestRate
    from bot.service.request import Who
    from bot.settings import PlatformSettings
    from engine import Engine
    from engine.plan.cards import Registry
    from engine.process.services import Services

MARK = 16  # hex characters that tell whose a button is


@dataclass(slots=True)
class Lifecycle:
    """Hold whether this process still takes requests, and how it is told to end."""

    draining: bool = False
    stop: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Hold what is made once for a process. `door` limits how many requests are accepted at a time."""

    engine: "Engine"
    services: "Services"
    settings: "PlatformSettings"
    moderation: "Moderation"
    deliveries: "Deliveries"
    handlers: "DispatchTable"
    hurry: "RequestRate"
    presses: "Repeats"
    door: asyncio.Semaphore
    lifecycle: Lifecycle = field(default_factory=Lifecycle)

    @property
    def registry(self) -> "Registry":
        return self.engine.registry


def mark_of(context: Context, who: "Who") -> str:
    """Make what a button carries to be one person's."""
    return context.services.ledger.person(*who.account)[:MARK]
