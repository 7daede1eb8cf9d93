"""Updates by long polling, and their order: a chat's one after the other, different chats side by side.

A batch is confirmed, by asking for what comes after it, once all of it is on record, in a rush after
half a second. Should the process die before, Telegram sends it again, and what was taken in already is
known by its number. One that cannot be read stops nobody. A chat whose line is full, and a person who
sends faster than anybody types, are not listened to for the moment, so that one who floods keeps nobody
else waiting and fills no memory.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from telegram.error import Conflict, InvalidToken, RetryAfter, TelegramError

from bot.clients.pacing import Vanished, backoff
from bot.messages.grammar import RESERVED
from bot.service.rate_limit import RateLimit, Repeats
from bot.telegram_client.api import Api, seconds_of
from bot.telegram_client.identity import PLATFORM
from bot.telegram_client.updates import (
    Asked,
    Incoming,
    MigrationUpdate,
    TextUpdate,
    User,
    number_of,
    read,
)
from engine.chat.quotas import Bucket
from engine.errors import OurError
from engine.shutdown import end, spawn, wanted

if TYPE_CHECKING:
    from bot.service.service import ChatService
    from bot.telegram_client.handlers import Handlers

MOST_WAITING = 20  # updates of one chat
FEW = 3  # so many of one chat are waited for before a batch is confirmed
MOST_SEEN = 20_000  # update numbers remembered in memory
# Updates of one person, dropped without a word: more than the service's limit, whose refusals are said
FLOOD = Bucket(burst=40, hourly=3 * 3600)
TAKE_SECONDS = 0.5  # a batch is confirmed by then, even if a request in it is not on record yet
# /privacy waits neither for its turn nor for the ledger; told twice, it does no harm
NOTICE = "privacy"
AT_ONCE = 8  # requests that are being put on record
BACKOFF_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
CONFLICT = (
    "Another program fetches this Telegram bot's updates. Stop it: only one may, with one token."
)
Take = Callable[[list[Any]], Awaitable[None]]
log = logging.getLogger(__name__)


class ChatLocks:
    def __init__(self) -> None:
        self._locks: dict[int, asyncio.Lock] = {}
        self._waiting: dict[int, int] = {}

    def full(self, chat: int) -> bool:
        return self._waiting.get(chat, 0) >= MOST_WAITING

    def short(self, chat: int) -> bool:
        return self._waiting.get(chat, 0) < FEW

    def enter(self, chat: int) -> None:
        self._waiting[chat] = self._waiting.get(chat, 0) + 1

    @asynccontextmanager
    async def turn(self, chat: int) -> AsyncIterator[None]:
        """Take in nothing else of the chat inside the block."""
        try:
            async with self._locks.setdefault(chat, asyncio.Lock()):
                yield
        finally:
            self._waiting[chat] -= 1
            if not self._waiting[chat]:
                del self._waiting[chat], self._locks[chat]


class UpdateQueue:
    """Hand updates to the handlers, each once. `me` is the bot, once it is known."""

    def __init__(self, service: "ChatService", handlers: "Handlers") -> None:
        self.me = User(id=0)
        self.tasks: set[asyncio.Task[None]] = set()
        self._service = service
        self._handlers = handlers
        self._commands = frozenset((*service.context.registry.commands, *RESERVED))
        self._locks = ChatLocks()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._flood = RateLimit(FLOOD)
        self._seen = Repeats(MOST_SEEN)

    async def take(self, batch: list[Any]) -> None:
        begun = [done for update in batch if (done := self._begin(update)) is not None]
        if begun:
            await asyncio.wait(begun, timeout=TAKE_SECONDS)

    def _begin(self, update: Any) -> asyncio.Future[None] | None:
        number = number_of(update)
        try:
            incoming = read(update, self.me, self._commands)
        except ValueError:
            log.debug("an update cannot be read", extra={"update": number})
            return None
        if incoming is None or number is None or not self._seen.new(number):
            return None
        chat = incoming.place.chat
        crowded = self._locks.full(chat) or not self._flood.allows(incoming.asker)
        # what becomes of a chat comes once
        if crowded and isinstance(incoming, Asked):
            log.debug("too much at once", extra={"update": number})
            return None
        done = asyncio.get_running_loop().create_future()
        if isinstance(incoming, TextUpdate) and incoming.command == NOTICE:
            self._spawn(self._handlers.take(incoming, lambda: _set(done)), done)
            return done
        awaited = self._locks.short(chat)
        for chat in _chats(incoming):
            self._locks.enter(chat)
        self._spawn(self._handle(number, incoming, done), done)
        return done if awaited else None

    def _spawn(self, work: Coroutine[Any, Any, None], done: asyncio.Future[None]) -> None:
        spawn(self.tasks, guarded(work)).add_done_callback(lambda _task: _set(done))

    async def _handle(self, number: int, incoming: Incoming, done: asyncio.Future[None]) -> None:
        """Handle one update. The chat's next one begins when it is on record, not when answered."""
        async with AsyncExitStack() as stack:
            for chat in _chats(incoming):
                await stack.enter_async_context(self._locks.turn(chat))
            await stack.enter_async_context(self._gate)
            if await self._taken_before(number):
                return
            work = asyncio.create_task(self._handlers.take(incoming, lambda: _set(done)))
            try:
                await asyncio.wait({work, done}, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                await end(work)
                raise
        await work

    async def _taken_before(self, number: int) -> bool:
        """Say whether an earlier start took it in; no if the ledger cannot say, so that it is told."""
        try:
            return await self._service.seen(PLATFORM, number)
        except OurError:
            log.exception("an update's number was not kept")
            return False


def _chats(incoming: Incoming) -> tuple[int, ...]:
    """Name the chats whose turn it is: what is said in a supergroup waits for what it brings along."""
    now = (incoming.now.chat,) if isinstance(incoming, MigrationUpdate) else ()
    return (incoming.place.chat, *now)


async def guarded(work: Coroutine[Any, Any, None]) -> None:
    """Let whatever happens to one answer happen to it alone."""
    try:
        await work
    except Vanished as error:
        log.info("there is nobody to tell", extra={"why": str(error)})
    except Exception:
        log.exception("an update failed")


def _set(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


async def poll(api: Api, take: Take, trouble: Callable[[str], None]) -> None:
    """Poll until cancelled; tell `trouble` what can be mended. Raises InvalidToken."""
    with suppress(TelegramError):  # if a webhook is left, Telegram says so
        await api.delete_webhook()
    offset: int | None = None
    faults = 0
    while wanted():
        try:
            batch = await api.updates(offset)
            faults = 0
        except InvalidToken:
            raise
        except RetryAfter as error:
            await asyncio.sleep(seconds_of(error))
            continue
        except Exception as error:  # noqa: BLE001 - whatever came, the loop goes on
            if isinstance(error, Conflict) and not faults:
                trouble(CONFLICT)
            log.warning("updates could not be fetched", extra={"why": type(error).__name__})
            await asyncio.sleep(backoff(faults, BACKOFF_SECONDS))
            faults += 1
            continue
        if not batch:
            continue
        await take(batch)
        numbers = [number for number in map(number_of, batch) if number is not None]
        if numbers:
            offset = numbers[-1] + 1
        else:
            await asyncio.sleep(BACKOFF_SECONDS[0])
