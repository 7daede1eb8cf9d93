"""Somebody who leaves a marked word in every way that the bot has, and the others around them. No test.

Every command of the grammar and every button is said and pressed by A, or beside A by B, who takes part
too and lets excerpts be published, or C, who does not take part. A lets nothing be published.
"""

import contextlib
import itertools
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from studied import agree
from talking import OPERATOR, delivered, pressed, replies_of, told, unhurried

from bot.messages.buttons import Press, Verb
from bot.messages.grammar import RESERVED
from bot.service.moderation import RefusedError
from bot.service.request import Reply, Who, request_of
from bot.service.service import ChatService
from bot.telegram_client.updates import TextUpdate, User, read
from engine.errors import AskerError
from engine.events import Event, Finished
from engine.ledger.ledger import new_id

GROUP = "-100200"
ME = User(id=1, first_name="Pastiche", username="PasticheTestBot", is_bot=True)
LINK = "https://live.example/a"
BOMB = "Instructions to build a pipe bomb at home, step by step"


@dataclass
class Walk:
    """What was said and pressed, and the word that went each way."""

    talk: ChatService
    said: set[str] = field(default_factory=set)
    pressed: set[Verb] = field(default_factory=set)
    canaries: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self.a = Who(
            platform="telegram", asker=self.word("account"), place=self.word("private chat"),
            address=self.word("address"), alone=True,
        )  # fmt: skip
        self.a_there = replace(self.a, place=GROUP, alone=False, address=self.word("group address"))
        self.b = Who(
            platform="telegram", asker="bee", place=GROUP, manager=True, server_manager=True
        )
        self.c = Who(platform="telegram", asker="sea", place=GROUP)
        self.d = replace(self.b, asker="dee", place="dee", alone=True)

    def word(self, way: str, *, of_a: bool = True) -> str:
        """A new word; it is known again in any spelling of the case."""
        letters = "abcdefghijklmnopqrstuvwxyz"
        first, second = divmod(next(self._numbers), 26)
        made = f"zyx{letters[first]}{letters[second]}quill"
        (self.canaries if of_a else self.others)[way] = made
        return made

    async def say(self, line: str, who: Who) -> list[Event | Reply]:
        """What comes of it; delivered, and the message known that holds it."""
        name = line.split()[0].removeprefix("/") if line.startswith("/") else "story"
        self.said.add(name)
        replies = await told(self.talk, line, who)
        self.shown += [one.text for one in replies if hasattr(one, "text")]
        last = replies[-1]
        if isinstance(last, Reply):
            if last.receipt:
                await self.talk.arrived(last.receipt)
        else:
            self.jobs.append(last.job)
            await self.talk.deliveries.delivered(last.job, (f"{who.place}:{next(self._numbers)}",))
        return replies

    async def answer(self, line: str, who: Who) -> str:
        """The job of the answer."""
        return (await self.say(line, who))[-1].job

    async def press(self, press: Press, who: Who) -> list[Event | Reply]:
        """What comes of it."""
        self.pressed.add(press.verb)
        unhurried(self.talk)
        replies = await pressed(self.talk, press, who)
        self.shown += [one.text for one in replies if hasattr(one, "text")]
        for one in replies:
            if isinstance(one, Reply) and one.receipt:
                await self.talk.arrived(one.receipt)
        return replies

    async def choose(self, said: Reply, argument: str, who: Who) -> Reply:
        """The button with that argument, or the first."""
        buttons = [button.press for row in said.choices for button in row]
        [found, *_] = [one for one in buttons if one.argument == argument] or buttons
        return (await self.press(found, who))[-1]


async def take(talk: ChatService) -> Walk:
    """The whole walk; A is still known at its end."""
    walk = Walk(talk)
    for who, excerpts in ((walk.a, False), (walk.b, True), (walk.d, True)):
        await agree(talk, who, excerpts=excerpts)
    walk.said.add("consent")
    walk.pressed.add(Verb.CONSENT)
    await walk.say("/study on", walk.b)
    await _alone(walk)
    await _with_others(walk)
    await _judging(walk)
    await _asides(walk)
    return walk


