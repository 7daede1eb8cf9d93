"""The engine of a process that found an owner: the same methods, over the owner's socket."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from engine import Engine, Method, errors
from engine.errors import OurError, OwnerGoneError, PasticheError
from engine.events import Event, is_final
from engine.lock import owners_socket
from engine.plan.cards import Registry
from engine.plan.job import Request
from engine.plan.plan import Plan, make_plan
from engine.plan.semantic import Semantic
from engine.settings import Settings, check_runtime
from engine.workers.protocol import Call, Link, Message, Refused, Returned, connect

PATIENCE = 30.0  # an owner that takes longer for a short answer is stuck


class ClientEngine(Engine):
    """One short connection a call. Raises OwnerGoneError when the owner leaves in between."""

    def __init__(self, settings: Settings, registry: Registry, patience: float = PATIENCE) -> None:
        self.registry = registry
        self._patience = patience
        self._settings = settings
        self._semantic = Semantic() if settings.routes_by_meaning else None

    def plan(self, request: Request, job: str = "") -> Plan:
        cards, most = self.registry.learn(), self._settings.max_length
        return make_plan(request, cards, most, job, self._semantic)

    async def ask(self, plan: Plan) -> None:
        """Send the request, for a plan cannot travel: the owner plans again, with its own cards."""
        await self._send(Call(method="ask", request=plan.request, arguments=(plan.job.id,)))

    async def call(self, method: Method, *arguments: str) -> Any:
        return await self._send(Call(method=method, arguments=arguments))

    async def follow(self, job: str) -> AsyncGenerator[Event]:
        link = await self._connect(Call(method="follow", arguments=(job,)))
        try:
            while True:
                try:
                    async with asyncio.timeout(self._patience):
                        event = _checked(await link.receive())
                except TimeoutError:
                    await self.status()  # it may be a long wait; an owner that is stuck has gone
                    continue
                if not isinstance(event, Event):
                    raise OurError("The owner sent something else than events.")
                yield event
                if is_final(event):
                    return
        finally:
            await link.close()

    async def _send(self, call: Call) -> Any:
        try:
            async with asyncio.timeout(self._patience):
                link = await self._connect(call)
                try:
                    answer = _checked(await link.receive())
                finally:
                    await link.close()
        except TimeoutError as error:
            raise OwnerGoneError from error
        if not isinstance(answer, Returned):
            raise OurError("The owner answered something else than was asked.")
        return answer.value

    async def _connect(self, call: Call) -> Link:
        socket = owners_socket(self._settings.home) or self._settings.socket
        try:
            check_runtime(socket.parent, self._settings.home)
            link = await connect(str(socket))
            await link.send(call)
        except (ConnectionError, FileNotFoundError) as error:
            raise OwnerGoneError from error
        return link


def _checked(message: Message | None) -> Message:
    if message is None:
        raise OwnerGoneError
    if isinstance(message, Refused):
        kind = getattr(errors, message.error, None)
        if not (isinstance(kind, type) and issubclass(kind, PasticheError)):
            kind = OurError
        raise kind(message.message)
    return message
