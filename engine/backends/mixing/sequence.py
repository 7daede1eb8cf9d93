"""One job in the batch: its tokens, and the rules by which it ends."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from engine.backends.mixing.adapters import AdapterKey
from engine.backends.mixing.prefix_cache import Context
from engine.backends.row_sampler import Draw, RowSampler
from engine.backends.stop_rules import latest
from engine.backends.text_answer import TextAnswer
from engine.errors import ModelError
from engine.events import Event
from engine.plan.job import Job

UNFIT = "The model gave numbers that are not finite. Check the adapter of {expert}: pastiche doctor"

Emit = Callable[[Event | Exception], None]


class TextSequence:
    """Hold a job's row of the batch: `tokens` is prompt and answer; keys and values of the first `read`
    are in the cache's row `place`. It ends with one final event, or the exception in its place."""

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
        bans: Sequence[str] = (),
    ) -> None:
        """`ends` are the tokens that end an answer; `digests` those of base and adapter; `bans` the
        phrases of the expert's card."""
        self.job = job
        self.adapter = adapter
        self.tokens = list(prompt)
        self.prompt = len(prompt)
        self.read = 0
        self.place = -1
        self.known = 0  # tokens that the prefix cache held, or another row: then they are borrowed
        self.borrowed = False
        self.waited = time.monotonic()  # since when
        self.answer = TextAnswer(job, notes)
        self._tokenizer = tokenizer
        self._ends = ends
        self._digests = digests
        self._stopped = stopped
        self._emit = emit
        self._sampler = RowSampler(job, tokenizer, ends, bans)

    @property
    def context(self) -> Context:
        return Context(self.adapter, self.tokens)

    @property
    def need(self) -> int:
        return self.prompt + latest(self.job.length)

    @property
    def written(self) -> int:
        return len(self.tokens) - self.prompt

    @property
    def stopped(self) -> bool:
        return self._stopped()

    def begin(self) -> None:
        """Take a place; told once, even if the place must be given back for a while."""
        if not self.answer.began:
            self._emit(self.answer.start())

    def draw(self) -> Draw:
        return self._sampler.draw(self.tokens, self.prompt, self.answer.text)

    def add(self, token: int) -> bool:
        """Take its next token; tell whether that ended it, the final event emitted."""
        self.tokens.append(token)
        written = self.tokens[self.prompt :]
        self.answer.grow(self._tokenizer.decode(written, skip_special_tokens=True), len(written))
        if self.stopped:
            self.cancel()
        elif token in self._ends or self.answer.complete:
            self._emit(self.answer.finished(self.prompt, *self._digests))
        else:
            self._emit(self.answer.shown())
            return False
        return True

    def cancel(self) -> None:
        self._emit(self.answer.cancelled())

    def spoil(self) -> None:
        self.fail(ModelError(UNFIT.format(expert=self.job.expert)))

    def fail(self, error: Exception) -> None:
        self._emit(error)
