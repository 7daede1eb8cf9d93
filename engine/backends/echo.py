"""Say a prompt's own beginning back with no model, word by word (a plain job: from its end); draw a
plain coloured square for a picture. For tests and for a dry run.

Words that make it misbehave, each once a job: ::fail:: raises, ::die:: kills the worker's process,
::slow:: takes a second for every word (or step) from there on.
"""

import os
import signal
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.backends.job_channel import stopped
from engine.backends.png import pictures_of, preview_of
from engine.events import Cancelled, Event, Finished, Image, Started, Text
from engine.plan.job import Job
from engine.plan.picture import Order

if TYPE_CHECKING:
    import PIL.Image

WORD_SECONDS = 0.005
SLOW_SECONDS = 1.0
STEP_SECONDS = 0.02
STEPS = 4


class EchoBackend:
    """Repeat the prompt: the same job gives the same words, at most `length` of them."""

    slots = 4

    async def load(self) -> None: ...

    async def generate(self, job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
        began, first = time.monotonic(), 0.0
        last = Finished(
            job=job.id,
            attempt=job.attempt,
            text="",
            tokens_in=len(job.prompt.split()),
            tokens_out=0,
            first_token_seconds=0.0,
            seconds=0.0,
            base_digest="echo",
        )
        yield Started(job=job.id, attempt=job.attempt)
        making = _say(job, stop) if job.order is None else _draw(job, stop, job.order)
        async with aclosing(making) as events:
            async for event in events:
                first = first or time.monotonic() - began
                yield event
                if isinstance(event, Cancelled):
                    return
                if isinstance(event, Text):
                    last = replace(last, text=event.text, tokens_out=event.tokens)
        if job.order is not None:
            size = (job.order.width, job.order.height)
            drawn = (_square(job.seed + number, size) for number in range(job.order.count))
            last = replace(last, pictures=pictures_of(job, drawn))
        yield replace(last, first_token_seconds=first, seconds=time.monotonic() - began)


async def _say(job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
    words = (job.beginning or job.prompt).split()[: job.length]
    pause, said = WORD_SECONDS, ""
    for number, word in enumerate(words[::-1] if job.plain else words):
        _misbehave(word)
        pause = SLOW_SECONDS if word == "::slow::" else pause
        if await stopped(stop, pause):
            yield Cancelled(job=job.id, attempt=job.attempt, text=said)
            return
        said = f"{said} {word}".strip()
        yield Text(job=job.id, attempt=job.attempt, text=said, tokens=number + 1)


async def _draw(job: Job, stop: threading.Event, order: Order) -> AsyncGenerator[Event]:
    _misbehave(job.prompt)
    pause = SLOW_SECONDS if "::slow::" in job.prompt else STEP_SECONDS
    for step in range(1, STEPS + 1):
        if await stopped(stop, pause):
            yield Cancelled(job=job.id, attempt=job.attempt)
            return
        preview = preview_of(_square(job.seed, (order.width, order.height)))
        yield Image(job=job.id, attempt=job.attempt, step=step, steps=STEPS, preview=preview)


def _misbehave(words: str) -> None:
    if "::die::" in words:
        os.kill(os.getpid(), signal.SIGKILL)
    if "::fail::" in words:
        raise RuntimeError("::fail::")


def _square(seed: int, size: tuple[int, int]) -> "PIL.Image.Image":
    import PIL.Image

    return PIL.Image.new("RGB", size, (seed * 53 % 256, seed * 97 % 256, seed * 193 % 256))
