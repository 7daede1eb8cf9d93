"""What is done with what was said and pressed."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from bot.clients.pacing import TooFast, Vanished
from bot.locales import words
from bot.messages.buttons import Press, Verb
from bot.messages.escape import quoting
from bot.messages.grammar import BARE, Simple
from bot.messages.split import CAPTION_LIMIT, TELEGRAM_LIMIT, split, utf16
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from bot.telegram_client.address import Place
from bot.telegram_client.api import Barred, Lost
from bot.telegram_client.identity import PLATFORM, Here, People, personal
from bot.telegram_client.live_answer import LiveAnswer
from bot.telegram_client.messages import ANSWER, Sender
from bot.telegram_client.parts import TextMessage, plain
from bot.telegram_client.rendering import originals
from bot.telegram_client.replies import Replies
from bot.telegram_client.updates import (
    ButtonUpdate,
    Incoming,
    MembershipUpdate,
    MigrationUpdate,
    TextUpdate,
)
from engine.errors import KIND_SENTENCE, AskerError, CommandError, OurError
from engine.events import Event, Finished

START = "start"
ALBUM_SECONDS = 1.0  # pictures without words wait so long for those of their album
NOTICE_SECONDS = 0.7  # a press is answered by then, whether its work is done or not
MOST_REMEMBERED = 5_000  # answers whose messages are known, so that all go when one is deleted
# replies that a group should not see; there are no others to hide
ALONE = ("forget", "admin", "consent", "withdraw", "mydata", "link")
ASKED = (Verb.CONSENT, Verb.DATA)  # buttons whose replies are for their asker alone
DEEP = ("consent", "withdraw", "mydata", "link")  # what a link may put after /start

Response = AsyncGenerator[Event | Reply]
Accepted = Callable[[], None]

log = logging.getLogger(__name__)


class Handlers:
    """Turns what came into a reply. `accepted` is called once it is on record, or refused."""

    def __init__(self, talk: ChatService, sender: Sender, replies: Replies) -> None:
        self._talk = talk
        self._sender = sender
        self._replies = replies
        self._people = People(talk, sender)
        self._messages: OrderedDict[str, list[int]] = OrderedDict()
        self._signs: set[asyncio.Task[None]] = set()

    async def take(self, incoming: Incoming, accepted: Accepted) -> None:
        """Act on it. Raises Vanished when nothing can be said there any more."""
        match incoming:
            case TextUpdate():
                await self.heard(incoming, accepted)
            case ButtonUpdate():
                await self.pressed(incoming, accepted)
            case MigrationUpdate(place=place, now=now):
                self._sender.grown(place.chat, now.chat)
                await self._talk.grown(PLATFORM, str(place), str(now))
            case MembershipUpdate(place=place, back=back):
                log.info("let in" if back else "shut out", extra={"private": place.private})
                if not back and not place.private:
                    await self._talk.left(PLATFORM, str(place))

    async def heard(self, heard: TextUpdate, accepted: Accepted) -> None:
        """Somebody wrote."""
        here = Here(
            place=heard.place, asker=heard.asker, message=heard.message, locale=heard.locale
        )
        async with self._kindly(here, accepted):
            who = await self._people.writer(heard, here)
            if heard.overheard and not await self._talk.listens(who):
                return
            if heard.album and not await self._first_of(heard, accepted):
                return
            if _linked(heard.text):
                heard = replace(heard, text=f"/{heard.text.split()[1]}")
            if heard.command == START:
                accepted()
                await self._say(Reply(words("telegram.start", heard.locale)), here)
            elif not heard.text:
                accepted()
                await self._say(Reply(words("talk.only_text", heard.locale)), here)
            else:
                command = self._talk.parse(_spelt_out(heard.text, who.reply_to))
                if heard.unnamed and personal(command):
                    raise CommandError(words("telegram.unnamed", here.locale))
                said = await self._answer(self._talk.say(command, who), who, here, accepted)
                if said is not None:
                    alone = isinstance(command, Simple) and command.name in ALONE
                    alone = alone and not heard.unnamed
                    await self._say(replace(said, private=said.private and alone), here)
                    if said.deletes and heard.replied:
                        await self._delete(here.place, heard.replied, who.reply_to)

    async def _first_of(self, heard: TextUpdate, accepted: Accepted) -> bool:
        """Whether this message speaks for its album: the first with words, without any the first."""
        if not heard.text:
            accepted()
            await asyncio.sleep(ALBUM_SECONDS)
        return not await self._talk.seen(PLATFORM, f"album {heard.album}")

    async def pressed(self, pressed: ButtonUpdate, accepted: Accepted) -> None:
        """Somebody pressed a button."""
        here = Here(
            place=pressed.place, asker=pressed.asker, message=pressed.message, locale=pressed.locale
        )
        press = pressed.press
        if press is None:
            accepted()
            await self._sender.notice(pressed.query, words("telegram.old_button", here.locale))
            return
        async with self._kindly(here, accepted, query=pressed.query):
            who = await self._people.presser(press, here)
            working = asyncio.create_task(self._talk.press(press, who))
            done, _ = await asyncio.wait({working}, timeout=NOTICE_SECONDS)
            result = await working if done else None
            if isinstance(result, Reply):
                accepted()
            short = result.text if isinstance(result, Reply) and _short(result) else ""
            short = "" if press.verb in ASKED else short  # what matters is said where it stands
            await self._sender.notice(pressed.query, short)
            result = await working
            if press.verb is Verb.STYLE and press.argument and not isinstance(result, Reply):
                await self._sender.delete(here.place, here.message)  # the question is answered
            said = (
                result
                if isinstance(result, Reply)
                else await self._answer(result, who, here, accepted)
            )
            accepted()
            if said is not None:
                await self._after(press, said, here, noticed=bool(short))

    async def _after(self, press: Press, said: Reply, here: Here, *, noticed: bool) -> None:
        """What a press led to, where a notice above the chat does not tell it all."""
        if said.deletes:
            if not await self._delete(here.place, here.message, press.job):
                told = Reply(words("telegram.not_deleted", here.locale))
                await self._say(told, here)
        elif press.verb in (Verb.FORGET, Verb.KEEP):
            done = TextMessage(text=plain(said.text))
            await self._sender.change(here.place, here.message, done)
        elif said.replaces:
            await self._replace(said, here)
        elif press.verb in ASKED:
            await self._say(said, here)
        elif said.pictures and not said.choices:
            for item in originals(said.pictures, said.text):
                await self._sender.deliver(here.place, item, here.message)
        elif not noticed:
            await self._say(replace(said, private=False), here)

    async def _replace(self, said: Reply, here: Here) -> None:
        """Let the message that was pressed on be this one."""
        text = split(said.text, CAPTION_LIMIT if said.caption else TELEGRAM_LIMIT, utf16)[0]
        done = TextMessage(text=plain(text), rows=said.choices)
        try:
            await self._sender.settle(here.place, here.message, done, media=said.caption)
        except (Lost, TooFast):
            await self._talk.missed(said.receipt)
        else:
            await self._talk.arrived(said.receipt)

    def acknowledge(self, heard: TextUpdate) -> None:
        """“typing…”, before anything else is done, for what takes a while."""
        if heard.text and heard.command not in BARE and not heard.overheard:
            sign = asyncio.create_task(self._sender.action(heard.place, "typing"))
            self._signs.add(sign)
            sign.add_done_callback(self._signs.discard)

    async def _delete(self, place: Place, message: int, job: str | None) -> bool:
        """Every message of an answer; whether all are gone."""
        known = self._messages.pop(job or "", [])
        return all([await self._sender.delete(place, m) for m in {message, *known}])

    async def _answer(
        self, reply: Response, who: Who, here: Here, accepted: Accepted
    ) -> Reply | None:
        """Show an answer to its end; words are given back."""
        async with aclosing(reply):
            first = await anext(reply, None)
            accepted()
            if first is None or isinstance(first, Reply):
                return first
            showing = LiveAnswer(self._talk, self._sender, who, here.place, here.message)
            await self.show(showing, _from(first, reply))
        if showing.barred:
            raise Barred("the bot lacks a right here")
        if isinstance(showing.draft.final, Finished):
            await self._invite(who, here, showing.draft.job)
        return None

    async def _invite(self, who: Who, here: Here, job: str) -> None:
        """Below a good answer, the study's invitation: in a group that takes part, to its asker."""
        if who.asker == str(here.place.chat) and not who.private:
            return  # a group is no participant
        try:
            said = await self._talk.invitation(who, job)
        except (AskerError, OurError) as error:
            log.info("nobody was invited", extra={"why": type(error).__name__})
            return
        if said is not None:
            await self._say(replace(said, private=False), here)

    async def show(self, showing: LiveAnswer, events: Response) -> None:
        """Follow an answer to its end, and remember its messages."""
        messages = await showing.run(events)
        self._messages[showing.draft.job] = messages
        while len(self._messages) > MOST_REMEMBERED:
            self._messages.popitem(last=False)

    async def _say(self, said: Reply, here: Here) -> None:
        shown = await self._replies.say(said, here.place, here.asker, here.message, here.locale)
        await (self._talk.arrived if shown else self._talk.missed)(said.receipt)

    @asynccontextmanager
    async def _kindly(self, here: Here, accepted: Accepted, query: str = "") -> AsyncIterator[None]:
        """Whatever goes wrong is told: what the asker can mend as it is, the rest in one sentence."""
        try:
            yield
            return
        except Barred:
            accepted()
            told = Reply(words("telegram.barred", here.locale))
            await self._replies.say(told, Place(chat=here.asker), here.asker)
            return
        except AskerError as error:
            why = quoting(str(error))
        except (Vanished, TooFast):
            raise  # there is nobody to tell
        except Exception:  # the top of a handler
            log.exception("a request failed")
            why = KIND_SENTENCE
        accepted()
        if query and len(why) <= ANSWER:
            await self._sender.notice(query, why)
        else:
            await self._replies.refuse(why, here.place, here.asker, here.message)


def _short(said: Reply) -> bool:
    """Whether it fits above the chat, where only the one who pressed sees it."""
    bare = not (said.choices or said.pictures or said.files or said.replaces or said.receipt)
    return bare and len(said.text) <= ANSWER


def _linked(text: str) -> bool:
    """Whether somebody followed a link of ours to one of these commands.

    >>> _linked("/start consent"), _linked("/start")
    (True, False)
    """
    words = text.split()
    return len(words) == 2 and words[0].split("@")[0] == f"/{START}" and words[1] in DEEP


def _spelt_out(text: str, reply_to: str | None) -> str:
    """Words in reply to an answer go on from it."""
    if reply_to is None or text.lstrip().startswith("/"):
        return text
    return f"/continue {text}"


async def _from(first: Event, rest: Response) -> Response:
    yield first
    async for event in rest:
        yield event
