"""The `pastiche` command, run as its user runs it, on the echo backend."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from program import events, pastiche, start, stop, wait_for

from bot.cli.doctor import _ask
from engine.events import Event
from engine.ledger.tables import RequestRow
from engine.process.bootstrap import open_engine
from engine.settings import Settings

REPORTS = (
    "I want a short mystery story in the style of {}.\nHere is the beginning:\n\n"
    "They sat alone in the darkened room as rain hammered against the old windowpanes."
)


@pytest.fixture
def home(settings: Settings) -> Path:
    return settings.home


@pytest.mark.parametrize(
    ("style", "expert"), [("lovecraft", "lovecraft"), ("agatha christie", "agatha")]
)
def test_the_reports_requests_are_streamed_routed_and_recorded(home, style, expert) -> None:
    done = pastiche("ask", REPORTS.format(style))
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip().startswith("They sat alone")
    assert f"because you wrote “in the style of {style}”" in done.stderr.decode()
    with sqlite3.connect(home / "ledger.sqlite3") as connection:
        rows = connection.execute(
            "select expert, state, rule, attempt from jobs join requests on request_id = requests.id"
        ).fetchall()
        debts = connection.execute("select state from deliveries").fetchall()
    assert rows == [(expert, "finished", "style", 1)]
    assert debts == [("delivered",)]


def test_json_prints_one_event_a_line_to_the_final_one() -> None:
    done = pastiche("ask", "--json", "It rained and rained.", "--style", "agatha", "--seed", "7")
    kinds = [event["kind"] for event in events(done.stdout)]
    assert kinds[0] == "queued"
    assert kinds[-1] == "finished"
    assert events(done.stdout)[-1]["text"] == "It rained and rained."


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ask", " "], "write something"),
        (["ask", "x", "--style", "hemingway"], "no style"),
        (["ask", "x", "--length", "0"], "between 16 and 1200"),
        (["ask", "x", "--length", "-5"], "between 16 and 1200"),
        (["ask", "x", "--length", "99999999"], "between 16 and 1200"),
        (["ask", "x", "--seed", "-1"], "seed must be"),
        (["ask", "/stroy x"], "/story"),
        (["ask", "/again"], "nothing of yours from this chat"),
        (["ask", "/styles", "--seed", "1"], "takes no options"),
        (["worker"], "No bot is running"),
        (["ask", "/jewel a ring", "--out", __file__], "cannot be made"),
    ],
)
def test_what_the_asker_can_mend_is_one_sentence_and_exit_2(words, told) -> None:
    done = pastiche(*words)
    assert done.returncode == 2
    assert told in done.stderr.decode()
    assert len(done.stderr.decode().strip().splitlines()) == 1


def test_standard_input_is_read_and_ten_megabytes_of_it_are_refused() -> None:
    assert pastiche("ask", "-", stdin="It rained.").stdout == b"It rained.\n"
    for huge in ("x" * 10_000_000, "é" * 5_000_000):
        done = pastiche("ask", "-", stdin=huge)
        assert (done.returncode, b"at most 20,000" in done.stderr) == (2, True)
    assert pastiche("ask", "-", stdin=b"\xff\xfe It rained.").returncode == 2


def test_a_job_that_fails_is_ours_exit_1_with_a_kind_sentence() -> None:
    done = pastiche("ask", "It ::fail:: rained.")
    assert done.returncode == 1
    assert "on our side" in done.stderr.decode()


def test_chat_reads_a_pipe_and_remembers_the_last_answer() -> None:
    script = "/styles\n/story in the style of agatha: The vicar coughed.\n/why\n/continue\n/again\n"
    done = pastiche("chat", stdin=script + "/nonsense\n/queue\n/help again\n")
    said = done.stdout.decode()
    assert done.returncode == 2, done.stderr  # one of them can be mended
    for words in (
        "/story --style agatha",
        "The vicar coughed.",
        "You wrote “in the style of agatha”",
        "The vicar coughed. The vicar coughed.",
        "I do not know “/nonsense”",
        "Nothing is waiting.",
        "your last request again",
        "AI-generated",
    ):
        assert words in said


def test_a_pipe_ends_with_the_worst_of_its_requests() -> None:
    assert pastiche("chat", stdin="/foo\n/story It ::fail:: rained.\n/styles\n").returncode == 1


def test_the_version_and_the_options_of_pictures_are_known() -> None:
    assert re.match(rb"pastiche \d", pastiche("--version").stdout)
    assert b"--negative" in pastiche("ask", "-h").stdout


def test_the_first_process_owns_the_folder_and_a_second_attaches(home, settings) -> None:
    owner = start("chat")
    try:
        wait_for(settings.socket)
        second = pastiche("ask", "--json", "It rained.")
        assert second.returncode == 0, second.stderr
        lines = (home / "owner.lock").read_text().splitlines()
        assert lines == [str(owner.pid), str(settings.socket)]
    finally:
        stop(owner)


def test_an_attached_asker_takes_over_when_the_owner_dies(settings) -> None:
    owner = start("chat")
    wait_for(settings.socket)
    asker = start("ask", "--json", "It ::slow:: rained.")
    try:
        assert asker.stdout is not None
        assert b"queued" in asker.stdout.readline()
        owner.kill()
        said, errors = asker.communicate(timeout=60)
        assert asker.returncode == 0, errors
        assert events(said)[-1]["text"] == "It ::slow:: rained."
    finally:
        stop(owner)
        stop(asker)


def test_an_interrupt_cancels_the_answer_quickly_and_keeps_what_was_said(home) -> None:
    asker = start("ask", "--json", "It ::slow::" + " and rained" * 60)  # two minutes of it
    assert asker.stdout is not None
    while b'"started"' not in asker.stdout.readline():
        pass
    asker.send_signal(signal.SIGINT)
    said, _ = asker.communicate(timeout=60)
    assert events(said)[-1]["kind"] == "cancelled"
    with sqlite3.connect(home / "ledger.sqlite3") as connection:
        assert connection.execute("select state from jobs").fetchone() == ("cancelled",)


def test_unfinished_work_is_replayed_by_the_next_start(home, settings) -> None:
    killed = start("ask", "--json", "It ::slow:: rained.")
    assert killed.stdout is not None
    assert b"queued" in killed.stdout.readline()
    stop(killed)
    next_owner = start("chat")
    try:
        until = time.monotonic() + 60
        state = None
        while state != ("finished",) and time.monotonic() < until:
            time.sleep(0.1)
            with sqlite3.connect(home / "ledger.sqlite3") as connection:
                state = connection.execute("select state from jobs").fetchone()
        assert state == ("finished",)
    finally:
        stop(next_owner)


def test_a_read_only_home_is_told_and_nothing_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "not-a-folder"
    file.write_text("")
    done = pastiche("ask", "x", PASTICHE_HOME=str(file / "home"))
    assert done.returncode == 1
    assert "PASTICHE_HOME" in done.stderr.decode()


def test_a_closed_pipe_is_no_error() -> None:
    shell = f'{os.sys.executable} -m bot ask --json "It rained and rained and rained." | head -1'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, timeout=60, check=False)
    assert b"queued" in done.stdout
    assert b"Traceback" not in done.stderr


def test_doctor_finds_nothing_wrong_and_makes_a_round_trip() -> None:
    done = pastiche("doctor", DISCORD_TOKEN="", TELEGRAM_TOKEN="123456789:" + "A" * 35)
    said = done.stdout.decode()
    assert "worker answered" in said and "DISCORD_TOKEN is not set" in said
    assert "TELEGRAM_TOKEN is set" in said
    assert "AAAA" not in said + done.stderr.decode()


def test_every_job_has_its_lines_in_the_log(home) -> None:
    assert pastiche("ask", "It rained.").returncode == 0
    lines = [json.loads(x) for x in (home / "logs" / "pastiche.jsonl").read_text().splitlines()]
    told = [line["message"] for line in lines if "job" in line]
    assert told == ["a job was accepted", "a job ended"]
    assert not [line for line in lines if line["logger"].startswith("alembic")]


def test_doctor_leaves_no_request_behind() -> None:
    assert pastiche("doctor").returncode == 0
    home = Path(os.environ["PASTICHE_HOME"])
    with contextlib.closing(sqlite3.connect(home / "ledger.sqlite3")) as ledger:
        assert ledger.execute("select count(*) from jobs").fetchone() == (0,)
    assert not list((home / "media").rglob("*.png*"))


@pytest.mark.asyncio
async def test_doctor_that_waits_no_longer_takes_its_request_back(settings, registry) -> None:
    async with open_engine(settings, workers=False) as core:  # nobody answers
        for pause in (0, 0, 0, 0, 0.02):  # also while it is being accepted
            asking = asyncio.create_task(_ask(settings, registry.experts[0]))
            while not (await core.status()).waiting:
                await asyncio.sleep(pause)
            await gone(core, asking)
        for moment in range(20):  # and before
            asking = asyncio.create_task(_ask(settings, registry.experts[0]))
            await asyncio.sleep(moment / 500)
            await gone(core, asking)


async def gone(core, asking: asyncio.Task[Event]) -> None:
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not (await core.status()).waiting
    assert await core.ledger.scalars(sa.select(RequestRow.id)) == []


def test_a_variable_that_is_nearly_a_setting_is_refused() -> None:
    done = pastiche("experts", PASTICHE_THEADS="3")
    assert b"Did you mean PASTICHE_THREADS?" in done.stderr


def test_experts_are_listed_with_what_is_present() -> None:
    done = pastiche("experts", COLUMNS="200")
    assert done.returncode == 0
    for words in ("lovecraft", "agatha", "/story", "smollm2-135m-instruct (missing)"):
        assert words in done.stdout.decode()


def test_a_no_is_no_fault_of_ours(home) -> None:
    (home / "experts" / "mine").mkdir(parents=True)
    done = pastiche("experts", "remove", "mine", stdin="n\n")
    assert (done.returncode, (home / "experts" / "mine").exists()) == (1, True)
    assert b"Aborted" in done.stderr and b"wrong" not in done.stderr


def test_db_upgrade_and_current_agree() -> None:
    assert b"none yet" in pastiche("db", "current").stdout
    assert pastiche("db", "upgrade").returncode == 0
    told = pastiche("db", "current").stdout.decode()
    schema, newest = re.findall(r"\d{4}(?=,|$)", told, re.M)[-2:]
    assert schema == newest


@pytest.mark.parametrize(
    "words", [[], ["chat"], ["ask"], ["experts", "add"], ["db", "upgrade"], ["doctor"]]
)
def test_help_is_everywhere(words) -> None:
    done = pastiche(*words, "--help")
    assert done.returncode == 0
    assert b"Usage" in done.stdout


def test_files_in_the_data_folder_are_for_their_owner_alone(home) -> None:
    pastiche("ask", "It rained.")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "ledger.sqlite3").stat().st_mode) == 0o600


def test_prompts_and_tokens_never_reach_a_log(home) -> None:
    token = "987654321:" + "Qq7" * 12
    pastiche("ask", "The canary Zyzzyva sang.", TELEGRAM_TOKEN=token, PASTICHE_LOG_LEVEL="DEBUG")
    pastiche("ask", "Zyzzyva ::fail::", TELEGRAM_TOKEN=token, PASTICHE_LOG_LEVEL="DEBUG")
    logs = b"".join(p.read_bytes() for p in (home / "logs").iterdir())
    assert logs
    assert b"Zyzzyva" not in logs
    assert token.encode() not in logs
