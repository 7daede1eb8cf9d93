"""One job in the batch: its tokens, its text so far, and the rules by which it ends."""

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from engine.backends.mixing.adapters import AdapterKey
from engine.backends.mixing.prefix_cache import Context
from engine.backends.mixing.sampler import Draw
from engine.backends.stop_rules import NO_END, finish, latest, legible, settled, should_stop
from engine.errors import ModelError
from engine.events import Cancelled, Event, Finished, Started, Text
from engine.plan.job import Job

UNFIT = "The model gave numbers that are not finite. Check the adapter of {expert}: pastiche doctor"

Emit = Callable[[Event | Exception], None]


class TextSequence:
    """`tokens` is prompt and answer; the keys and values of the first `read` of them are stored, in
    the cache's row `place`. It ends with exactly one final event, or the exception in its place."""

    def __init__(
        self,
        job: Job,
        adapter: AdapterKey,
        prompt: list[int],
        notes: tuple[str, ...],
        tokenizer: Any,
        ends: Sequence[int],
        digests: tuple[str, str],
        stopped: Callable[[], bool],
        emit: Emit,
    ) -> None:
        """`ends` are the tokens that end an answer; `digests` those of base and adapter."""
        self.job = job
        self.adapter = adapter
        self.tokens = list(prompt)
        self.prompt = len(prompt)
        self.read = 0
        self.place = -1
        self.known = 0  # tokens that the prefix cache held
        self.waited = time.monotonic()
        self._notes = notes
        self._tokenizer = tokenizer
        self._ends = ends
        self._digests = digests
        self._stopped = stopped
        self._emit = emit
        self._generator = random.Random(job.seed)
        self._began = 0.0
        self.first_seconds = 0.0
        self._text = ""

    @property
    def context(self) -> Context:
        """What its keys and values follow from: prompt and answer so far."""
        return Context(self.adapter, self.tokens)

    @property
    def begun(self) -> Context:
        """The same, of its prompt alone."""
        return Context(self.adapter, self.tokens[: self.prompt])

    @property
    def need(self) -> int:
        """The tokens that it will have at most."""
        return self.prompt + latest(self.job.length)

    @property
    def written(self) -> int:
        """The answer's tokens so far."""
        return len(self.tokens) - self.prompt

    @property
    def stopped(self) -> bool:
        """Whether its asker has called it off."""
        return self._stopped()

    def begin(self) -> None:
        """It has a place; told once, even if it must give the place back for a while."""
        if not self._began:
            self._began = time.monotonic()
            self._emit(Started(job=self.job.id, attempt=self.job.attempt))

    def draw(self) -> Draw:
        """How its next token is chosen."""
        early = self.written < int(self.job.length * NO_END)
        return Draw(
            sampling=self.job.sampling,
            generator=self._generator,
            said=self.tokens,
            banned=self._ends if early else (),
        )

    def add(self, token: int) -> bool:
        """Take its next token; whether that ended it, the final event told."""
        job = self.job
        self.tokens.append(token)
        self.first_seconds = self.first_seconds or time.monotonic() - self._began
        answer = self.tokens[self.prompt :]
        self._text = legible(self._tokenizer.decode(answer, skip_special_tokens=True))
        if self.stopped:
            self.cancel()
            return True
        if token not in self._ends and not should_stop(self._text, len(answer), job.length):
            shown = settled(self._text)
            self._emit(Text(job=job.id, attempt=job.attempt, text=shown, tokens=len(answer)))
            return False
        self._emit(self._finished())
        return True

    def cancel(self) -> None:
        """End it on the asker's word, with what stands there."""
        self._emit(
            Cancelled(
                job=self.job.id,
                attempt=self.job.attempt,
                text=self._text.strip(),
                tokens_out=self.written,
            )
        )

    def spoil(self) -> None:
        """End it, for its numbers are not finite."""
        self.fail(ModelError(UNFIT.format(expert=self.job.expert)))

    def fail(self, error: Exception) -> None:
        """End it with an error."""
        self._emit(error)

    def _finished(self) -> Finished:
        job = self.job
        return Finished(
            job=job.id,
            attempt=job.attempt,
            text=finish(self._text, self.written, job.length),
            tokens_in=self.prompt,
            tokens_out=self.written,
            first_token_seconds=self.first_seconds,
            seconds=time.monotonic() - self._began,
            base_digest=self._digests[0],
            adapter_digest=self._digests[1],
            notes=self._notes,
        )
