"""The session of a chat in the terminal: choices to type, files to save, and retention."""

import asyncio
import getpass
import logging
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bot.chat import make_context
from bot.locales import language_of, words
from bot.messages.buttons import Button, Verb
from bot.messages.grammar import Command, Simple
from bot.service.dispatch_table import Response
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from bot.settings import PlatformSettings, terminal_settings
from bot.terminal_client.keyboard import at_a_terminal
from engine.errors import AskerError, PasticheError, SetupError
from engine.files import write_file
from engine.ledger.ledger import new_id
from engine.moderation.chain import usual
from engine.process.bootstrap import ReconnectingEngine
from engine.process.services import Services, services_on
from engine.settings import Settings
from engine.shutdown import end

CLEAN_SECONDS = 3600.0  # between two rounds of retention
ELSEWHERE = ("report", "settings", "admin")  # for those who look after a chat of many
FREE = (Verb.TREE, Verb.STEP, Verb.DROP, Verb.CONTINUE, Verb.AGAIN, Verb.WHY, Verb.MORE)
SAVED = re.compile(r"[0-9a-hjkmnp-tv-z]{26}(-\d)?\.png")
WRITTEN = re.compile(r"mydata\.(html|json|zip)|story(-[0-9a-hjkmnp-tv-z]{6})?\.(md|epub)")

log = logging.getLogger(__name__)


def terminal_asker(settings: Settings) -> Who:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        name = str(os.getuid())
    place = os.ttyname(0) if at_a_terminal() else "terminal"
    spoken = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return Who(
        platform="terminal",
        asker=name,
        place=place,
        conversation=new_id(),
        alone=True,
        locale=language_of(spoken.partition(".")[0]),
        hours=settings.terminal_hours,
    )


def chosen(text: str, labels: Sequence[str]) -> int | None:
    """Find the label that is meant: by number, by its words, or by how it alone begins.

    >>> chosen("2", ["Yes, forget me", "No"]), chosen("y", ["Yes, forget me", "No"])
    (1, 0)
    >>> chosen("b", ["A", "B", "Both bad"]), chosen("No, wait", ["Yes, forget me", "No"])
    (1, None)
    """
    said = text.strip().casefold()
    number = said.removeprefix("/")  # a line of a pipe begins a request with it
    if number.isascii() and number.isdigit():
        return int(number) - 1 if 1 <= int(number) <= len(labels) else None
    begins = [re.sub(r"^\W+", "", label).casefold() for label in labels]
    exact = [index for index, label in enumerate(begins) if label == said]
    found = exact or [n for n, label in enumerate(begins) if said and label.startswith(said)]
    return found[0] if len(found) == 1 else None


