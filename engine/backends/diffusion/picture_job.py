"""One job while it is being drawn: its pictures, what was sent of it, how it ends."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.backends.diffusion.denoise import Canvas
from engine.backends.diffusion.loras import Strengths
from engine.backends.diffusion.previews import Projection, side_by_side
from engine.backends.job_channel import JobChannel
from engine.backends.png import pictures_of, preview_of
from engine.errors import ModelError
from engine.events import Cancelled, Failed, Finished, Image, Started
from engine.plan.job import Job
from engine.plan.picture import Order

if TYPE_CHECKING:
    from PIL.Image import Image as Drawn

SHOW_SECONDS = 1.0  # between two previews


@dataclass(slots=True, eq=False)
class PictureJob:
    channel: JobChannel
    began: float = field(default_factory=time.monotonic)
    canvases: list[Canvas] = field(default_factory=list)
    drawn: dict[int, "Drawn"] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    strengths: Strengths = ()  # of the LoRAs that its pictures meet
    tokens: int = 0
    digests: tuple[str, str] = ("", "")
    first: float = 0.0
    shown: float = 0.0
    drawing: float = 0.0  # since when

    @property
    def job(self) -> Job:
        return self.channel.job

    @property
    def done(self) -> bool:
        return self.channel.done

    @property
    def over(self) -> bool:
        return self.channel.done or self.channel.stopped()

    @property
    def order(self) -> Order:
        if self.job.order is None:
            raise ModelError(f"The job of {self.job.expert} has no order; it is not for pictures.")
        return self.job.order

    @property
    def scale(self) -> float:
        return 0.0 if self.job.plain else self.order.scale

    @property
    def _run(self) -> dict[str, Any]:
        return {"job": self.job.id, "attempt": self.job.attempt}

    def start(self) -> None:
        self.drawing = time.monotonic()
        self.channel.send(Started(**self._run))

    def show(self, projection: Projection, now: float) -> None:
        """Send progress with a preview: after the first step, then every second."""
        self.first = self.first or now - self.began
        done, steps = sum(c.step for c in self.canvases), sum(c.steps for c in self.canvases)
        if self.shown and (now - self.shown < SHOW_SECONDS or done == steps):
            return
        self.shown = now
        count = len(self.canvases)
        under_way = [c for c in self.canvases if c.step]
        looks = [projection.image(c.guess, c.size) for c in under_way]
        self.channel.send(
            Image(
                **self._run,
                step=-(-done // count),
                steps=steps // count,
                eta=(now - self.drawing) / done * (steps - done),
                preview=preview_of(side_by_side(looks)),
            )
        )

    def finish(self) -> None:
        drawn = (self.drawn[number] for number in sorted(self.drawn))
        self.channel.send(
            Finished(
                **self._run,
                text="",
                tokens_in=self.tokens,
                tokens_out=0,
                first_token_seconds=self.first,
                seconds=time.monotonic() - self.began,
                base_digest=self.digests[0],
                adapter_digest=self.digests[1],
                notes=tuple(self.notes),
                pictures=pictures_of(self.job, drawn),
            )
        )

    def cancel(self) -> None:
        self.channel.send(Cancelled(**self._run))

    def fail(self, message: str, reason: str) -> None:
        self.channel.send(Failed(**self._run, message=message, reason=reason))
