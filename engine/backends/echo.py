"""No model: says the prompt's own beginning back, word by word (a plain job: from its end); draws a
plain coloured square for a picture. For tests and for a dry run.

Words that make it misbehave, each once a job: ::fail:: raises, ::die:: kills the worker's process,
::slow:: takes a second for every word (or step) from there on.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from engine.backends.png import png_of, preview_of
from engine.events import Cancelled, Event, Finished, Image, Picture, Started, Text
from engine.plan.job import Job

if TYPE_CHECKING:
    import PIL.Image

WORD_SECONDS = 0.005
SLOW_SECONDS = 1.0
STEP_SECONDS = 0.02
STEPS = 4
SLICE_SECONDS = 0.02  # how soon a stop is noticed within a slow word


class EchoBackend:
    """Deterministic: the same job gives the same words, at most `length` of them."""

    slots = 4

    async def load(self) -> None: ...

    async def generate(self, job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
        began = time.monotonic()
        yield Started(job=job.id, attempt=job.attempt)
        if job.order is not None:
            async for event in _draw(job, stop, began):
                yield event
            return
        words = (job.prompt[job.head :] or job.prompt).split()[: job.length]
        words = words[::-1] if job.plain else words
        said: list[str] = []
        pause, first = WORD_SECONDS, 0.0
        for word in words:
            if word == "::die::":
                os.kill(os.getpid(), signal.SIGKILL)
            if word == "::fail::":
                raise RuntimeError("::fail::")
            pause = SLOW_SECONDS if word == "::slow::" else pause
            if await _stopped(stop, pause):
                yield Cancelled(job=job.id, attempt=job.attempt, text=" ".join(said))
                return
            said.append(word)
            first = first or time.monotonic() - began
            yield Text(job=job.id, attempt=job.attempt, text=" ".join(said), tokens=len(said))
        yield Finished(
            job=job.id,
            attempt=job.attempt,
            text=" ".join(said),
            tokens_in=len(job.prompt.split()),
            tokens_out=len(said),
            first_token_seconds=first,
            seconds=time.monotonic() - began,
            base_digest="echo",
        )


async def _draw(job: Job, stop: threading.Event, began: float) -> AsyncGenerator[Event]:
    """Draw squares whose colour follows from the seed."""
    assert job.order is not None
    if "::die::" in job.prompt:
        os.kill(os.getpid(), signal.SIGKILL)
    if "::fail::" in job.prompt:
        raise RuntimeError("::fail::")
    pause = SLOW_SECONDS if "::slow::" in job.prompt else STEP_SECONDS
    size = (job.order.width, job.order.height)
    first = 0.0
    for step in range(1, STEPS + 1):
        if await _stopped(stop, pause):
            yield Cancelled(job=job.id, attempt=job.attempt)
            return
        first = first or time.monotonic() - began
        preview = preview_of(_square(job.seed, size))
        yield Image(job=job.id, attempt=job.attempt, step=step, steps=STEPS, preview=preview)
    pictures = tuple(
        Picture(
            data=png_of(_square(job.seed + number, size), f"{job.id}-{number + 1}"),
            width=size[0],
            height=size[1],
            seed=job.seed + number,
        )
        for number in range(job.order.count)
    )
    yield Finished(
        job=job.id,
        attempt=job.attempt,
        text="",
        tokens_in=len(job.prompt.split()),
        tokens_out=0,
        first_token_seconds=first,
        seconds=time.monotonic() - began,
        base_digest="echo",
        pictures=pictures,
    )


def _square(seed: int, size: tuple[int, int]) -> "PIL.Image.Image":
    import PIL.Image

    return PIL.Image.new("RGB", size, (seed * 53 % 256, seed * 97 % 256, seed * 193 % 256))


async def _stopped(stop: threading.Event, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not stop.is_set() and (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(left, SLICE_SECONDS))
    return stop.is_set()
