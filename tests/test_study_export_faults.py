"""An export that is refused, interrupted, or made while others write."""

import asyncio
import contextlib
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from study_exports import command, everything, export, interactions, lines
from study_rows import STUDY, Rows, fill_study, opened

from engine.errors import CommandError, SetupError
from engine.files import restore, whole_folder
from engine.ledger.transactions import Database
from engine.settings import Settings
from engine.study import tables
from engine.study.export.dataset import read_study
from engine.study.export.table_files import disk_errors


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    made = await opened(settings)
    yield made
    await made.close()


@pytest.fixture
async def filled(settings: Settings, database: Database) -> Database:
    """Twelve people with everything that there can be."""
    await fill_study(database, settings, 12)
    return database


# Refusals and faults


async def test_a_folder_is_replaced_only_when_it_is_an_export_and_on_demand(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(CommandError, match="something else in it"):
        await export(settings, tmp_path / "mine", replace=True)
    await export(settings, tmp_path / "out")
    with pytest.raises(CommandError, match="--replace"):
        await export(settings, tmp_path / "out")
    await interactions(database, "later")
    await export(settings, tmp_path / "out", replace=True)
    assert len(lines(tmp_path / "out/interactions.jsonl")) == 1
    with pytest.raises(CommandError, match="data folder"):
        await export(settings, settings.home / "out")
    assert {path.name for path in tmp_path.iterdir()} >= {"mine", "out"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("command_line", ["export --out out", "report --out out.html"])
def test_a_plain_installation_says_what_is_missing(command_line: str, tmp_path: Path) -> None:
    words = command(tmp_path)[:3]
    words[2] = "import sys; sys.modules |= {'pyarrow': None, 'matplotlib': None}; " + words[2]
    words += [*command_line.split(), "--study", STUDY]
    told = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert told.returncode == 1
    assert "-e '.[study]'" in told.stderr


async def test_every_export_is_on_record_and_private(
    settings: Settings, filled: Database, tmp_path: Path
) -> None:
    done = await export(settings, tmp_path / "out")
    async with filled.reading() as connection:
        row = (await connection.execute(sa.select(tables.ExportRow.__table__))).one()
    assert (row.study, row.manifest_sha256) == (STUDY, done.manifest_sha256)
    assert row.rows == sum(done.rows.values())
    assert done.manifest_sha256 in (tmp_path / "out/SHA256SUMS").read_text(encoding="utf-8")
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "out").rglob("*")}
    assert modes == {0o600, 0o700}


async def test_a_full_disk_leaves_nothing_and_is_told(
    settings: Settings, filled: Database, tmp_path: Path
) -> None:
    limit = "import resource,signal;signal.signal(signal.SIGXFSZ,signal.SIG_IGN);"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE,(60_000,60_000));"
    words = command(tmp_path / "there/out")
    words[2] = limit + words[2]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert "cannot be written (File too large); nothing was left there" in done.stderr
    assert list((tmp_path / "there").iterdir()) == []


def _written(home: Path) -> int:
    """How many files of an unfinished export there are."""
    with contextlib.suppress(FileNotFoundError):  # it is finished meanwhile
        return sum(1 for part in home.glob(".out.*.part") for _ in part.iterdir())
    return 0


async def test_an_interrupted_export_is_never_half_there(
    settings: Settings, filled: Database, tmp_path: Path
) -> None:
    home = tmp_path / "exports"
    home.mkdir()
    await export(settings, home / "out")
    before = everything(home / "out")
    for files in (2, 30):
        words = command(home / "out", "--replace")
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as running:
            while running.poll() is None:
                if _written(home) >= files:
                    running.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.005)
        restore(home / "out", private=True)  # as the next export begins
        assert everything(home / "out") == before  # the old one or the new: they are the same
    await export(settings, home / "out", replace=True)
    assert [path.name for path in home.iterdir()] == ["out"]


async def test_an_export_that_was_made_meanwhile_is_left_alone(tmp_path: Path) -> None:
    with (
        pytest.raises(SetupError, match="File exists"),
        disk_errors(tmp_path / "out"),
        whole_folder(tmp_path / "out", private=True, replace=False) as mine,
    ):
        (mine / "file").write_text("mine", encoding="utf-8")
        with whole_folder(tmp_path / "other", private=True, replace=False) as theirs:
            (theirs / "file").write_text("theirs", encoding="utf-8")
        (tmp_path / "other").rename(tmp_path / "out")
    assert (tmp_path / "out/file").read_text(encoding="utf-8") == "theirs"
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["out"]


async def test_what_a_kill_between_the_renames_left_aside_is_put_back(
    settings: Settings, filled: Database, tmp_path: Path
) -> None:
    await export(settings, tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.old")
    with pytest.raises(CommandError, match="--replace"):
        await export(settings, tmp_path / "out")
    assert (tmp_path / "out/manifest.json").exists()


@pytest.mark.databases("sqlite", "postgres")
async def test_what_is_written_meanwhile_is_wholly_in_or_wholly_out(
    settings: Settings, database: Database
) -> None:
    async with database.writing() as connection:
        person = Rows(connection).person(0)
        consent = await Rows(connection).consent(person)
    writing = True

    async def write() -> None:
        number = 0
        while writing:
            number += 1
            async with database.writing() as connection:
                rows = Rows(connection, seed=number)
                rows.now += number * 1000
                one = await rows.interaction(person, consent)
                await rows.rating(person, one, 1)
                await rows.event(person, one, "press")

    writer = asyncio.create_task(write())
    counts = []
    for _ in range(15):
        found = (await read_study(database, STUDY)).tables
        counts.append(len(found["interactions"]))
        assert {row["id"] for row in found["interactions"]} == {
            row["interaction_id"] for row in found["ratings"]
        }
        assert len(found["events"]) == len(found["ratings"]) == counts[-1]
        await asyncio.sleep(0.005)
    writing = False
    await writer
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]