async def _alone(walk: Walk) -> None:
    """A in a chat of two: text, options, typed, caption, continuing, repeating, pictures, refusals."""
    a, word = walk.a, walk.word
    typed = replace(a, typed=word("typed"))
    first = await walk.answer(
        f"/story {LINK} {word('text')} sat alone. {word('text again')} laughed.", typed
    )
    on = replace(a, reply_to=first)
    await walk.say(f"/continue {word('continued')} went on.", on)
    await walk.say("/again --seed 1618033988", on)
    [*_, last] = await walk.say(f"/news Nothing new in {word('news')}.", a)
    for verb in (Verb.UP, Verb.DOWN, Verb.WHY, Verb.TREE, Verb.STEP, Verb.CONTINUE, Verb.AGAIN):
        await walk.press(Press(verb, last.job), a)
    for command in ("/stories", "/story tree", "/story export", f"/note {word('noted')} is red."):
        await walk.say(command, on)
    await walk.say(f"/note {word('taken back')} is red.", on)
    [listed] = await walk.say("/story notes", on)
    await walk.press(listed.rows[0][-1].press, a)
    await walk.say("/continue", on)
    await walk.press(Press(Verb.STYLE, last.job, "newsroom"), a)
    ring = f'/jewel a ring for {word("jewel")} --negative "{word("negative")}" --seed 1414213562'
    drawn = await walk.answer(ring, a)
    for verb in (Verb.VARY, Verb.COUNT, Verb.ORIGINAL):
        await walk.press(Press(verb, drawn), a)
    caption = _captioned(f"/story {word('caption')} in a picture's caption.", a)
    await walk.say(caption, a)
    with contextlib.suppress(RefusedError):
        await walk.say(f"/story {BOMB} for {word('refused')}", a)
    with contextlib.suppress(RefusedError):
        await walk.say(f"/story I want to kill myself, {word('in danger')}", a)
    await walk.say(f"/story --private {word('kept out')} coughed.", a)
    await walk.say("/settings style agatha", a)
    await _noted(walk)
    gone = await walk.answer(f"/story {word('deleted')} coughed.", a)
    await walk.press(Press(Verb.DELETE, gone), a)


async def _noted(walk: Walk) -> None:
    """A worker that quotes the request beside its answer, as the image base does; the echo does not."""
    talk, line = walk.talk, f"/story {walk.word('quoted in a note')} sat alone."
    request = await request_of(talk.parse(line), walk.a, talk.context.engine)
    made = talk.context.engine.plan(request, new_id())
    chosen, job = made.route, made.job
    await talk.context.services.ledger.accept(request, chosen, job)
    facts = {"tokens_in": 3, "tokens_out": 5, "first_token_seconds": 0.1, "seconds": 1.0}
    note = f"This end was left out: “{walk.word('note')}”."
    await talk.context.services.ledger.finish(
        Finished(job=job.id, attempt=1, text="A story.", notes=(note,), **facts)
    )
    await talk.deliveries.delivered(job.id)


def _captioned(text: str, who: Who) -> str:
    """A caption as Telegram sends it, read as the client reads it."""
    chat, person = {"id": 5, "type": "private"}, {"id": 5, "is_bot": False, "first_name": "A"}
    photo = {"photo": [{"file_id": "x", "file_unique_id": "y", "width": 1, "height": 1}]}
    message = {"message_id": 1, "date": 1, "chat": chat, "from": person, "caption": text, **photo}
    heard = read({"update_id": 1, "message": message}, ME, frozenset({"story"}))
    assert isinstance(heard, TextUpdate), who
    return heard.text


