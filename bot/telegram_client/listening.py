"""What is done with what was said and pressed."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bot.buttons import Press, Verb
from bot.conversation import Said, Who
from bot.grammar import Command, parse
from bot.locales import words
from bot.talk import Talk
from bot.telegram_client.place import Place
from bot.telegram_client.replies import Replies
from bot.telegram_client.sender import ANSWER, Sender
from bot.telegram_client.showing import Showing
from bot.telegram_client.updates import Heard, Pressed
from engine.errors import KIND_SENTENCE, AskerError, OurError
from engine.events import Event

PLATFORM = "telegram"
START = "/start"
NOTICE_SECONDS = 0.7  # a press is answered by then, whether its work is done or not
MOST_REMEMBERED = 5_000  # answers whose messages are known, so that all go when one is deleted
NEED_RIGHTS = ("/settings", "/admin")  # commands that ask who may manage the chat

Reply = AsyncGenerator[Event | Said]
Accepted = Callable[[], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """Whom to answer, and where."""

    place: Place
    asker: int
    message: int
    locale: str


class Listener:
    """Turns what came into a reply. `accepted` is called once it is on record, or refused."""

    def __init__(self, talk: Talk, sender: Sender, replies: Replies) -> None:
        self._talk = talk
        self._sender = sender
        self._replies = replies
        self._messages: OrderedDict[str, list[int]] = OrderedDict()
        self.showings: set[Showing] = set()

    async def heard(self, heard: Heard, accepted: Accepted) -> None:
        """Somebody wrote. Raises Vanished when nothing can be said there any more."""
        here = Here(
            place=heard.place, asker=heard.asker, message=heard.message, locale=heard.locale
        )
        async with self._kindly(here, accepted):
            if heard.overheard and not await self._talk.talks_on(PLATFORM, str(heard.place)):
                return
            if heard.text.split("@")[0].split(maxsplit=1)[:1] == [START]:
                accepted()
                await self._say(Said(words("telegram.start", heard.locale)), here)
            elif not heard.text:
                accepted()
                await self._say(Said(words("telegram.only_text", heard.locale)), here)
            else:
                who = await self._who(here, heard.text, heard.reply_to, unnamed=heard.unnamed)
                await self._answer(self._talk.say(self._command(heard), who), here, accepted)

    async def pressed(self, pressed: Pressed, accepted: Accepted) -> None:
        """Somebody pressed a button. Raises Vanished as above."""
        here = Here(
            place=pressed.place, asker=pressed.asker, message=pressed.message, locale=pressed.locale
        )
        if pressed.press is None:
            accepted()
            await self._sender.notice(pressed.query, words("telegram.old_button", here.locale))
            return
        async with self._kindly(here, accepted, query=pressed.query):
            working = asyncio.create_task(self._work(pressed.press, here))
            done, _ = await asyncio.wait({working}, timeout=NOTICE_SECONDS)
            if not done:
                await self._sender.notice(pressed.query)
            result = await working
            if not isinstance(result, Said):
                if done:
                    await self._sender.notice(pressed.query)
                await self._answer(result, here, accepted)
            elif done and _short(result):
                accepted()
                await self._sender.notice(pressed.query, result.text)
            else:
                accepted()
                if done:
                    await self._sender.notice(pressed.query)
                await self._say(result, here)

    async def _work(self, press: Press, here: Here) -> Said | Reply:
        """What Talk makes of a press, and what only Telegram can do about it."""
        rights = press.verb is Verb.DELETE
        who = await self._who(here, "", press.job, rights=rights)
        result = await self._talk.press(press, who)
        if press.verb is Verb.DELETE and isinstance(result, Said):
            gone = [
                await self._sender.delete(here.place, message)
                for message in {here.message, *self._messages.get(press.job, [])}
            ]
            if not all(gone):
                return Said(words("telegram.not_deleted", here.locale))
        return result

    def _command(self, heard: Heard) -> Command:
        """The text's, or Continue for words in reply to an answer. Raises AskerError."""
        text = heard.text
        if heard.reply_to is not None and not text.lstrip().startswith("/"):
            text = f"/continue {text}"
        return parse(text, self._talk.core.registry.commands)

    async def _who(
        self,
        here: Here,
        typed: str,
        reply_to: str | None,
        *,
        unnamed: bool = False,
        rights: bool = False,
    ) -> Who:
        ask = rights or typed.startswith(NEED_RIGHTS)
        return Who(
            platform=PLATFORM,
            asker=str(here.asker),
            place=str(here.place),
            typed=typed,
            reply_to=reply_to,
            private=here.place.private,
            manager=unnamed or (ask and await self._sender.manages(here.place, here.asker)),
            locale=here.locale,
        )

    async def _answer(self, reply: Reply, here: Here, accepted: Accepted) -> None:
        """Show the reply, whichever it is."""
        try:
            first = await anext(reply)
        except StopAsyncIteration:
            return
        accepted()
        if isinstance(first, Said):
            await reply.aclose()
            await self._say(first, here)
            return
        showing = Showing(self._talk, self._sender, here.place, here.message, here.locale)
        await self.show(showing, _from(first, reply))

    async def show(self, showing: Showing, events: Reply) -> None:
        """Follow an answer to its end, and remember its messages."""
        self.showings.add(showing)
        try:
            self._messages[showing.draft.job] = await showing.run(events)
        finally:
            self.showings.discard(showing)
        while len(self._messages) > MOST_REMEMBERED:
            self._messages.popitem(last=False)

    async def _say(self, said: Said, here: Here) -> None:
        await self._replies.say(said, here.place, here.asker, here.message, here.locale)

    @asynccontextmanager
    async def _kindly(self, here: Here, accepted: Accepted, query: str = "") -> AsyncIterator[None]:
        """Whatever goes wrong is told: what the asker can mend as it is, the rest in one sentence."""
        try:
            yield
            return
        except AskerError as error:
            why = str(error)
        except OurError:
            log.exception("a request failed")
            why = KIND_SENTENCE
        accepted()
        if query and len(why) <= ANSWER:
            await self._sender.notice(query, why)
        else:
            await self._replies.refuse(why, here.place, here.asker, here.message)


def _short(said: Said) -> bool:
    """Whether it fits above the chat, where only the one who pressed sees it."""
    return not said.ask and len(said.text) <= ANSWER


async def _from(first: Event | Said, rest: Reply) -> Reply:
    yield first
    try:
        async for event in rest:
            yield event
    finally:
        await rest.aclose()
