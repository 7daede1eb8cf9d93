"""The engine of the process that owns the queue: from a request to its events, in one screen."""

import logging
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

from engine import drawing
from engine.errors import CommandError, LimitError
from engine.events import Event
from engine.jobs import Answer, Job, JobQueue, Request, Status, Treatment
from engine.ledger import Ledger, new_id
from engine.prompting import assemble
from engine.queues.overview import Overview
from engine.registry import Expert, Registry
from engine.routing import Route
from engine.treating import redrawn, route_of, treated

MIN_LENGTH = 16  # tokens; less is no answer
MAX_SEED = 2**31 - 1

log = logging.getLogger(__name__)


class LocalEngine:
    """Routes, assembles, accepts, follows. Its twin over a socket is attached.AttachedEngine."""

    def __init__(
        self, registry: Registry, ledger: Ledger, queue: JobQueue, *, max_length: int
    ) -> None:
        self.registry = registry
        self._ledger = ledger
        self._queue = queue
        self._max_length = max_length

    async def ask(self, request: Request, job: str = "") -> AsyncGenerator[Event]:
        """Raises AskerError before acceptance; the first event says that it was accepted."""
        chosen = route_of(request, self.registry)
        made = self.job(request, chosen, job or new_id())
        await self._queue.accept(request, chosen, made)
        extra = {"job": made.id, "expert": made.expert, "rule": chosen.rule}
        log.info("a job was accepted", extra=extra)
        async with aclosing(self._queue.follow(made.id)) as events:
            async for event in events:
                yield event

    def job(self, request: Request, chosen: Route, name: str) -> Job:
        """The job that a routed request makes. Raises LimitError."""
        treatment = request.treatment or Treatment()
        expert = treated(self.registry[chosen.expert], treatment)
        if expert.medium == "image":
            return self._drawn(request, expert, name)
        if (request.size, request.count, request.negative, request.scale) != (None,) * 4:
            raise CommandError(
                f"--size, --count, --negative and --scale are for pictures, not for /{request.command}."
            )
        prompt, head = assemble(expert.template.text, request.text, request.beginning)
        return Job(
            id=name,
            request=new_id(),
            expert=expert.name,
            medium=expert.medium,
            prompt=prompt,
            head=head,
            length=self._length(request.length, expert.sampling.length),
            seed=self._seed(request.seed),
            sampling=expert.sampling,
            plain=treatment.plain,
        )

    def _drawn(self, request: Request, expert: Expert, name: str) -> Job:
        """The job of a picture. Raises LimitError or CommandError."""
        if request.length is not None:
            raise CommandError("--length is for texts; for pictures there are --size and --count.")
        card = self.registry.drawing(expert)
        treatment = request.treatment or Treatment()
        prompt = drawing.caption(card, request.text)
        order = drawing.order(
            card,
            size=request.size,
            count=request.count,
            negative=request.negative,
            scale=request.scale,
        )
        return Job(
            id=name,
            request=new_id(),
            expert=expert.name,
            medium=expert.medium,
            prompt=prompt,
            head=len(prompt),
            length=0,
            seed=self._seed(request.seed),
            sampling=expert.sampling,
            order=redrawn(order, treatment),
            plain=treatment.plain,
        )

    def _length(self, wanted: int | None, usual: int) -> int:
        length = min(usual, self._max_length) if wanted is None else wanted
        if not MIN_LENGTH <= length <= self._max_length:
            raise LimitError(
                f"The length must be between {MIN_LENGTH} and {self._max_length} tokens "
                "(a token is about three quarters of a word)."
            )
        return length

    def _seed(self, wanted: int | None) -> int:
        if wanted is None:
            return random.randrange(MAX_SEED)
        if not 0 <= wanted <= MAX_SEED:
            raise LimitError(f"The seed must be between 0 and {MAX_SEED}.")
        return wanted

    async def follow(self, job: str) -> AsyncGenerator[Event]:
        """The events of a job asked for earlier, its final one at the least."""
        async with aclosing(self._queue.follow(job)) as events:
            async for event in events:
                yield event

    async def cancel(self, job: str) -> bool:
        """Whether it was still to be stopped."""
        return await self._queue.cancel(job)

    async def status(self) -> Status:
        """The queue at a glance."""
        return await self._queue.status()

    async def overview(self) -> Overview:
        """The queue for those who run it."""
        return await self._queue.overview()

    async def retry(self, job: str) -> bool:
        """Whether a job that was given up is queued again."""
        return await self._queue.retry(job)

    async def drop(self, job: str) -> bool:
        """Whether the job is over now, on the operator's word."""
        return await self._queue.drop(job)

    async def last(self, platform: str, asker: str, place: str) -> Answer | None:
        """The asker's newest request in that place, with its answer."""
        return await self._ledger.last_answer(platform, asker, place)

    async def answer(self, job: str) -> Answer | None:
        """One job's request, route and answer."""
        return await self._ledger.answer(job)

    async def delivered(self, job: str) -> None:
        """The answer was shown."""
        await self._ledger.delivered(job)
