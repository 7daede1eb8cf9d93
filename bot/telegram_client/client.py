"""The Telegram client: it connects, takes updates in, and lets go of everything when it is told to."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from telegram.error import InvalidToken, RetryAfter, TelegramError

from bot.clients.lease import holding, until
from bot.clients.pacing import Vanished
from bot.messages.grammar import RESERVED
from bot.service.delivery import Debt
from bot.service.rate_limit import RateLimit
from bot.service.repeats import Repeats
from bot.service.request import Who
from bot.service.service import ChatService
from bot.settings import PlatformSettings
from bot.telegram_client import menu
from bot.telegram_client.address import Place, read_address
from bot.telegram_client.api import Api, seconds_of
from bot.telegram_client.handlers import Handlers
from bot.telegram_client.identity import PLATFORM
from bot.telegram_client.live_answer import TelegramAnswer
from bot.telegram_client.messages import Sender
from bot.telegram_client.polling import BACKOFF_SECONDS, poll
from bot.telegram_client.update_queue import FLOOD, MOST_SEEN, ChatLocks
from bot.telegram_client.updates import ButtonUpdate, Incoming, TextUpdate, User, number_of, read
from bot.telegram_client.webhook import checked_secret, listen
from engine.errors import OurError, SetupError
from engine.shutdown import end

TAKE_SECONDS = 0.5  # a batch is confirmed by then, even if a request in it is not on record yet
# /privacy waits neither for its turn nor for the ledger; told twice, it does no harm
NOTICE = "privacy"
AT_ONCE = 8  # requests that are being put on record
LEAVE_SECONDS = 0.3  # answers still under way then are left to the next start
REFUSED = (
    "Telegram refuses TELEGRAM_TOKEN. Ask @BotFather for the bot's token (/mybots, API Token), set it "
    "anew, and start again."
)

log = logging.getLogger(__name__)


class TelegramClient:
    """Serve Telegram (bot.clients.client.Client)."""

    name = PLATFORM

    def __init__(self, talk: ChatService, settings: PlatformSettings) -> None:
        if settings.telegram_token is None:
            raise SetupError("TELEGRAM_TOKEN is not set. @BotFather gives you one.")
        self._talk = talk
        self._settings = settings
        self._api = Api(settings.telegram_token.get_secret_value(), settings.telegram_api_base)
        self._sender = Sender(self._api)
        self._listener = Handlers(talk, self._sender)
        self._lines = ChatLocks()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._flood = RateLimit(FLOOD)
        self._seen = Repeats(MOST_SEEN)
        self._stopping = asyncio.Event()
        self._ready = asyncio.Event()
        self._taking = False  # updates are asked for, or listened for
        self._left = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        return self._ready.is_set() and self._taking and not self._stopping.is_set()

    async def run(self) -> None:
        try:
            await self._connect()
            await self._serve()
            await self._let_go(LEAVE_SECONDS)
        finally:
            await self._let_go(0)
            await self._api.shutdown()
            self._left.set()

    async def drain(self) -> None:
        self._stopping.set()
        if self._ready.is_set():
            await self._left.wait()

    async def _serve(self) -> None:
        """Take updates in until drain(). Raises SetupError when the token is refused."""
        intake = asyncio.create_task(self._intake())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({intake, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if intake.done():
                await intake
        except InvalidToken:
            raise SetupError(REFUSED) from None
        finally:
            await end(intake, stopping)

    async def deliver(self, debt: Debt) -> None:
        await self._ready.wait()
        try:
            place, message = read_address(debt.address)
        except ValueError:
            log.error("an address cannot be read", extra={"job": debt.job})
            return
        await self._guarded(self._settle(debt, place, message))

    async def _settle(self, debt: Debt, place: Place, message: int) -> None:
        answer = await self._talk.context.engine.answer(debt.job)
        asker = answer.request.asker if answer else ""
        who = Who(
            platform=PLATFORM,
            asker=asker,
            place=str(place),
            parent=place.parent,
            private=place.private,
        )
        showing = TelegramAnswer(
            self._talk, self._sender, who, place, message=message, unsure=debt.unsure
        )
        await self._listener.show(showing, self._talk.follow(debt.job, who))

    async def _connect(self) -> None:
        """Until Telegram knows us. Raises SetupError for a wrong token."""
        faults = 0
        while True:
            try:
                await self._api.initialize()
                break
            except InvalidToken:
                raise SetupError(REFUSED) from None
            except TelegramError as error:
                log.warning("Telegram cannot be reached", extra={"why": type(error).__name__})
                wait = BACKOFF_SECONDS[min(faults, len(BACKOFF_SECONDS) - 1)]
                await asyncio.sleep(seconds_of(error) if isinstance(error, RetryAfter) else wait)
                faults += 1
        me = self._api.bot
        self._me = User(id=me.id, is_bot=True, username=me.username or "")
        self._commands = frozenset((*self._talk.context.registry.commands, *RESERVED))
        self._listener.name = self._me.username
        address = f"https://t.me/{me.username}"
        self._say(f"@{me.username} is here: {address}, for groups {address}?startgroup=new")
        if me.can_read_all_group_messages:
            self._say("privacy mode is off: in groups the bot receives every message")
        elif self._settings.message_content:
            self._say("MESSAGE_CONTENT needs privacy mode off: @BotFather, /setprivacy")
        await self._menus()
        self._ready.set()

    async def _menus(self) -> None:
        try:
            study = bool(self._talk.context.handlers.study.title)
            changed = await menu.sync(self._api, self._talk.context.registry, study=study)
        except TelegramError as error:
            self._say(f"the menu of commands could not be sent ({type(error).__name__})")
        else:
            self._say("menus of commands sent" if changed else "menus of commands unchanged")

    def _say(self, words: str) -> None:
        log.info("Telegram: %s", words)

    async def _intake(self) -> None:
        url = self._settings.telegram_webhook_url
        if url:
            secret = checked_secret(self._settings.telegram_webhook_secret)
            address = self._settings.telegram_webhook_listen
            # replicas behind one address listen together, none while somebody polls
            together = f"the webhook {hashlib.sha256(url.encode()).hexdigest()[:12]}"
            async with self._alone(together) as lost:
                await until(lost, listen(self._api, self._take, url, secret, address))
        else:
            async with self._alone("") as lost:
                with suppress(TelegramError):  # if one is left, polling says so
                    await self._api.delete_webhook()
                await until(lost, poll(self._api, self._take, self._say))

    @asynccontextmanager
    async def _alone(self, holder: str) -> AsyncIterator[asyncio.Event]:
        """Once no other process takes this bot's updates in, but for those of the same `holder`."""

        def waiting(who: str) -> None:
            log.warning(
                "Telegram: %s takes this bot's updates in already. Waiting: when it ends, this one "
                "takes its place.",
                who,
            )

        names = (f"telegram {self._me.id}",)
        async with holding(self._talk.context.desk.leases, names, waiting, holder=holder) as lost:
            self._taking = True
            try:
                yield lost
            finally:
                self._taking = False

    async def _take(self, batch: list[Any]) -> None:
        """Begin with each update; return when all are on record or refused."""
        begun = [done for update in batch if (done := self._begin(update)) is not None]
        if begun:
            await asyncio.wait(begun, timeout=TAKE_SECONDS)

    def _begin(self, update: Any) -> asyncio.Future[None] | None:
        try:
            incoming = read(update, self._me, self._commands)
        except ValueError:
            log.debug("an update cannot be read", extra={"update": number_of(update)})
            return None
        number = number_of(update)
        if incoming is None or number is None or not self._seen.new(number):
            return None
        crowded = self._lines.full(incoming.place.chat) or not self._flood.allows(incoming.asker)
        if crowded and isinstance(
            incoming, TextUpdate | ButtonUpdate
        ):  # what becomes of a chat comes once
            log.debug("too much at once", extra={"update": number})
            return None
        done = asyncio.get_running_loop().create_future()
        if isinstance(incoming, TextUpdate) and incoming.command == NOTICE:
            self._spawn(self._guarded(self._listener.take(incoming, lambda: _set(done))), done)
            return done
        awaited = self._lines.short(incoming.place.chat)
        self._lines.enter(incoming.place.chat)
        if awaited and isinstance(incoming, TextUpdate):
            self._listener.acknowledge(incoming)
        self._spawn(self._guarded(self._handle(number, incoming, done)), done)
        return done if awaited else None

    def _spawn(self, work: Coroutine[Any, Any, None], done: asyncio.Future[None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            _set(done)

        task.add_done_callback(ended)

    async def _handle(self, number: int, incoming: Incoming, done: asyncio.Future[None]) -> None:
        """One update. The chat's next one begins when this one is on record, not when answered."""
        async with self._lines.turn(incoming.place.chat), self._gate:
            if await self._taken_before(number):
                return
            work = asyncio.create_task(self._listener.take(incoming, lambda: _set(done)))
            try:
                await asyncio.wait({work, done}, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                await end(work)
                raise
        await work

    async def _taken_before(self, number: int) -> bool:
        """Whether an earlier start took it in; if the ledger cannot say, the asker shall hear that."""
        try:
            return await self._talk.seen(PLATFORM, number)
        except OurError:
            log.exception("an update's number was not kept")
            return False

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Whatever happens to one answer happens to it alone."""
        try:
            await work
        except Vanished as error:
            log.info("there is nobody to tell", extra={"why": str(error)})
        except Exception:
            log.exception("an update failed")

    async def _let_go(self, seconds: float) -> None:
        """Let what runs come to its end for a while, then leave it to the next start, and say so."""
        if self._tasks and seconds:
            await asyncio.wait(self._tasks, timeout=seconds)
        begun = [live for live in self._listener.showing if live.draft.job]
        await asyncio.gather(*(live.leave() for live in begun if live.draft.final is None))
        await end(*self._tasks)


def _set(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
