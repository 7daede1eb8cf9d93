"""Handlers of what people say and press on Telegram."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from bot.clients.pacing import TooFast, Vanished
from bot.locales import spoken, words
from bot.messages.buttons import Press, Verb
from bot.messages.escape import quoting
from bot.messages.grammar import Simple
from bot.messages.split import CAPTION_LIMIT, TELEGRAM_LIMIT, split, utf16
from bot.service.dispatch_table import Events, Response
from bot.service.rate_limit import Bounded, Repeats
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from bot.telegram_client.api import Barred, Lost, Place
from bot.telegram_client.identity import PLATFORM, personal, presser, writer
from bot.telegram_client.live_answer import TelegramAnswer
from bot.telegram_client.messages import ANSWER, Sender
from bot.telegram_client.rendering import TextMessage, originals, reply_parts
from bot.telegram_client.updates import (
    Asked,
    ButtonUpdate,
    Incoming,
    MembershipUpdate,
    MigrationUpdate,
    TextUpdate,
)
from engine.errors import KIND_SENTENCE, AskerError, CommandError

START = "start"
ALBUM_SECONDS = 1.0  # pictures without words wait so long for those of their album
NOTICE_SECONDS = 0.7  # a press is answered by then, whether its work is done or not
SAME_SECONDS = 20.0  # the same refusal to the same person is not said again so soon
MOST_REMEMBERED = 5_000  # refusals; answers whose messages are known, so that all can be deleted
# replies that a group should not see; there are no others to hide
ALONE = ("forget", "admin", "consent", "withdraw", "mydata", "link")
ASKED = (Verb.CONSENT, Verb.DATA)  # buttons whose replies are for their asker alone
LASTING = (*ASKED, Verb.WHY)  # whose replies, long or short, are messages: a notice does not stay
GIVEN = {"join": "/study join", "rate": "/rate"}  # before a panel's id, or a code, in a link
DEEP = ("consent", "withdraw", "mydata", "link")  # what a link may put after /start

Accepted = Callable[[], None]

log = logging.getLogger(__name__)


class Handlers:
    """Reply to updates; `name` is the bot's user name.

    `accepted` is called once what an update asks for is on record, or refused.
    """

    def __init__(self, service: ChatService, sender: Sender, name: str = "") -> None:
        self.showing: set[TelegramAnswer] = set()
        self._service = service
        self._sender = sender
        self.name = name
        self._refused = Repeats(MOST_REMEMBERED)
        self._messages = Bounded[str, list[int]](MOST_REMEMBERED)

    async def take(self, incoming: Incoming, accepted: Accepted) -> None:
        match incoming:
            case TextUpdate():
                await self._kindly(self._heard(incoming, accepted), incoming, accepted)
            case ButtonUpdate():
                await self._kindly(self._pressed(incoming, accepted), incoming, accepted)
            case MigrationUpdate(place=place, now=now):
                self._sender.grown(place.chat, now.chat)
                await self._service.context.services.rename(PLATFORM, str(place), str(now))
            case MembershipUpdate(place=place, back=back):
                log.info("let in" if back else "shut out", extra={"private": place.private})
                if not back and not place.private:
                    await self._service.context.services.leave(PLATFORM, str(place))

    async def _heard(self, heard: TextUpdate, accepted: Accepted) -> None:
        who = await writer(self._service, self._sender, heard)
        if heard.overheard and not await self._service.listens(who):
            return
        if heard.album and not await self._first_of(heard, accepted):
            return
        if linked := _linked(heard.text):
            heard = replace(heard, text=linked)
        if heard.command == START or not heard.text:
            accepted()
            key = "telegram.start" if heard.text else "talk.only_text"
            await self._say(Reply(words(key, heard.locale)), heard)
            return
        goes_on = who.reply_to is not None and not heard.text.lstrip().startswith("/")
        text = f"/continue {heard.text}" if goes_on else heard.text
        command = await self._service.read(text, who.locale)
        if heard.unnamed and personal(command):
            raise CommandError(words("telegram.unnamed", heard.locale))
        response = await self._service.say(command, who)
        accepted()
        said = await self._answer(response, who, heard)
        if said is not None:
            alone = isinstance(command, Simple) and command.name in ALONE and not heard.unnamed
            if said.deletes:
                replied = heard.replied if who.reply_to else 0
                await self._delete(heard.place, replied, said.deletes)
            await self._say(replace(said, private=said.private and alone), heard)

    async def _first_of(self, heard: TextUpdate, accepted: Accepted) -> bool:
        """Say whether this message speaks for its album: the first with words, else the first."""
        if not heard.text:
            accepted()
            await asyncio.sleep(ALBUM_SECONDS)
        return not await self._service.seen(PLATFORM, f"album {heard.album}")

    async def _pressed(self, pressed: ButtonUpdate, accepted: Accepted) -> None:
        press = pressed.press
        if press is None:
            accepted()
            await self._sender.notice(pressed.query, words("telegram.old_button", pressed.locale))
            return
        who = await presser(self._service, self._sender, press, pressed)
        working = asyncio.create_task(self._service.press(press, who))
        done, _ = await asyncio.wait({working}, timeout=NOTICE_SECONDS)
        result = await working if done else None
        if done:
            accepted()
        short = "" if press.verb in LASTING else _short(result)
        await self._sender.notice(pressed.query, short)
        result = await working
        accepted()
        if not isinstance(result, Reply) and press.verb is Verb.STYLE and press.argument:
            await self._sender.delete(pressed.place, pressed.message)  # the question is answered
        said = await self._answer(result, who, pressed)
        if said is not None:
            await self._after(press, said, pressed, noticed=bool(short))

    async def _after(
        self, press: Press, said: Reply, pressed: ButtonUpdate, *, noticed: bool
    ) -> None:
        """Show what a press led to, where a notice above the chat does not tell it all."""
        place, message = pressed.place, pressed.message
        if said.deletes:
            if not await self._delete(place, message, press.job):
                await self._say(Reply(words("telegram.not_deleted", pressed.locale)), pressed)
        elif press.verb in (Verb.FORGET, Verb.KEEP):
            first, *rest = split(said.text, TELEGRAM_LIMIT, utf16)
            await self._sender.change(place, message, TextMessage(text=first))
            await self._go_on(rest, pressed)
        elif said.replaces:
            await self._replace(said, pressed)
        elif press.verb in ASKED:
            await self._say(said, pressed)
        elif said.pictures and not said.choices:
            for item in originals(said.pictures, said.text):
                await self._sender.deliver(place, item, message)
        elif not noticed:
            await self._say(replace(said, private=False), pressed)

    async def _replace(self, said: Reply, pressed: ButtonUpdate) -> None:
        limit = CAPTION_LIMIT if said.caption else TELEGRAM_LIMIT
        text, *rest = split(said.text, limit, utf16)
        done = TextMessage(text=text, rows=said.choices)
        try:
            await self._sender.settle(pressed.place, pressed.message, done, media=said.caption)
        except (Lost, TooFast):
            await self._service.missed(said.receipt)
        else:
            await self._go_on([] if said.literal else rest, pressed)
            await self._service.arrived(said.receipt)

    async def _go_on(self, parts: list[str], pressed: ButtonUpdate) -> None:
        for part in parts:
            await self._say(Reply(part), pressed)

    async def _delete(self, place: Place, message: int, job: str) -> bool:
        known = self._messages.pop(job, [])
        return all([await self._sender.delete(place, m) for m in {message, *known} - {0}])

    async def _answer(self, response: Response, who: Who, asked: Asked) -> Reply | None:
        """Show an answer to its end, and what the study asks after it; give words back."""
        if isinstance(response, Reply):
            return response
        showing = TelegramAnswer(self._service, self._sender, who, asked.place, asked.message)
        said = await self.show(showing, response)
        if showing.barred:
            raise Barred("the bot lacks a right here")
        a_group = who.asker == str(asked.place.chat) and not who.alone  # is no participant
        if not a_group and (invited := await showing.invitation()):
            await self._say(replace(invited, private=False), asked)
        return said

    async def show(self, showing: TelegramAnswer, events: Events) -> Reply | None:
        """Follow an answer to its end, and remember its messages; give words back."""
        self.showing.add(showing)
        try:
            said = await showing.follow(events)
        finally:
            self.showing.discard(showing)
        if showing.sent:
            self._messages[showing.draft.job] = showing.sent
        return said

    async def _say(self, said: Reply, asked: Asked) -> None:
        """Reply where it was asked for; what is private in the asker's own chat."""
        if not said.private or asked.place.private:
            shown = await self._send(said, asked.place, asked.message)
        else:
            shown = False
            try:
                shown = await self._send(said, Place(chat=asked.asker))
                told = words("telegram.in_private", asked.locale)
            except Vanished:  # a bot may not begin a conversation
                link = f"{self.name}?start={said.start}" if said.start else self.name
                told = words("telegram.open_private", asked.locale, name=link)
            await self._send(Reply(told), asked.place, asked.message)
        await (self._service.arrived if shown else self._service.missed)(said.receipt)

    async def _send(self, said: Reply, place: Place, reply_to: int = 0) -> bool:
        for item in await asyncio.to_thread(reply_parts, said):
            try:
                await self._sender.deliver(place, item, reply_to)
            except TooFast as error:
                log.warning("a reply came to nothing", extra={"why": str(error)})
                return False
        return True

    async def _kindly(self, work: Awaitable[None], asked: Asked, accepted: Accepted) -> None:
        """Tell whatever goes wrong: what the asker can mend as it is, the rest in one sentence."""
        try:
            await work
            return
        except Barred:
            accepted()
            await self._send(Reply(words("telegram.barred", asked.locale)), Place(chat=asked.asker))
            return
        except AskerError as error:
            why = quoting(spoken(str(error), asked.locale))
        except (Vanished, TooFast):
            raise  # there is nobody to tell
        except Exception:  # the top of a handler
            log.exception("a request failed")
            why = spoken(KIND_SENTENCE, asked.locale)
        accepted()
        if isinstance(asked, ButtonUpdate) and len(why) <= ANSWER:
            await self._sender.notice(asked.query, why)
        elif self._refused.new((asked.asker, why), SAME_SECONDS):
            await self._send(Reply(why), asked.place, asked.message)


def _short(said: Response | None) -> str:
    """Give words that fit above the chat, where only the one who pressed sees them; else ""."""
    if not isinstance(said, Reply) or len(said.text) > ANSWER:
        return ""
    more = said.choices or said.pictures or said.files or said.replaces or said.receipt
    return "" if more else said.text


def _linked(text: str) -> str:
    """Give the command that a link of ours stands for, if somebody followed one.

    >>> _linked("/start consent"), _linked("/start join-5f3c"), _linked("/start")
    ('/consent', '/study join 5f3c', '')
    >>> _linked("/start rate-Ab-3")
    '/rate Ab-3'
    """
    words = text.split()
    if len(words) != 2 or words[0].split("@")[0] != f"/{START}":
        return ""
    name, dash, rest = words[1].partition("-")
    if dash and name in GIVEN:
        return f"{GIVEN[name]} {rest}"
    return f"/{words[1]}" if words[1] in DEEP else ""