class TerminalSession:
    """Keep the choices that were shown last, and the folder for files (`out`, if named)."""

    def __init__(self, service: ChatService, settings: Settings, out: Path | None = None) -> None:
        self.service = service
        self.out = out
        self.pictures = out or settings.saved_pictures
        self.papers = out or settings.home
        self._settings = settings
        self.offer_nothing()
        self.who = terminal_asker(settings)

    async def say(self, command: Command, who: Who) -> Response:
        """Give ChatService's reply; a new request leaves what was asked, if that is not answered so."""
        if isinstance(command, Simple) and command.name in ELSEWHERE:
            raise AskerError(words("terminal.elsewhere", who.locale, name=command.name))
        if not (isinstance(command, Simple) or self._typed):
            self.offer_nothing()
        return await self.service.say(command, who)

    async def response(self, text: str, who: Who) -> Response:
        pressed = await self.pressed(text, who)
        return pressed or await self.say(await self.service.read(text, who.locale), who)

    async def pressed(self, text: str, who: Who) -> Response | None:
        """Reply to a choice; None for what is no answer to one. A question is asked again."""
        if self._typed and not text.lstrip().startswith("/"):
            return None
        meant = chosen(text, [button.label for button in self._shown])
        if meant is not None:
            return await self._press(self._shown[meant], who)
        number = text.strip().removeprefix("/").isdigit()
        if number and not self._shown:
            raise AskerError(words("terminal.no_choice", who.locale))
        if number or (self._asking and not text.lstrip().startswith("/")):
            return Reply(words("terminal.choose", who.locale), ask=tuple(self._shown))
        return None

    async def _press(self, button: Button, who: Who) -> Response:
        reply = await self.service.press(button.press, who)
        if not isinstance(reply, Reply):
            return reply
        if not reply.choices:
            self.offer_nothing()
        if button.press.verb is Verb.FORGET and (count := await asyncio.to_thread(self._delete)):
            told = words("terminal.forgotten", who.locale, count=count, folder=self.pictures)
            return Reply(f"{reply.text}\n\n{told}", private=True)
        return reply

    def _delete(self) -> int:
        """Delete what was saved where it is saved unless told otherwise; says how many files it was."""
        home, pictures = self._settings.home, self._settings.saved_pictures
        files = [path for path in home.iterdir() if WRITTEN.fullmatch(path.name)]
        if pictures.is_dir():
            files += [path for path in pictures.iterdir() if SAVED.fullmatch(path.name)]
        for path in files:
            path.unlink(missing_ok=True)
        return len(files)

    def offer_nothing(self) -> None:
        self._shown: list[Button] = []
        self._asking = self._typed = False

    def offer(self, said: Reply, *, asking: bool = True) -> list[str]:
        """Give the reply's choices as lines; from now on they count. `asking`: until one is made,
        unless all of them only look back or lead on."""
        shown = [button for row in said.choices for button in row]
        asking = asking and any(button.press.verb not in FREE for button in shown)
        self._typed = said.typed
        if shown or said.typed:
            self._asking = self._asking if shown == self._shown else asking
            self._shown = shown
        slash = "/" if said.typed else ""  # a bare number is an answer there
        return [f"[{slash}{n}] {button.label}" for n, button in enumerate(shown, 1)]

    async def save(self, name: str, data: bytes) -> Path:
        folder = self.pictures if name.endswith(".png") else self.papers
        try:
            await asyncio.to_thread(write_file, folder / name, data, private=True)
        except OSError as error:
            facts = {"name": name, "folder": folder, "why": error.strerror}
            raise SetupError(words("terminal.unsaved", self.who.locale, **facts)) from error
        return folder / name

    async def cancel(self, job: str) -> bool:
        """Stop that answer, or pair of answers; says whether it was still to be stopped."""
        context = self.service.context
        return await context.handlers.study.stop(self.who, job) or await context.engine.cancel(job)


@asynccontextmanager
async def open_terminal(
    settings: Settings, *, warm: tuple[str, ...] = (), out: Path | None = None
) -> AsyncIterator[TerminalSession]:
    """Open all that a chat or a single question needs, with retention as `pastiche serve` has it."""
    limits: PlatformSettings = terminal_settings()
    async with (
        ReconnectingEngine(settings, warm=warm) as core,
        core.ledger() as ledger,
        services_on(ledger, settings, limits.asker_bucket, limits.place_bucket) as services,
        _retention(services),
    ):
        # a line stays once shown, so each growth of a text is checked
        context = make_context(core, services, usual(limits.image_check), limits, growth=1)
        yield TerminalSession(ChatService(context), settings, out)


@asynccontextmanager
async def _retention(services: Services) -> AsyncIterator[None]:
    """Clean now unless that was within the hour, then every hour: nobody else may be serving."""

    async def hourly() -> None:
        while True:
            await asyncio.sleep(CLEAN_SECONDS)
            await _clean(services)

    await _clean(services)
    chore = asyncio.create_task(hourly())
    try:
        yield
    finally:
        await end(chore)


async def _clean(services: Services) -> None:
    try:
        silent = await services.retention.silence()
        if silent is not None and not 0 < silent < CLEAN_SECONDS:  # 0: by a clock that went back
            await services.retention.clean()
    except (PasticheError, OSError):
        log.exception("retention failed")
