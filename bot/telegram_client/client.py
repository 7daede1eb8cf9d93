"""Telegram as `pastiche serve` runs it: login, menus of commands, updates, drain, and an earlier run's
debts."""

import asyncio
import logging

import telegram
from telegram import BotCommand, BotCommandScope
from telegram.error import InvalidToken, RetryAfter, TelegramError

from bot.clients.lease import until, while_alone
from bot.clients.pacing import backoff
from bot.locales import DEFAULT, languages, words
from bot.service.service import ChatService
from bot.settings import PlatformSettings
from bot.telegram_client.api import Api, Place, read_address, seconds_of
from bot.telegram_client.handlers import Handlers
from bot.telegram_client.identity import PLATFORM, who_at
from bot.telegram_client.live_answer import TelegramAnswer
from bot.telegram_client.messages import Sender
from bot.telegram_client.update_queue import BACKOFF_SECONDS, UpdateQueue, guarded, poll
from bot.telegram_client.updates import User
from engine.errors import SetupError
from engine.ledger.outbox import Debt
from engine.plan.cards import Registry
from engine.shutdown import end

LEAVE_SECONDS = 0.3  # answers still under way then are left to the next start
REFUSED = (
    "Telegram refuses TELEGRAM_TOKEN. Ask @BotFather for the bot's token (/mybots, API Token), set it "
    "anew, and start again."
)
EVERYWHERE = (
    "continue", "again", "why", "styles", "queue", "cancel", "report", "help", "privacy", "compare",
    "guess", "note", "stories",
)  # fmt: skip
PRIVATE = ("start", "forget", "settings", "mydata")
MANAGERS = ("settings",)
STUDY = ("consent", "withdraw", "link", "rate")  # while there is one
STUDY_MANAGERS = ("study",)
LONGEST = 256
log = logging.getLogger(__name__)


class TelegramClient:
    name = PLATFORM

    def __init__(self, service: ChatService, settings: PlatformSettings) -> None:
        if settings.telegram_token is None:
            raise SetupError("TELEGRAM_TOKEN is not set. @BotFather gives you one.")
        self._service = service
        self._settings = settings
        self._api = Api(settings.telegram_token.get_secret_value(), settings.telegram_api_base)
        self._sender = Sender(self._api)
        self._handlers = Handlers(service, self._sender)
        self._updates = UpdateQueue(service, self._handlers)
        self._stopping = asyncio.Event()
        self._ready = asyncio.Event()
        self._taking = False  # updates are asked for
        self._left = asyncio.Event()

    @property
    def connected(self) -> bool:
        return self._ready.is_set() and self._taking and not self._stopping.is_set()

    async def run(self) -> None:
        try:
            await self._connect()
            leases, name = self._service.context.services.leases, f"telegram {self._api.bot.id}"
            await until(self._stopping, while_alone(leases, name, "Telegram", self._poll))
            await self._let_go(LEAVE_SECONDS)
        except InvalidToken:
            raise SetupError(REFUSED) from None
        finally:
            await self._let_go(0)
            await self._api.shutdown()
            self._left.set()

    async def drain(self) -> None:
        self._stopping.set()
        if self._ready.is_set():
            await self._left.wait()

    async def deliver(self, debt: Debt) -> None:
        await self._ready.wait()
        try:
            place, *stands = read_address(debt.address)
        except ValueError:
            log.error("an address cannot be read", extra={"job": debt.job})
            return
        await guarded(self._settle(debt, place, *stands))

    async def _settle(self, debt: Debt, place: Place, message: int, parts: int) -> None:
        answer = await self._service.context.engine.answer(debt.job)
        who = who_at(place, answer.request.asker if answer else "")
        about = (self._service, self._sender, who, place)
        live = TelegramAnswer(*about, message=message, parts=parts, unsure=debt.unsure)
        await self._handlers.show(live, self._service.follow(debt.job, who))

    async def _connect(self) -> None:
        faults = 0
        while True:
            try:
                await self._api.initialize()
                break
            except InvalidToken:
                raise
            except TelegramError as error:
                log.warning("Telegram cannot be reached", extra={"why": type(error).__name__})
                wait = backoff(faults, BACKOFF_SECONDS)
                await asyncio.sleep(seconds_of(error) if isinstance(error, RetryAfter) else wait)
                faults += 1
        me = self._api.bot
        self._handlers.name = me.username or ""
        self._updates.me = User(id=me.id, is_bot=True, username=self._handlers.name)
        address = f"https://t.me/{me.username}"
        self._say(f"@{me.username} is here: {address}, for groups {address}?startgroup=new")
        if me.can_read_all_group_messages:
            self._say("privacy mode is off: in groups the bot receives every message")
        elif self._settings.message_content:
            self._say("MESSAGE_CONTENT needs privacy mode off: @BotFather, /setprivacy")
        try:
            study = bool(self._service.context.handlers.study.title)
            await sync(self._api, self._service.context.registry, study=study)
            self._say("menus of commands sent")
        except TelegramError as error:
            self._say(f"the menu of commands could not be sent ({type(error).__name__})")
        self._ready.set()

    def _say(self, words: str) -> None:
        log.info("Telegram: %s", words)

    async def _poll(self) -> None:
        self._taking = True
        try:
            await poll(self._api, self._updates.take, self._say)
        finally:
            self._taking = False

    async def _let_go(self, seconds: float) -> None:
        """Let what runs come to its end for a while, then leave it to the next start, and say so."""
        tasks = self._updates.tasks
        if tasks and seconds:
            await asyncio.wait(tasks, timeout=seconds)
        begun = [live for live in self._handlers.showing if live.draft.job]
        await asyncio.gather(*(live.leave() for live in begun if live.draft.final is None))
        await end(*tasks)


def commands(registry: Registry, locale: str, *more: str) -> list[BotCommand]:
    made = []
    for name in (*registry.commands, *EVERYWHERE, *more):
        try:
            about = words(f"commands.{name}", locale)
        except KeyError:  # a command that only a card knows
            titles = ", ".join(e.said("title", locale) for e in registry.of_command(name))
            about = words("telegram.of_a_card", locale, names=titles)
        made.append(BotCommand(name, about[:LONGEST]))
    return made


async def sync(api: Api, registry: Registry, *, study: bool = False) -> None:
    """Send the menus of commands. `study`: there is one."""
    private, managers = (STUDY, STUDY_MANAGERS) if study else ((), ())
    scopes: tuple[tuple[BotCommandScope, tuple[str, ...]], ...] = (
        (telegram.BotCommandScopeDefault(), ()),
        (telegram.BotCommandScopeAllPrivateChats(), (*PRIVATE, *private)),
        (telegram.BotCommandScopeAllGroupChats(), ()),
        (telegram.BotCommandScopeAllChatAdministrators(), (*MANAGERS, *managers)),
    )
    for locale in languages():
        code = None if locale == DEFAULT else locale
        for scope, more in scopes:
            await api.set_my_commands(commands(registry, locale, *more), scope, code)
