"""The chat service: all that a client may call, which itself only parses, shows and sends."""

import asyncio
import logging
from typing import cast

from bot.locales import hearing
from bot.messages.buttons import Press, Verb
from bot.messages.grammar import Command, Simple, parse
from bot.service import answer
from bot.service.admission import admit, place_of
from bot.service.context import Context
from bot.service.dispatch_table import Events, GoOn, Response
from bot.service.inquiries import footer
from bot.service.request import Reply, Who
from engine.errors import PasticheError
from engine.events import Cancelled, Finished

# buttons for everybody: about a question of theirs, or owed to those who are kept out, too
UNASKED = frozenset({Verb.FORGET, Verb.KEEP, Verb.CONSENT, Verb.DATA})
OWED = frozenset({Verb.REPORT, Verb.DELETE, Verb.CANCEL})
LONG = 4_000  # characters

log = logging.getLogger(__name__)


class ChatService:
    """Serve the clients of one process."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.deliveries = context.deliveries
        self._commands = context.registry.commands

    def parse(self, text: str) -> Command:
        return parse(text, self._commands)

    async def read(self, text: str, locale: str = "") -> Command:
        """Parse what was typed; a long text in a thread, for its marks and joiners take 10 ms."""
        with hearing(locale):
            if len(text) > LONG:
                return await asyncio.to_thread(self.parse, text)
            return self.parse(text)

    async def say(self, command: Command, who: Who) -> Response:
        """Give words, or the events of an answer that is accepted by then. Raises AskerError."""
        self.context.hurry.step(who)
        return await self._say(command, who)

    async def _say(self, command: Command, who: Who) -> Response:
        await admit(self.context, command, who)
        handlers = self.context.handlers
        heard = await handlers.study.heard(command, who)
        if isinstance(heard, GoOn):
            return await self._say(heard.command, heard.who)
        if heard is not None:
            return heard
        if isinstance(command, Simple):
            return await handlers.commands[command.name](command, who)
        stream = handlers.streams[type(command)](command, who)
        first = await anext(stream)  # that it is on record, or words that come first
        if isinstance(first, Reply):
            await stream.aclose()
            return first
        return cast("Events", stream)  # which the client follows

    async def press(self, press: Press, who: Who) -> Response:
        self.context.hurry.step(who)
        done = await self.pressed(press, who)
        return await self._say(done.command, done.who) if isinstance(done, GoOn) else done

    async def pressed(self, press: Press, who: Who) -> Response | GoOn:
        if press.verb not in UNASKED:
            kind = "help" if press.verb in OWED else press.verb
            await admit(self.context, Simple(name=kind), who)
        return await self.context.handlers.verbs[press.verb](press, who)

    def follow(self, job: str, who: Who | None = None) -> Events:
        return answer.follow(self.context, job, who)

    async def invitation(self, who: Who, job: str = "") -> Reply | None:
        """Give what the study asks after an answer, if anything; never in the way of the answer."""
        try:
            return await self.context.handlers.study.invitation(who, job)
        except PasticheError as error:
            log.info("nobody was invited", extra={"why": type(error).__name__})
            return None

    async def footer(self, final: Finished | Cancelled, who: Who | str = "en") -> str:
        return await footer(self.context, final, who)

    async def arrived(self, receipt: str, *, shown: bool = True) -> None:
        """Take note that what carried the receipt is shown, or could not be."""
        kind, _, name = receipt.partition(":")
        if (handler := self.context.handlers.receipts.get(kind)) is not None:
            await handler(name, shown)

    async def missed(self, receipt: str) -> None:
        await self.arrived(receipt, shown=False)

    async def seen(self, platform: str, update: str | int) -> bool:
        """Say whether an update was taken before; from now on it was."""
        return await self.context.services.seen(platform, str(update))

    async def listens(self, who: Who) -> bool:
        """Say whether to answer without being mentioned, which operator and place both have to want."""
        allowed = self.context.settings.message_content
        return allowed and (await place_of(self.context, who)).talk_on
