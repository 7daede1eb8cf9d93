"""`pastiche log`: requests with their answers as one table, of the terminal and of who agreed."""

import json
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas
import pytest
import studied
from studied import agree
from study_exports import lines
from study_rows import Rows, opened
from talking import Clock, told

from bot.cli.export import _logged_words
from bot.locales import languages
from bot.messages.buttons import Press, Verb
from bot.service.request import Who, past
from bot.service.service import ChatService
from bot.terminal_client.session import TerminalSession
from engine.chat.retention import KEEP_SECONDS, Retention
from engine.errors import AskerError, CommandError
from engine.ledger.ledger import new_id
from engine.settings import Settings
from engine.study.export.log import AT_ONCE, beginning_of, check_out, log_columns, write_log

here, clock, talk = studied.here, studied.clock, studied.talk  # fixtures
OWN = Who(platform="terminal", asker="terminal", place="terminal", alone=True)


def somebody(name: str) -> Who:
    return Who(platform="telegram", asker=name, place=f"alone {name}", alone=True)


async def logged(settings: Settings, out: Path, since: float = 0) -> list[dict[str, Any]]:
    await write_log(settings, out, since, lambda _: None)
    return lines(out)


@pytest.mark.asyncio(loop_scope="module")
async def test_one_line_gives_the_terminals_and_consenting_peoples_requests_and_nobody_elses(
    talk: ChatService, here: Settings, clock: Clock, tmp_path: Path
) -> None:
    yes, gone, no = (somebody(name) for name in ("yes", "gone", "no"))
    began = time.time()
    for who in (yes, gone):
        await agree(talk, who)
    for who in (OWN, yes, gone, no):
        await told(talk, "/story in the style of lovecraft: Rain for joe@example.org fell.", who)
    await told(talk, "/withdraw", gone)
    await told(talk, "/story --private A secret.", OWN)
    rows = await logged(here, tmp_path / "log.jsonl", began)
    assert [row["source"] for row in rows] == ["terminal", "pilot"]
    own, theirs = rows
    assert own["pseudonym"] is None and len(theirs["pseudonym"]) == 32
    assert "joe@example.org" in own["text"] and "[email]" in theirs["text"]
    for row in rows:
        assert (row["rule"], row["expert"], row["state"]) == ("style", "lovecraft", "finished")
        assert json.loads(row["evidence"])[0]["words"].endswith("of lovecraft")
        assert "agatha" in [other["expert"] for other in json.loads(row["runners_up"])]
        assert "fell" in row["prompt"] and row["output"] and row["tokens_out"] > 0
        assert row["blanked"] is None and row["answer_seconds"] >= 0
    frame = pandas.read_parquet(await _written(here, tmp_path / "log.parquet", began))
    assert list(frame.columns) == [column.name for column in log_columns()]
    assert list(frame["prompt"]) == [row["prompt"] for row in rows]
    assert len(pandas.read_csv(await _written(here, tmp_path / "log.csv", began))) == 2
    assert (tmp_path / "log.csv").stat().st_mode & 0o777 == 0o600
    assert await logged(here, tmp_path / "later.jsonl", clock() + 60) == []


async def _written(settings: Settings, out: Path, since: float) -> Path:
    await write_log(settings, out, since, lambda _: None)
    return out


@pytest.mark.asyncio(loop_scope="module")
async def test_words_of_the_terminal_stay_as_long_as_is_set_and_what_was_blanked_is_marked(
    talk: ChatService, here: Settings, clock: Clock, tmp_path: Path
) -> None:
    someone = somebody("late")
    for who in (OWN, someone):
        await told(talk, "/story A lighthouse.", who)
    ledger = talk.context.services.ledger
    clock.ahead += KEEP_SECONDS + 60
    await Retention(ledger, here.home, 30 * 86400.0).clean()
    kept = [row for row in await logged(here, tmp_path / "1.jsonl") if row["source"] == "terminal"]
    assert all(row["blanked"] is None for row in kept) and "lighthouse" in kept[-1]["text"]
    clock.ahead += 30 * 86400.0
    await talk.context.services.retention.clean()
    gone = [row for row in await logged(here, tmp_path / "2.jsonl") if row["source"] == "terminal"]
    assert {row["blanked"] for row in gone} == {"typed, text, route, prompt, output"}
    assert [row["tokens_out"] for row in gone] == [row["tokens_out"] for row in kept]
    said = _logged_words(tmp_path / "2.jsonl", {"terminal": 2, "people": 0, "blanked": 2}, 72)
    assert "Of 2 some words are gone" in said and "PASTICHE_TERMINAL_HOURS" in said


@pytest.mark.asyncio(loop_scope="module")
async def test_all_that_says_how_long_words_stay_says_it_of_where_it_is_said(
    talk: ChatService, here: Settings
) -> None:
    longer = TerminalSession(talk, here.model_copy(update={"terminal_hours": 720})).who
    for who, hours in ((longer, 720), (somebody("x"), 72)):
        for locale, said in (("en", f"for {hours} hours"), ("it", f"per {hours} ore")):
            asks = replace(who, locale=locale)
            assert said in (await told(talk, "/privacy", asks))[0].text
            for line in ("/continue", "/stories"):
                with pytest.raises(AskerError, match=said):
                    await told(talk, line, asks)
            for verb in (Verb.WHY, Verb.UP):
                with pytest.raises(AskerError, match=said):
                    await talk.press(Press(verb, new_id()), asks)
        assert f"{hours} hours" in str(past(who, "gone_pictures"))


@pytest.mark.parametrize("language", languages())
def test_no_language_has_the_hours_in_its_words(language: str) -> None:
    assert "72" not in files("bot.locales").joinpath(f"{language}.toml").read_text()


async def test_what_somebody_who_left_wrote_is_not_told_by_who_took_it_up(
    settings: Settings, tmp_path: Path
) -> None:
    """And more rows than are read at a time are all there, in order."""
    database, many = await opened(settings), AT_ONCE + 20
    async with database.writing() as connection:
        rows = Rows(connection)
        left, stays = rows.person(0), rows.person(1)
        consents = [await rows.consent(each) for each in (left, stays)]
        first = await rows.interaction(left, consents[0], text="their own words")
        for _ in range(many):
            await rows.interaction(stays, consents[1], parent=first, text="their own words")
        await rows.consent(left, action="withdrawn", use=False)
    await database.close()
    found = await logged(settings, tmp_path / "log.jsonl")
    assert len(found) == many and {row["text"] for row in found} == {None}
    assert {row["blanked"] for row in found} == {"text, route, prompt"}
    times = [row["accepted_at"] for row in found]
    assert times == sorted(times)


def test_a_time_or_file_that_cannot_be_gets_one_clear_line(
    settings: Settings, tmp_path: Path
) -> None:
    assert beginning_of("2026-01-01T12:00+02:00", 0) == beginning_of("2026-01-01T10:00", 0)
    with pytest.raises(CommandError, match="Write 12h, 7d or 4w"):
        beginning_of("a week", 0)
    with pytest.raises(CommandError, match="must end in"):
        check_out(tmp_path / "log.xlsx", settings, replace=False)
    with pytest.raises(CommandError, match="lies in the data folder"):
        check_out(settings.home / "log.csv", settings, replace=False)
    (tmp_path / "log.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(CommandError, match="--replace"):
        check_out(tmp_path / "log.csv", settings, replace=False)
    check_out(tmp_path / "log.csv", settings, replace=True)
