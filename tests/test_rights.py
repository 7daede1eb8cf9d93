"""The truth table of rights, done over the wire: one program on a loopback Discord and Telegram."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import product

import pytest
import pytest_asyncio
import rights_table as table
from discord_people import People
from discord_program import Program
from discord_server import DiscordServer
from discord_world import ALICE, CHANNEL, THREAD, Interaction, Message
from rights_world import FEW, OPERATORS, OUTCASTS, Telegram, World, as_of, outcome
from studied import make_study
from telegram_server import TelegramServer

from bot.messages.buttons import Verb, decode
from bot.messages.grammar import RESERVED
from engine.process.bootstrap import open_engine
from engine.process.services import open_services
from engine.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_ONCE = 24
ELSEWHERE = {  # who may press these is held by the tests of what they belong to
    Verb.VOTE: "test_comparing", Verb.BECAUSE: "test_comparing", Verb.GUESS: "test_guessing",
    Verb.MORE: "test_guessing", Verb.ANSWER: "test_experiments", Verb.DATA: "test_consent",
    Verb.STEP: "test_stories", Verb.DROP: "test_notes",
}  # fmt: skip

Cell = Callable[[str, str], Awaitable[str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder = tmp_path_factory.mktemp("rights")
    settings = Settings(home=folder / "home", backend="echo", key_file=folder / "key")
    make_study(settings.home)
    async with open_engine(settings), open_services(settings) as services:
        for platform, people in (("discord", FEW), ("telegram", OUTCASTS)):
            for person in people:
                await services.places.rule(platform, "asker", str(person), "deny")
    operators = [f"{name}:{person}" for name, person in product(("discord", "telegram"), OPERATORS)]
    async with DiscordServer() as discord, TelegramServer(limits=False) as telegram:
        program = Program(
            discord,
            folder,
            PASTICHE_KEY_FILE=str(folder / "key"),
            PASTICHE_LOG_LEVEL="WARNING",
            PASTICHE_STUDY="pilot",
            OPERATORS=",".join(operators),
            TELEGRAM_TOKEN=telegram.token,
            TELEGRAM_API_BASE=telegram.base,
        )
        program.platforms = ()
        await program.start()
        await telegram.until(lambda: telegram.polls, 60)
        yield World(People(discord), telegram)
        assert discord.violations == []
        assert await program.stop() == 0


async def differing(text: str, act: Cell) -> list[str]:
    """The cells of a table whose outcome is another."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(what: str, who: str, expected: str) -> str | None:
        async with room:
            try:
                found = await act(what, who)
            except TimeoutError:
                found = "nothing"
        return None if found == expected else f"{what} by {who}: {found} and not {expected}"

    done = await asyncio.gather(*(one(*cell) for cell in table.cells(text)))
    return [each for each in done if each]


async def test_every_command_and_button_stands_in_the_table() -> None:
    for text in (table.TELEGRAM, table.DISCORD + table.DISCORD_PRIVATE.split("\n", 2)[2]):
        known = {line.split()[0][1:] for line in text.splitlines() if line.startswith("/")}
        assert {"story", *RESERVED} - known <= {"start"}  # the other cards' commands are as /story
    pressed = {
        what.split()[0].lower()
        for text in (table.DISCORD_PRESSES, table.DISCORD_PICTURE, table.TELEGRAM_PRESSES)
        for what, _, _ in table.cells(text)
    }
    assert {verb.value for verb in Verb} - pressed == set(ELSEWHERE)


# Discord


@pytest.mark.parametrize(
    ("text", "place"), [(table.DISCORD, CHANNEL), (table.DISCORD_THREAD, THREAD)]
)
async def test_commands_on_a_discord_server(world: World, text: str, place: str) -> None:
    people = world.people

    async def act(what: str, who: str) -> str:
        name, _, rest = what[1:].partition(" ")
        options = {} if not rest else {"text": rest}
        made = await people.slash(name, by=world.on_discord(who), at=place, **options)
        said = await people.discord.wait(lambda: [m for m in made.brought if m.content])
        return outcome(said[-1].content)

    assert "\n".join(await differing(text, act)) == ""


async def test_commands_in_private_on_discord(world: World) -> None:
    discord = world.people.discord

    async def act(what: str, who: str) -> str:
        by = world.on_discord(who)
        asked, place = await world.people.tell(what, by=by), discord.private(by)
        said = await discord.wait(
            lambda: [m for m in discord.in_channel(place) if m.reply_to == asked.id and m.content]
        )
        return outcome(said[-1].content)

    assert await differing(table.DISCORD_PRIVATE, act) == []


async def story(people: People, by: str, command: str = "story") -> Message:
    """A whole answer, with its buttons."""
    made = await people.slash(command, text="It rained.", by=by)
    return await people.discord.wait(
        lambda: next((m for m in made.brought if "Why?" in m.buttons), None)
    )


