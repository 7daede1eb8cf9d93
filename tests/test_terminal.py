"""The promise in a terminal: moderated, marked, blanked in its time; a question is no story."""

import asyncio
import io
import json
import sqlite3
import stat
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from flows import FLOW, make_flow
from rich.console import Console

from bot.cli.ask import _with, ask
from bot.messages.draft import Draft
from bot.messages.options import checked
from bot.service.request import meant
from bot.settings import PlatformSettings, terminal_settings
from bot.terminal_client.client import Screen, _one
from bot.terminal_client.live_answer import page_for, say
from bot.terminal_client.session import TerminalSession, open_terminal, terminal_asker
from engine.chat.retention import KEEP_SECONDS
from engine.errors import CommandError
from engine.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")
numbers = count(1)


class Terminal:
    """Somebody who types, and what they see."""

    def __init__(self, there: TerminalSession, home: Path) -> None:
        there.who = replace(there.who, asker=f"tester {next(numbers)}", locale="en")
        there.offer_nothing()
        self.there = there
        self.home = home
        self.code = 0
        self.shown = io.StringIO()

    async def __call__(self, line: str) -> str:
        """A line of the chat."""
        self.shown = io.StringIO()
        console = Console(file=self.shown, width=200)
        self.code = await _one(line, self.there, Screen(console=console, notes=console))
        return self.shown.getvalue()

    async def ask(self, text: str, *, as_json: bool = False, **options: str) -> int:
        """`pastiche ask`."""
        command = _with(self.there.service.parse(text), checked(options))
        return await ask(command, text, self.there, as_json=as_json)

    def rows(self, query: str) -> list[tuple]:
        with sqlite3.connect(self.home / "ledger.sqlite3") as connection:
            return connection.execute(query).fetchall()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def there(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TerminalSession]:
    """One data folder for the module, on the echo backend."""
    folder = tmp_path_factory.mktemp("terminal")
    made = Settings(home=folder / "home", backend="echo", key_file=folder / "key")
    async with open_terminal(made) as opened:
        yield opened


@pytest.fixture
def typed(there: TerminalSession) -> Terminal:
    """Somebody new at it."""
    return Terminal(there, there.papers)


async def test_what_no_platform_answers_the_terminal_does_not_either(typed: Terminal) -> None:
    before = typed.rows("select count(*) from jobs")
    assert "hope you are not alone" in await typed("I want to kill myself")
    assert typed.code == 2
    assert "instructions for weapons" in await typed("Tell me how to make a bomb")
    assert typed.rows("select count(*) from jobs") == before


async def test_every_verdict_is_on_record(typed: Terminal) -> None:
    [(before,)] = typed.rows("select coalesce(max(rowid), 0) from verdicts")
    await typed("It rained.")
    query = f"select distinct stage from verdicts where rowid > {before}"
    stages = {stage for (stage,) in typed.rows(query)}
    assert stages == {"input", "prompt", "output_text"}


async def test_limits_hold_here_only_if_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert terminal_settings().asker_burst == terminal_settings().asker_waiting == 0
    monkeypatch.setenv("PASTICHE_ASKER_BURST", "2")
    assert terminal_settings().asker_bucket.burst == 2
    assert PlatformSettings().asker_waiting > 0  # the platforms' own stay


