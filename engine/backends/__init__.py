"""What generates. A backend turns a job into events; it knows no queue and no ledger."""

import threading
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from engine.events import Event
    from engine.plan.job import Job


class Backend(Protocol):
    """Generate, as text.TextBackend, images.ImageBackend, echo.EchoBackend and others do."""

    @property
    def slots(self) -> int:
        """Count the jobs that it generates at a time."""

    async def load(self) -> None:
        """Get ready, once. Raises ModelError, which an operator can mend."""

    def generate(self, job: "Job", stop: threading.Event) -> "AsyncGenerator[Event]":
        """Give Started, Text (all so far) or Image, one final event: soon, once `stop` is set."""