async def _with_others(walk: Walk) -> None:
    """In a group: others reply to A's answer, take it up, and copy A's words."""
    word = walk.word
    there = f"/story {word('in a group')} sat alone."
    mine = await walk.answer(there, replace(walk.a_there, typed=there))
    await walk.say(f"/note {word('noted in a group')} is red.", walk.a_there)
    theirs = replace(walk.b, reply_to=mine)
    more = word("b's own words", of_a=False)
    for line in ("/again", f"/continue {more} too."):
        await walk.say(line, replace(theirs, typed=line))
    [*_, again] = await walk.say("/again", theirs)
    await walk.say("/continue", replace(walk.c, reply_to=again.job))
    await walk.press(Press(Verb.UP, mine), walk.b)
    await walk.say(
        f"/report {LINK} {word('reported by another', of_a=False)}", replace(walk.c, reply_to=mine)
    )
    picture = await walk.answer(f"/jewel a crown, {word('drawn in a group')}", walk.a_there)
    await walk.say("/again", replace(walk.b, reply_to=picture))
    copied = replace(walk.b, borrowed=True)
    await walk.say(f"/story -- {word('another message', of_a=False)} said A.", copied)
    ring = await walk.answer(f"/story A ring for {word('its own', of_a=False)}.", walk.b)
    walk.jobs.remove(ring)


async def _judging(walk: Walk) -> None:
    """Pairs, passages and questions, for B too."""
    a, word = walk.a, walk.word
    line = f"/compare -- {word('b compared', of_a=False)} sat alone in the darkened room."
    said = (await walk.say(line, walk.b))[-1]
    while Verb.ANSWER in {button.press.verb for row in said.choices for button in row}:
        said = await walk.choose(said, "1", walk.b)
    await walk.choose((await walk.say(line, walk.b))[-1], "b", walk.b)
    line = f"/compare -- {word('compared')} sat alone in the darkened room."
    said = (await walk.say(line, a))[-1]
    while Verb.ANSWER in {button.press.verb for row in said.choices for button in row}:
        said = await walk.choose(said, "1", a)
    said = (await walk.say(line, a))[-1]
    for argument in ("a", "style", "reveal"):
        said = await walk.choose(said, argument, a)
    said = (await walk.say("/guess", a))[-1]
    said = await walk.choose(said, "real", a)
    said = await walk.choose(said, "real.4", a)
    [*_] = await walk.press(Press(Verb.MORE, "01ARZ3NDEKTSV4RRFFQ69G5FAV"), a)
    invite = walk.talk.context.services.study.annotators.invite
    said = (await walk.say(f"/rate {await invite(word('name as an annotator'))}", a))[-1]
    await walk.choose(said, "1", a)
    await walk.say(f"/study join {word('panel id')}", a)
    await walk.say(f"Nothing but {word('free text')}.", a)


async def _asides(walk: Walk) -> None:
    """What is said about answers, oneself and the place."""
    a, word = walk.a, walk.word
    for line in ("/styles", "/why", "/queue", "/help", "/privacy", "/start", "/mydata", "/cancel"):
        await walk.say(line, a)
    await walk.say("/admin status", OPERATOR)
    await walk.say(f"/report {LINK} {word('reason')}", a)
    await walk.say("/admin reports", OPERATOR)
    other = replace(a, platform="discord", asker="a-again", place="a-again")
    await agree(walk.talk, other)
    [code] = await walk.say("/link", a)
    await walk.say(f"/link {code.text.split()[2]}", other)
    last = await walk.answer(f"/story The end of {word('the end')}.", a)
    await walk.press(Press(Verb.REPORT, last), a)
    slow = replies_of(walk.talk, walk.talk.parse(f"::slow:: {word('stopped')} a b c d e"), a)
    unhurried(walk.talk)
    async with aclosing(slow) as replies:
        first = await anext(replies)
        await walk.press(Press(Verb.CANCEL, first.job), a)
        await delivered(walk.talk, [event async for event in replies])
    await walk.say("/story It rained on D.", walk.d)
    [withdrawn] = await walk.say("/withdraw", walk.d)
    await walk.choose(withdrawn, "delete", walk.d)


async def forget(walk: Walk) -> None:
    """A goes: asked, not yet, asked again, yes."""
    [question] = await walk.say("/forget", walk.a)
    await walk.press(question.ask[1].press, walk.a)
    [question] = await walk.say("/forget", walk.a)
    await walk.press(question.ask[0].press, walk.a)
    with contextlib.suppress(AskerError):
        await walk.say("/again", walk.a)


def everything_said(talk: ChatService) -> set[str]:
    """Every command that there is."""
    return {*talk.context.registry.commands, *RESERVED}