async def test_json_says_that_a_machine_made_it_who_why_and_from_which_seed(
    typed: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await typed.ask("in the style of agatha: It rained.", as_json=True, seed="7") == 0
    final = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (final["mark"], final["expert"], final["seed"]) == ("AI-generated", "agatha", 7)
    assert (final["rule"], final["evidence"]) == ("style", ["in the style of agatha"])


async def test_json_is_json_where_an_output_cannot_show_it(
    typed: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    shown = io.TextIOWrapper(written, encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", shown)
    await typed.ask("It rained \u2014 \U0001f642.", as_json=True)
    assert json.loads(written.getvalue().splitlines()[-1])["text"] == "It rained \u2014 \U0001f642."


async def test_a_stopped_answer_is_marked_too(typed: Terminal) -> None:
    asked = asyncio.create_task(typed("It ::slow:: rained and rained."))
    while "It" not in typed.shown.getvalue():
        await asyncio.sleep(0.02)
    last = await meant(typed.there.who, typed.there.service.context.engine)
    await typed.there.cancel(last.job.id)
    assert "AI-generated · in the manner of" in await asked
    assert "Stopped." in typed.shown.getvalue()


@pytest.mark.parametrize("answer", ["1", "y", "Yes", "yes, forget me"])
async def test_a_question_is_answered_by_number_letter_or_label(
    typed: Terminal, answer: str
) -> None:
    await typed("It rained.")
    assert "[1] Yes, forget me" in await typed("/forget")
    assert "Your requests are deleted (1)" in await typed(answer)


async def test_anything_else_is_asked_again_and_never_becomes_a_story(typed: Terminal) -> None:
    before = typed.rows("select count(*) from requests")
    await typed("/forget")
    for wrong in ("maybe", "9", "/9", "It rained."):
        again = await typed(wrong)
        assert "choose one of these" in again
        assert "[2] No" in again
    assert typed.rows("select count(*) from requests") == before
    assert "Nothing was deleted" in await typed("n")
    assert "It snowed." in await typed("It snowed.")  # a question once answered is over


async def test_a_new_request_leaves_the_question_and_its_number_is_no_story(
    typed: Terminal,
) -> None:
    await typed("/forget")
    assert "It snowed." in await typed("/story It snowed.")
    before = typed.rows("select count(*) from requests")
    assert "nothing to choose from" in await typed("1")
    assert typed.rows("select count(*) from requests") == before


@pytest.mark.parametrize("looks", ["/stories", "/story tree", "/story notes"])
async def test_a_list_that_looks_back_holds_up_no_story(typed: Terminal, looks: str) -> None:
    await typed("It rained.")
    await typed("/again")
    await typed("/note The cat is grey.")
    assert "[1]" in await typed(looks)
    assert "choose one of these" in await typed("9")
    assert "It snowed." in await typed("It snowed."), "also after a number that is none of them"


async def test_a_number_still_opens_what_a_list_shows(typed: Terminal) -> None:
    await typed("It rained.")
    await typed("/again")
    await typed("/stories")
    assert "← here" in await typed("1"), "the tree"
    assert "Version 2 of 2" in await typed("1"), "the other version"
    assert "It snowed." in await typed("It snowed.")


async def test_another_passage_is_offered_and_not_asked(typed: Terminal) -> None:
    await typed("/guess")
    assert "choose one of these" in await typed("It snowed.")
    await typed("1")
    assert "Another one" in await typed("3")
    assert "It snowed." in await typed("It snowed.")


async def test_what_was_saved_is_private_and_goes_with_forget(typed: Terminal) -> None:
    await typed("/jewel a gold ring")
    pictures = typed.home / "pictures"
    [picture] = pictures.iterdir()
    (pictures / "holiday.png").write_bytes(b"")
    assert str(typed.home / "mydata.zip") in await typed("/mydata")
    await typed("It rained.")
    said = await typed("/story export")
    stories = [*typed.home.glob("story-*.md"), *typed.home.glob("story-*.epub")]
    assert len(stories) == 2 and all(str(path) in said for path in stories)
    for path in (*stories, picture, typed.home / "mydata.zip"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await typed("/forget")
    assert "deleted as well: 4" in await typed("y")
    assert [path.name for path in pictures.iterdir()] == ["holiday.png"]
    assert not any(path.exists() for path in (*stories, typed.home / "mydata.zip"))


@pytest.mark.parametrize("odd", ["one\ttwo", "bell \a\b rings", "down\v\fpage", "one\rtwo"])
async def test_odd_characters_do_not_end_the_program(odd: str) -> None:
    console = Console(file=io.StringIO(), width=20, force_terminal=True)
    texts = [odd, f"{odd} and on it goes for more than a line", f"{odd} and on"]
    with page_for(console) as page:
        for text in texts:
            page.show(Draft(job="j", text=text))
    assert console.file.getvalue()  # type: ignore[attr-defined]


async def test_a_terminal_speaks_its_language(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    assert terminal_asker(Settings()).locale == "en"
    monkeypatch.setenv("LANG", "it_IT.UTF-8")
    assert terminal_asker(Settings()).locale == "it"


async def test_what_the_engine_refuses_is_said_in_the_terminals_language(
    typed: Terminal,
) -> None:
    typed.there.who = replace(typed.there.who, locale="it")
    assert "Non ho lo stile" in await typed("/story --style zzzz It rained.")


async def test_help_lists_what_works_here(typed: Terminal) -> None:
    told = await typed("/help")
    for name in ("/mydata", "/consent", "/link", "/quit", "/forget", "/compare"):
        assert name in told
    assert "/report" not in told
    assert "for the chats" in await typed("/report rude")


@pytest.mark.parametrize(("width", "lead"), [(40, 4), (60, 23)])
async def test_help_keeps_its_columns_on_a_narrow_screen(
    typed: Terminal, width: int, lead: int
) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    told = await typed("/help")
    say(console, told)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= width
    commands = [line for line in lines if line.startswith("/")]
    assert [c.split()[0] for c in commands] == [
        line.split()[0] for line in told.splitlines() if line.startswith("/")
    ]
    listed = lines[: lines.index("")]
    assert {len(line) - len(line.lstrip()) for line in listed} == {0, lead}


@pytest.mark.parametrize("text", ["/forget", "/guess", "/consent", "/compare It rained."])
async def test_what_asks_back_needs_a_chat(typed: Terminal, text: str) -> None:
    with pytest.raises(CommandError, match="pastiche chat"):
        await typed.ask(text)


async def test_a_list_asks_nothing_back_though_it_offers_more(typed: Terminal) -> None:
    await typed("It rained.")
    await typed("/again")
    for text in ("/stories", "/story tree"):
        assert await typed.ask(text) == 0


async def test_a_colon_after_a_style_is_no_part_of_its_name(
    typed: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await typed.ask("--style agatha: The colonel coughed.") == 0
    assert "in the manner of Agatha Christie" in capsys.readouterr().err


async def test_words_are_blanked_when_the_program_runs_after_their_time(
    settings: Settings,
) -> None:
    async with open_terminal(settings) as there:
        typed = Terminal(there, settings.home)
        await typed("It rained on Wednesday.")
        assert typed.rows("select text from requests where text is not null")
    late = time.time() - KEEP_SECONDS - 60
    with sqlite3.connect(settings.ledger_file) as connection:
        connection.execute("update jobs set finished_at = ?", [late])
        connection.execute("update requests set accepted_at = ?", [late])
    async with open_terminal(settings):
        assert not typed.rows("select text from requests where text is not null")


async def test_out_saves_the_pictures_and_names_them(
    typed: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rings"
    typed.there = TerminalSession(typed.there.service, Settings(home=typed.home), out)
    assert await typed.ask("/jewel a gold ring", count="2") == 0
    assert sorted(capsys.readouterr().out.split()) == sorted(str(p) for p in out.iterdir())
    assert await typed.ask("/jewel a gold ring", as_json=True) == 0
    [picture] = json.loads(capsys.readouterr().out.splitlines()[-1])["pictures"]
    assert Path(picture["path"]).read_bytes().startswith(b"\x89PNG")
    assert "data" not in picture


async def test_a_question_of_a_study_is_answered_by_typing_also_after_a_mistake(
    tmp_path: Path,
) -> None:
    """One whose answer is required, so that there is no button at all."""
    home, key = tmp_path / "home", tmp_path / "key"
    made = Settings(home=home, backend="echo", key_file=key, study="pilot")
    why = '[[step.questions]]\nid = "why"\ntext = "Why?"\nkind = "text"\n'
    make_flow(home, FLOW.replace("maximum = 120", f"maximum = 120\nrequired = true\n\n{why}"))
    async with open_terminal(made) as opened:
        typed = Terminal(opened, home)
        await typed("/study join P1")
        for choice in ("1", "1", "1", "1", "Save", "Begin"):
            await typed(choice)
        assert "How old" in await typed("never")
        assert "cannot read that" in await typed("twelve")
        assert "cannot read that" in await typed("7")
        assert "[/1] I prefer not to say" in await typed("44"), "1 is an answer, /1 the button"
        assert "training" in await typed("/1"), "and so the next is shown"
