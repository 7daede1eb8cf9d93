"""The engine of the process that owns the queue: from a request to its events, in one screen."""

import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from engine import Engine, Method
from engine.events import Event
from engine.ledger.ledger import Ledger
from engine.plan.cards import Registry
from engine.plan.job import Answer, JobQueue, Request
from engine.plan.plan import Plan, make_plan
from engine.plan.semantic import Semantic

log = logging.getLogger(__name__)


@dataclass(eq=False)
class LocalEngine(Engine):
    registry: Registry
    ledger: Ledger
    queue: JobQueue
    max_length: int
    semantic: Semantic | None = None

    def plan(self, request: Request, job: str = "") -> Plan:
        return make_plan(request, self.registry.learn(), self.max_length, job, self.semantic)

    async def ask(self, plan: Plan) -> None:
        await self.queue.accept(plan.request, plan.route, plan.job)
        extra = {"job": plan.job.id, "expert": plan.job.expert, "rule": plan.route.rule}
        log.info("a job was accepted", extra=extra)

    def follow(self, job: str) -> AsyncGenerator[Event]:
        return self.queue.follow(job)

    async def call(self, method: Method, *arguments: Any) -> Any:
        return await getattr(self.queue, method)(*arguments)

    async def last(self, platform: str, asker: str, place: str) -> Answer | None:
        return await self.ledger.last_answer(platform, asker, place)

    async def answer(self, job: str) -> Answer | None:
        return await self.ledger.answer(job)

    async def delivered(self, job: str) -> None:
        await self.ledger.delivered(job)
