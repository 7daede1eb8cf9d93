"""`pastiche study`: what an operator does by hand, and what it says when it cannot be done."""

import time
from pathlib import Path

import pytest
from experimenting import agree, experiment_text, folder_of, spot, with_study
from program import pastiche
from studied import make_study

from bot.cli.doctor import _study
from engine.chat.retention import ALARM_SECONDS, BACKUP_SECONDS
from engine.errors import SetupError
from engine.ledger.storage import make_ready
from engine.process.services import open_services
from engine.settings import Settings
from engine.study.experiments.eligibility import Candidate
from engine.study.lifecycle import open_named, write_template
from engine.study.study import Study

FACTS = ("--title", 'The "first" \\ pilot', "--researcher", "A. Researcher", "--contact", "a@b.org")
FACTS = (*FACTS, "--purpose", "It asks how people write with a machine.")


def study(*words: str, code: int = 0, **settings: str) -> str:
    """What the command writes; its exit code must be that."""
    done = pastiche("study", *words, timeout=120, **settings)
    assert done.returncode == code, done.stderr
    return (done.stdout + done.stderr).decode()


async def opened(settings: Settings) -> Study:
    """The study "pilot", opened without the command line."""
    make_study(settings.home)
    make_ready(settings)
    return await open_named(settings, "pilot")


def test_a_study_is_opened_tried_and_ended_from_the_command_line(tmp_path: Path) -> None:
    assert '--title "..."' in study("open", "pilot", code=1)
    told = study("open", "pilot", *FACTS)
    assert "PASTICHE_STUDY=pilot" in told
    fields = "duration, risks, compensation, approval, controller, complaint"
    assert f"so people are not told: {fields}.\n" in told
    [key] = (tmp_path / "config").rglob("*study-pilot.key")
    assert key.stat().st_mode & 0o077 == 0
    assert "blanked: 0 would go" in study("retention", "--dry-run")
    assert "add --yes" in study("destroy-key", "pilot", code=2)
    assert key.exists()
    assert "is destroyed" in study("destroy-key", "pilot", "--yes")
    assert not key.exists()


def test_a_study_that_says_too_little_leaves_no_file(settings: Settings) -> None:
    facts = {"title": "The pilot", "researcher": "A. Researcher", "contact": "a@b.org"}
    with pytest.raises(SetupError, match="--purpose: String should have at least 10"):
        write_template(settings, "pilot", **facts, purpose="...")
    assert write_template(settings, "pilot", **facts, purpose="How people judge.").exists()


def test_in_the_terminal_a_button_is_a_number(tmp_path: Path) -> None:
    make_study(tmp_path / "home")
    consent = "/consent\n" + 5 * "/1\n"
    typed = f"The vicar coughed.\n{consent}/story It rained.\n/mydata\n/withdraw\n/2\n"
    done = pastiche("chat", stdin=typed, timeout=120, PASTICHE_STUDY="pilot")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.decode().split())
    wanted = (
        "[1] Tell me about the study", "A study by A. Researcher", "[1] I am 18 or older",
        "[2] I am younger", "2 of 4", "3 of 4", "4 of 4", "[1] Save", "you take part from now on",
        "in the study: 1", "[2] Delete it", "are deleted (1)",
    )  # fmt: skip
    at = -1
    for words in wanted:
        at = said.index(words, at + 1)
    assert said.count("A study by A. Researcher") == 1  # the text is not said over again
    assert "It rained." in (tmp_path / "home" / "mydata.json").read_text()


@pytest.mark.asyncio
async def test_a_key_can_be_made_before_and_put_elsewhere(tmp_path: Path) -> None:
    place = tmp_path / "vault" / "pilot.key"
    settings = Settings(home=tmp_path / "home", backend="echo", study="pilot", study_key_file=place)
    make_ready(settings)
    place.parent.mkdir()
    place.write_text("ab" * 32)
    place.chmod(0o600)
    assert (await opened(settings)).key == bytes.fromhex("ab" * 32)
    assert place.read_text() == "ab" * 32


@pytest.mark.asyncio
async def test_the_doctor_tells_when_retention_has_not_run_for_long(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(home=tmp_path / "home", backend="echo", study="pilot")
    await opened(settings)
    assert [finding.mark for finding in await _study(settings)] == ["ok"]
    later = time.time() + ALARM_SECONDS + 60
    async with open_services(settings, clock=lambda: later) as services:
        assert await services.retention.silence() > ALARM_SECONDS
        await services.retention.clean(dry_run=True)  # counts for nothing
        assert "retention has not run for long" in caplog.text
        caplog.clear()
        await services.retention.clean()
        assert await services.retention.silence() == 0.0
        await services.retention.clean()
    assert "retention has not run for long" in caplog.text  # the first real one still found it so
    assert caplog.text.count("retention has not run") == 1


@pytest.mark.asyncio
async def test_the_doctor_tells_of_an_experiment_edited_after_enrolment(tmp_path: Path) -> None:
    base = Settings(home=tmp_path / "home", backend="echo")
    settings = with_study(base, experiment_text())
    await opened(settings)
    async with open_services(settings) as services:
        study = services.study_services
        assert study is not None
        await agree(services.ledger, study.study, "terminal", "1")
        person = await study.person(spot())
        assert person is not None
        assert await study.enrolled(person, spot(), Candidate(task="single", command="story"))
    assert [finding.mark for finding in await _study(settings)] == ["ok"]
    path = folder_of(settings) / "pilot.toml"
    path.write_text(path.read_text().replace("plain = true", "plain = false"))
    [_, found] = await _study(settings)
    assert found.mark == "bad"
    assert "pilot.toml was changed after the first enrolment" in found.advice
    assert "pastiche study stop pilot" in found.advice


@pytest.mark.asyncio
async def test_old_copies_go_in_their_time(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", backend="echo")
    await opened(settings)
    folder = settings.home / "backups"
    folder.mkdir(exist_ok=True)
    old, young = (
        folder / f"ledger-0001-{int(time.time() - age)}.sqlite3"
        for age in (BACKUP_SECONDS + 60, BACKUP_SECONDS - 3600)
    )
    old.touch()
    young.touch()
    async with open_services(settings) as services:
        assert (await services.retention.clean(dry_run=True))["backups"] == 1
        assert old.exists()
        assert (await services.retention.clean())["backups"] == 1
    assert [*folder.iterdir()] == [young]
