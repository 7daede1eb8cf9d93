"""No model: says the prompt's own beginning back, word by word. For tests and for a dry run.

Words that make it misbehave, each once a job: ::fail:: raises, ::die:: kills the worker's process,
::slow:: takes a second for every word from there on.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator

from engine.events import Cancelled, Event, Finished, Started, Text
from engine.jobs import Job

WORD_SECONDS = 0.005
SLOW_SECONDS = 1.0
SLICE_SECONDS = 0.02  # how soon a stop is noticed within a slow word


class EchoBackend:
    """Deterministic: the same job gives the same words, at most `length` of them."""

    slots = 4

    async def load(self) -> None:
        """Nothing to load."""

    async def generate(self, job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
        """See backends.Backend."""
        began = time.monotonic()
        yield Started(job=job.id, attempt=job.attempt)
        words = (job.prompt[job.head :] or job.prompt).split()[: job.length]
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


async def _stopped(stop: threading.Event, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not stop.is_set() and (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(left, SLICE_SECONDS))
    return stop.is_set()
