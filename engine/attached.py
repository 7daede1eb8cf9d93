"""The engine of a process that found an owner: the same methods, over the owner's socket."""

from collections.abc import AsyncIterator

from engine import errors
from engine.errors import OwnerGoneError, PasticheError
from engine.events import Event, is_final
from engine.jobs import Answer, Request, Status
from engine.registry import Registry
from engine.settings import Settings
from engine.wire import (
    Ask,
    Cancel,
    Delivered,
    Done,
    Follow,
    GetLast,
    GetStatus,
    Link,
    Message,
    Refused,
    Told,
    connect,
)


class AttachedEngine:
    """One short connection a call. Raises OwnerGoneError when the owner leaves in between."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self.registry = registry
        self._path = str(settings.socket)

    async def _connect(self, message: Message) -> Link:
        try:
            link = await connect(self._path)
            await link.send(message)
        except (ConnectionError, FileNotFoundError) as error:
            raise OwnerGoneError from error
        return link

    async def _events(self, message: Message, job: str | None = None) -> AsyncIterator[Event]:
        link = await self._connect(message)
        try:
            while True:
                event = _checked(await link.receive(), job)
                if isinstance(event, Done | Told):
                    raise OwnerGoneError(job)
                job = event.job
                yield event
                if is_final(event):
                    return
        finally:
            await link.close()

    def ask(self, request: Request) -> AsyncIterator[Event]:
        """See engine.Engine."""
        return self._events(Ask(request=request))

    def follow(self, job: str) -> AsyncIterator[Event]:
        """See engine.Engine."""
        return self._events(Follow(job=job), job)

    async def _call(self, message: Message) -> Done | Told:
        link = await self._connect(message)
        try:
            answer = _checked(await link.receive(), None)
        finally:
            await link.close()
        if not isinstance(answer, Done | Told):
            raise OwnerGoneError
        return answer

    async def cancel(self, job: str) -> bool:
        """See engine.Engine."""
        answer = await self._call(Cancel(job=job))
        return isinstance(answer, Done) and answer.ok

    async def status(self) -> Status:
        """See engine.Engine."""
        answer = await self._call(GetStatus())
        if not isinstance(answer, Told) or answer.status is None:
            raise OwnerGoneError
        return answer.status

    async def last(self, platform: str, asker: str, place: str) -> Answer | None:
        """See engine.Engine."""
        answer = await self._call(GetLast(platform=platform, asker=asker, place=place))
        return answer.answer if isinstance(answer, Told) else None

    async def delivered(self, job: str) -> None:
        """See engine.Engine."""
        await self._call(Delivered(job=job))


def _checked(message: Message | None, job: str | None) -> Event | Done | Told:
    """The owner's answer; its refusal becomes the error that it was there."""
    if message is None:
        raise OwnerGoneError(job)
    if isinstance(message, Refused):
        kind = getattr(errors, message.error, None)
        if not (isinstance(kind, type) and issubclass(kind, PasticheError)):
            kind = errors.OurError
        raise kind(message.message)
    if isinstance(message, Ask | Follow | Cancel | Delivered | GetStatus | GetLast):
        raise OwnerGoneError(job)
    return message  # type: ignore[return-value]
