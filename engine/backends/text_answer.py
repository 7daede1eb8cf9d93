"""One text while it is written: what is shown of it, and how it ends."""

import time
from dataclasses import dataclass

from engine.backends.stop_rules import finish, legible, settled, should_stop
from engine.events import Cancelled, Finished, Started, Text
from engine.plan.job import Job


@dataclass(slots=True, eq=False)
class TextAnswer:
    job: Job
    notes: tuple[str, ...] = ()
    text: str = ""
    tokens: int = 0
    first_seconds: float = 0.0
    began: float = 0.0

    def start(self) -> Started:
        self.began = time.monotonic()
        return Started(job=self.job.id, attempt=self.job.attempt)

    def grow(self, text: str, tokens: int) -> None:
        self.first_seconds = self.first_seconds or time.monotonic() - self.began
        self.text, self.tokens = legible(text), tokens

    @property
    def complete(self) -> bool:
        return should_stop(self.text, self.tokens, self.job.length)

    def shown(self) -> Text:
        job = self.job
        return Text(job=job.id, attempt=job.attempt, text=settled(self.text), tokens=self.tokens)

    def cancelled(self) -> Cancelled:
        job, text = self.job, self.text.strip()
        return Cancelled(job=job.id, attempt=job.attempt, text=text, tokens_out=self.tokens)

    def finished(self, tokens_in: int, base_digest: str, adapter_digest: str) -> Finished:
        job = self.job
        return Finished(
            job=job.id,
            attempt=job.attempt,
            text=finish(self.text, self.tokens, job.length),
            tokens_in=tokens_in,
            tokens_out=self.tokens,
            first_token_seconds=self.first_seconds,
            seconds=time.monotonic() - self.began,
            base_digest=base_digest,
            adapter_digest=adapter_digest,
            notes=self.notes,
        )
