"""The engine of a process that found an owner: the same methods, over the owner's socket."""

import asyncio
from collections.abc import AsyncGenerator

from engine import errors
from engine.errors import OurError, OwnerGoneError, PasticheError
from engine.events import Event, is_final
from engine.lock import owners_socket
from engine.overview import Overview
from engine.plan.cards import Registry
from engine.plan.job import Answer, Request, Status
from engine.plan.plan import Plan, make_plan
from engine.settings import Settings, check_runtime
from engine.workers.protocol import (
    Ask,
    Cancel,
    Delivered,
    Done,
    Follow,
    GetAnswer,
    GetOverview,
    GetStatus,
    Link,
    Mend,
    Message,
    Refused,
    Told,
    connect,
)

PATIENCE = 30.0  # an owner that takes longer for a short answer is stuck


class ClientEngine:
    """One short connection a call. Raises OwnerGoneError when the owner leaves in between."""

    def __init__(self, settings: Settings, registry: Registry, patience: float = PATIENCE) -> None:
        self.registry = registry
        self._patience = patience
        self._settings = settings

    async def _connect(self, message: Message) -> Link:
        socket = owners_socket(self._settings.home) or self._settings.socket
        try:
            check_runtime(socket.parent, self._settings.home)
            link = await connect(str(socket))
            await link.send(message)
        except (ConnectionError, FileNotFoundError) as error:
            raise OwnerGoneError from error
        return link

    def plan(self, request: Request, job: str = "") -> Plan:
        """See engine.Engine."""
        return make_plan(request, self.registry, self._settings.max_length, job)

    async def ask(self, plan: Plan) -> None:
        """See engine.Engine. The owner plans again, with the cards that it has."""
        await self._call(Ask(request=plan.request, job=plan.job.id))

    async def follow(self, job: str) -> AsyncGenerator[Event]:
        """See engine.Engine."""
        link = await self._connect(Follow(job=job))
        try:
            while True:
                try:
                    async with asyncio.timeout(self._patience):
                        heard = await link.receive()
                except TimeoutError:
                    await self.status()  # it may be a long wait; an owner that is stuck has gone
                    continue
                event = _checked(heard, job)
                if isinstance(event, Done | Told):
                    raise OurError("The owner answered something else than was asked.")
                yield event
                if is_final(event):
                    return
        finally:
            await link.close()

    async def _call(self, message: Message) -> Done | Told:
        try:
            async with asyncio.timeout(self._patience):
                link = await self._connect(message)
                try:
                    answer = _checked(await link.receive())
                finally:
                    await link.close()
        except TimeoutError as error:
            raise OwnerGoneError from error
        if not isinstance(answer, Done | Told):
            raise OurError("The owner answered something else than was asked.")
        return answer

    async def cancel(self, job: str) -> bool:
        """See engine.Engine."""
        answer = await self._call(Cancel(job=job))
        return isinstance(answer, Done) and answer.ok

    async def status(self) -> Status:
        """See engine.Engine."""
        answer = await self._call(GetStatus())
        if not isinstance(answer, Told) or answer.status is None:
            raise OurError("The owner did not tell its status.")
        return answer.status

    async def overview(self) -> Overview:
        """See engine.Engine."""
        answer = await self._call(GetOverview())
        if not isinstance(answer, Told) or answer.overview is None:
            raise OurError("The owner did not tell its queue.")
        return answer.overview

    async def retry(self, job: str) -> bool:
        """See engine.Engine."""
        answer = await self._call(Mend(job=job, action="retry"))
        return isinstance(answer, Done) and answer.ok

    async def drop(self, job: str) -> bool:
        """See engine.Engine."""
        answer = await self._call(Mend(job=job, action="drop"))
        return isinstance(answer, Done) and answer.ok

    async def last(self, platform: str, asker: str, place: str) -> Answer | None:
        """See engine.Engine."""
        told = await self._call(GetAnswer(platform=platform, asker=asker, place=place))
        return told.answer if isinstance(told, Told) else None

    async def answer(self, job: str) -> Answer | None:
        """See engine.Engine."""
        told = await self._call(GetAnswer(job=job))
        return told.answer if isinstance(told, Told) else None

    async def delivered(self, job: str) -> None:
        """See engine.Engine."""
        await self._call(Delivered(job=job))


def _checked(message: Message | None, job: str = "") -> Event | Done | Told:
    """The owner's answer; its refusal becomes the error that it was there."""
    if message is None:
        raise OwnerGoneError(job)
    if isinstance(message, Refused):
        kind = getattr(errors, message.error, None)
        if not (isinstance(kind, type) and issubclass(kind, PasticheError)):
            kind = OurError
        raise kind(message.message)
    if isinstance(message, Event | Done | Told):
        return message
    raise OurError("The owner sent what only clients and workers send.")
