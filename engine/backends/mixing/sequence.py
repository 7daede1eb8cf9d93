"""One job in the batch: its tokens, and the rules by which it ends."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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


@dataclass(slots=True, eq=False)
class TextSequence:
    """Hold a job's row of the batch: `tokens` is prompt and answer; keys and values of the first `read`
    are in the cache's row `place`. It ends with one final event, or the exception in its place."""

    job: Job
    adapter: AdapterKey
    tokens: list[int]
    notes: tuple[str, ...]
    tokenizer: Any
    ends: Sequence[int]  # the tokens that end an answer
    digests: tuple[str, str]  # of base and adapter
    stopped: Callable[[], bool]
    emit: Callable[[Event | Exception], None]
    bans: Sequence[str] = ()  # the phrases of the expert's card
    read: int = 0
    place: int = -1
    known: int = 0  # tokens that the prefix cache held, or another row: then they are borrowed
    borrowed: bool = False
    waited: float = field(default_factory=time.monotonic)  # since when
    prompt: int = field(init=False)  # tokens
    answer: TextAnswer = field(init=False)
    _sampler: RowSampler = field(init=False)

    def __post_init__(self) -> None:
        self.tokens, self.prompt = list(self.tokens), len(self.tokens)
        self.answer = TextAnswer(self.job, self.notes)
        self._sampler = RowSampler(self.job, self.tokenizer, self.ends, self.bans)

    @property
    def context(self) -> Context:
        return Context(self.adapter, self.tokens)

    @property
    def need(self) -> int:
        return self.prompt + latest(self.job.length)

    @property
    def written(self) -> int:
        return len(self.tokens) - self.prompt

    def begin(self) -> None:
        """Take a place; told once, even if the place must be given back for a while."""
        if not self.answer.began:
            self.emit(self.answer.start())

    def draw(self) -> Draw:
        return self._sampler.draw(self.tokens, self.prompt, self.answer.text)

    def add(self, token: int) -> bool:
        """Take its next token; tell whether that ended it, the final event emitted."""
        self.tokens.append(token)
        written = self.tokens[self.prompt :]
        self.answer.grow(self.tokenizer.decode(written, skip_special_tokens=True), len(written))
        if self.stopped():
            self.cancel()
        elif token in self.ends or self.answer.complete:
            self.emit(self.answer.finished(self.prompt, *self.digests))
        else:
            self.emit(self.answer.shown())
            return False
        return True

    def cancel(self) -> None:
        self.emit(self.answer.cancelled())

    def refuse_length(self) -> None:
        """End it: not even alone has it room."""
        told = (
            f"An answer of {self.job.length} tokens to a prompt of {self.prompt} does not fit the "
        )
        told += "memory that is free; lower PASTICHE_MAX_LENGTH, or stop other programs."
        self.emit(ModelError(told))