@pytest.mark.parametrize(
    ("text", "command"), [(table.DISCORD_PRESSES, "story"), (table.DISCORD_PICTURE, "jewel")]
)
async def test_presses_below_an_answer_on_discord(world: World, text: str, command: str) -> None:
    people, discord = world.people, world.people.discord
    shared = await story(people, ALICE, command)

    async def having(made: Interaction) -> Message:
        return (await discord.wait(lambda: [m for m in made.brought if m.buttons]))[0]

    async def target_of(verb: Verb, argument: str, asker: str) -> Message:
        """The message with that button; of an answer that all share, unless a press changes it."""
        if verb is Verb.DELETE:
            return await story(people, ALICE)
        if argument:  # a style, of those that are offered
            answer = await story(people, asker)
            return await having(await people.press(answer, "Another style", by=asker))
        if verb in (Verb.FORGET, Verb.KEEP, Verb.CONSENT):
            name = "consent" if verb is Verb.CONSENT else "forget"
            return await having(await people.slash(name, by=asker))
        return shared

    async def act(what: str, who: str) -> str:
        name, _, argument = what.partition(" ")
        verb, asker, by = Verb[name], str(world.somebody()), world.on_discord(who)
        target = await target_of(verb, argument, asker)
        if who == "asker" and (argument or verb in (Verb.FORGET, Verb.KEEP, Verb.CONSENT)):
            by = asker
        presses = {decode(data): data for data in target.buttons.values()}
        fit = [d for p, d in presses.items() if p.verb is verb and p.argument.startswith(argument)]
        assert fit, f"no button {what!r} for {who} on {target}"
        data = fit[0]
        versions = len(target.versions)
        made = await people.press(target, data, by=by)

        def said() -> list[str]:
            if target.deleted or len(target.versions) > versions:
                return [""]
            return [m.content for m in made.brought if m.content or m.files]

        return outcome((await discord.wait(said))[-1])

    assert "\n".join(await differing(text, act)) == ""


async def test_messages_on_discord(world: World) -> None:
    people, discord = world.people, world.people.discord
    marks = {"webhook": {"webhook_id": "1"}, "system": {"type": 18}}
    sent: dict[tuple[str, str], Message] = {}

    async def act(what: str, who: str) -> str:
        sent[what, who] = await people.say(what, by=world.on_discord(who), **marks.get(who, {}))
        return ""

    await differing(table.DISCORD_MESSAGES, act)

    def replies(cell: tuple[str, str]) -> str:
        there = [m for m in discord.in_channel(CHANNEL) if m.reply_to == sent[cell].id]
        return outcome(there[-1].content) if there else "."

    expected = {(what, who): result for what, who, result in table.cells(table.DISCORD_MESSAGES)}
    await discord.wait(
        lambda: all(replies(cell) != "." for cell, result in expected.items() if result != ".")
    )
    assert {cell: replies(cell) for cell in sent} == expected


# Telegram


@pytest.mark.parametrize(("text", "forum"), [(table.TELEGRAM, False), (table.TELEGRAM_TOPIC, True)])
async def test_commands_in_a_group_on_telegram(world: World, text: str, forum: bool) -> None:
    telegram = Telegram(world)

    async def act(what: str, who: str) -> str:
        by = world.somebody(who)
        group = telegram.group(forum, admin=by if who == "admin" else 0)
        thread = 4 if forum else 0
        world.telegram.say(what, group, by, thread=thread, **as_of(who, group))
        return outcome(await telegram.said(group))

    assert "\n".join(await differing(text, act)) == ""


async def test_what_nobody_says_is_met_with_silence_on_telegram(world: World) -> None:
    telegram = Telegram(world)
    groups: dict[tuple[str, str], int] = {}

    async def act(what: str, who: str) -> str:
        group = groups[what, who] = telegram.group()
        world.telegram.say(what, group, 7, overheard=True, **as_of(who, group))
        return "."

    await differing(table.TELEGRAM_UNSPOKEN, act)
    last = telegram.group()
    world.telegram.say("/queue", last, 7)
    await telegram.said(last)  # what came before it was passed over
    assert [cell for cell, group in groups.items() if world.telegram.shown(group)] == []


async def test_commands_in_private_on_telegram(world: World) -> None:
    telegram = Telegram(world)

    async def act(what: str, who: str) -> str:
        by = world.telegram.private(world.somebody(who))
        world.telegram.say(what, by, by)
        return outcome(await telegram.said(by))

    assert await differing(table.TELEGRAM_PRIVATE, act) == []


@pytest.mark.parametrize("own", [False, True])
async def test_presses_below_an_answer_on_telegram(world: World, own: bool) -> None:
    telegram = Telegram(world)

    async def scene(
        who: str, ask: Callable[..., Awaitable[dict[str, object]]]
    ) -> tuple[dict[str, object], int]:
        """A message with buttons in a group of its own, and who presses there."""
        asker = world.telegram.private(world.somebody())
        by = asker if who == "asker" else world.somebody(who)
        group = telegram.group(admin=by if who == "admin" else 0)
        return await ask(group, asker, **(as_of("unnamed", group) if own else {})), by

    shared: dict[str, asyncio.Task[tuple[dict[str, object], int]]] = {}

    async def act(what: str, who: str) -> str:
        verb = Verb[what]
        if verb in (Verb.FORGET, Verb.KEEP):
            message, by = await scene(who, telegram.forget)
        elif verb is Verb.DELETE:
            message, by = await scene(who, telegram.asked)
        else:
            if who not in shared:
                shared[who] = asyncio.create_task(scene(who, telegram.asked))
            message, by = await shared[who]
        return await telegram.press(message, verb, by)

    text = table.TELEGRAM_GROUPS_OWN if own else table.TELEGRAM_PRESSES
    assert "\n".join(await differing(text, act)) == ""
