"""A request from its plan to its last event, as a client without a person would have it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from engine import Engine
from engine.events import Event
from engine.plan.job import Request


async def events_of(engine: Engine, request: Request, job: str = "") -> AsyncGenerator[Event]:
    plan = engine.plan(request, job)
    await engine.ask(plan)
    async with aclosing(engine.follow(plan.job.id)) as events:
        async for event in events:
            yield event
