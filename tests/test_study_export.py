"""An export is whole, the same every time, and holds nobody who left."""

import asyncio
import contextlib
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from study_rows import STUDY, Rows, fill_study, opened, write_study_file

from engine.book import Book
from engine.errors import CommandError, SetupError
from engine.settings import Settings
from engine.study import experiment_tables, tables
from engine.study.anonymity import DEFAULT, gate
from engine.study.codebook import SOURCES, columns
from engine.study.column_words import ABOUT, COMMANDS, LEFT_OUT, TABLE_WORDS
from engine.study.export import Exported, Options, export_study, review_study
from engine.study.manifest import difference, sums
from engine.study.reading import live_people, read_study
from engine.study.reviewing import review_list
from engine.study.writing import plain_cell, restore, safe_cell, whole_folder
from engine.tables import Table

CANARY = "Zebedee Quux"
NOT_EXPORTED = {"studies", "study_places", "invitations", "link_codes", "study_links"}
ABOUT_RUNS = {"retention_runs", "study_exports"}


@pytest.fixture
async def book(settings: Settings) -> AsyncIterator[Book]:
    made = await opened(settings)
    yield made
    await made.close()


@pytest.fixture
async def filled(settings: Settings, book: Book) -> Book:
    """Twelve people with everything that there can be."""
    await fill_study(book, settings, 12)
    return book


async def export(settings: Settings, out: Path, **changes: Any) -> Exported:
    options = Options(study=STUDY, out=out)
    return await export_study(replace(options, **changes), settings)


def everything(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def interactions(book: Book, *texts: str, **changes: Any) -> list[str]:
    """One person who wrote these."""
    async with book.writing() as connection:
        rows = Rows(connection, seed=len(texts))
        consent = await rows.consent(rows.person(0), **changes)
        return [await rows.interaction(rows.person(0), consent, text=text) for text in texts]


# Forms


async def test_the_three_forms_hold_the_same_rows_in_the_same_order(
    settings: Settings, filled: Book, tmp_path: Path
) -> None:
    await export(settings, tmp_path / "out")
    for name in SOURCES:
        parquet = pandas.read_parquet(tmp_path / f"out/{name}.parquet")
        rows = lines(tmp_path / f"out/{name}.jsonl")
        with (tmp_path / f"out/{name}.csv").open(encoding="utf-8", newline="") as file:
            cells = list(csv.DictReader(file))
        assert len(parquet) == len(rows) == len(cells)
        for column in columns(name):
            ours = [row[column.name] for row in rows]
            theirs = [None if pandas.isna(value) else value for value in parquet[column.name]]
            if column.kind == "time":
                theirs = [
                    None if v is None else f"{v:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z" for v in theirs
                ]
            assert ours == theirs, column
            assert [_cell(value) for value in ours] == [cell[column.name] for cell in cells]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else safe_cell(value) if isinstance(value, str) else str(value)


async def test_datasets_and_pandas_load_it_in_one_line_each(
    settings: Settings, filled: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    done = await export(settings, tmp_path / "out")
    from datasets import load_dataset

    cache = str(tmp_path / "cache")
    dataset = load_dataset(str(tmp_path / "out"), "interactions", cache_dir=cache)["train"]
    votes = load_dataset(str(tmp_path / "out"), "votes", cache_dir=cache)["train"]
    frame = pandas.read_csv(tmp_path / "out/interactions.csv")
    assert len(dataset) == len(frame) == done.rows["interactions"] == 108
    assert len(votes) == done.rows["votes"]
    assert dataset["pseudonym"][:] == list(frame["pseudonym"])


async def test_no_rows_make_a_valid_export_that_says_so(
    settings: Settings, book: Book, tmp_path: Path
) -> None:
    await export(settings, tmp_path / "out", form="public")
    assert "This export is empty" in (tmp_path / "out/README.md").read_text(encoding="utf-8")
    frame = pandas.read_parquet(tmp_path / "out/interactions.parquet")
    assert list(frame.columns) == [column.name for column in columns("interactions")]
    assert len(frame) == 0


async def test_the_same_ledger_makes_the_same_bytes_in_any_surroundings(
    settings: Settings, filled: Book, tmp_path: Path
) -> None:
    for form in ("private", "public"):
        for name in ("one", "two"):
            await export(settings, tmp_path / f"{form}-{name}", form=form)
        one = everything(tmp_path / f"{form}-one")
        assert one == everything(tmp_path / f"{form}-two")
        assert sums(tmp_path / f"{form}-one") == one["SHA256SUMS"].decode()
    command = _command(settings, tmp_path / "three", "--form", "public")
    strange = {"PYTHONHASHSEED": "7", "TZ": "Asia/Kathmandu", "LC_ALL": "C"}
    subprocess.run(command, env={**os.environ, **strange}, check=True, capture_output=True)
    assert everything(tmp_path / "three") == one


def _command(settings: Settings, out: Path, *more: str) -> list[str]:
    words = ["export", "--study", STUDY, "--out", str(out), *more]
    return [sys.executable, "-c", "from bot.study_export_cli import export_app as a; a()", *words]


async def test_every_column_of_the_study_is_described_or_left_out_with_a_reason() -> None:
    ours = {table.__tablename__ for table in SOURCES.values()}
    for mapper in Table.registry.mappers:
        table = mapper.local_table
        if "study" in table.columns or table.name in ABOUT_RUNS:
            assert table.name in ours | NOT_EXPORTED | ABOUT_RUNS, table.name
    for name, source in SOURCES.items():
        described = set(ABOUT[name]) | {column for table, column in LEFT_OUT if table == name}
        assert {column.name for column in source.__table__.columns} == described
    assert set(TABLE_WORDS) == set(COMMANDS) == set(SOURCES)


async def test_the_codebook_tells_every_column_that_goes_out(
    settings: Settings, filled: Book, tmp_path: Path
) -> None:
    await export(settings, tmp_path / "out")
    book = json.loads((tmp_path / "out/codebook.json").read_text(encoding="utf-8"))
    for name in SOURCES:
        head = (tmp_path / f"out/{name}.csv").read_text(encoding="utf-8").splitlines()[0]
        assert [column["name"] for column in book[name]["columns"]] == head.split(",")
        assert all(column["about"] and column["type"] for column in book[name]["columns"])
    assert book["interactions"]["columns"][5]["levels"] == {"discord": 54, "telegram": 54}


# Consent


async def test_whoever_withdrew_is_in_no_file_and_diff_says_who(
    settings: Settings, filled: Book, tmp_path: Path
) -> None:
    await export(settings, tmp_path / "before")
    async with filled.writing() as connection:
        rows = Rows(connection, seed=9)
        gone = rows.person(4)
        await rows.consent(gone, action="withdrawn", use=False, excerpts=False, linkage=False)
    await export(settings, tmp_path / "after")
    assert not [n for n, data in everything(tmp_path / "after").items() if gone.encode() in data]
    found = difference(tmp_path / "before", tmp_path / "after")
    assert found.gone_people == (gone,)
    assert found.gone["interactions"] == 9
    assert found.of_people == {gone: {"gone": sum(found.gone.values())}}
    folders = (str(tmp_path / name) for name in ("before", "after"))
    command = [*_command(settings, tmp_path)[:3], "diff", *folders]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.returncode == 3
    assert f"{gone} (gone from the study)" in told.stdout


async def test_the_public_form_has_words_only_of_those_who_let_them_be_published(
    settings: Settings, book: Book, tmp_path: Path
) -> None:
    async with book.writing() as connection:
        rows = Rows(connection)
        for number in range(6):
            consent = await rows.consent(rows.person(number), excerpts=number > 0)
            words = {"text": f"{CANARY} {number}", "output": f"{CANARY} {number}"}
            one = await rows.interaction(rows.person(number), consent, **words)
            await rows.rating(rows.person(number), one, -1, reason=f"{CANARY} {number}")
    await export(settings, tmp_path / "public", form="public")
    await export(settings, tmp_path / "private")
    public = everything(tmp_path / "public")
    assert not [name for name, data in public.items() if f"{CANARY} 0".encode() in data]
    assert f"{CANARY} 1".encode() in public["interactions.jsonl"]
    assert f"{CANARY} 0".encode() in everything(tmp_path / "private")["ratings.csv"]
    rows = lines(tmp_path / "public/interactions.jsonl")
    assert [row["text"] is None for row in rows].count(True) == 1
    assert all(row["place"] is None and row["expert"] for row in rows)


async def test_linked_accounts_go_out_as_one_while_every_side_wants_it(
    settings: Settings, book: Book
) -> None:
    async with book.writing() as connection:
        rows = Rows(connection)
        names = [rows.person(number) for number in range(3)]
        for name, linkage in zip(names, (True, True, False), strict=True):
            await rows.interaction(name, await rows.consent(name, linkage=linkage))
        for name in names[1:]:
            await rows.add(tables.StudyLinkRow, pseudonym=name, root=names[0], at=rows.now)
    reading = await read_study(book, STUDY)
    found = [row["pseudonym"] for row in reading.tables["interactions"]]
    assert found == [names[0], names[0], names[2]]
    assert (reading.flow.people, reading.flow.linked) == (2, 1)
    async with book.writing() as connection:
        await Rows(connection, seed=5).consent(names[0], action="withdrawn", use=False)
    reading = await read_study(book, STUDY)
    assert [row["pseudonym"] for row in reading.tables["interactions"]] == names[1:]


async def test_a_row_whose_consent_was_none_stays_in(settings: Settings, book: Book) -> None:
    async with book.writing() as connection:
        rows = Rows(connection)
        declined = await rows.consent(rows.person(0), use=False)
        await rows.interaction(rows.person(0), declined)
        granted = await rows.consent(rows.person(0))
        others = await rows.consent(rows.person(1))
        await rows.interaction(rows.person(0), others)
        kept = await rows.interaction(rows.person(0), granted)
    reading = await read_study(book, STUDY)
    assert [row["id"] for row in reading.tables["interactions"]] == [kept]
    assert reading.flow.left_out == {"no consent then": 2}


words = st.fixed_dictionaries(
    {
        "pseudonym": st.sampled_from("abc"),
        "action": st.sampled_from(["granted", "withdrawn"]),
        **{name: st.booleans() for name in ("use", "adult", "excerpts", "linkage")},
    }
)
links = st.dictionaries(st.sampled_from("abc"), st.sampled_from("abc"), max_size=3)


@given(st.lists(words, max_size=12), links)
def test_only_the_last_word_counts_and_no_name_is_of_somebody_who_left(
    said: list[dict[str, Any]], linked: dict[str, str]
) -> None:
    people = live_people(said, [{"pseudonym": p, "root": r} for p, r in linked.items()])
    for name in "abc":
        last = next((row for row in reversed(said) if row["pseudonym"] == name), None)
        agrees = last is not None and last["action"] == "granted" and last["use"] and last["adult"]
        assert (name in people) == agrees
    for pseudonym, person in people.items():
        assert person.name in people
        if person.name != pseudonym:
            assert person.linkage
            assert people[person.name].linkage


# Words


async def test_formulas_are_harmless_in_csv_and_whole_everywhere_else(
    settings: Settings, book: Book, tmp_path: Path
) -> None:
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'tis", "＝1+1", 'a\r\nb,"c"', "nul\0"]
    await interactions(book, *texts)
    await export(settings, tmp_path / "out")
    expected = [text.replace("\0", "�").replace("@SUM", "[handle]") for text in texts]
    with (tmp_path / "out/interactions.csv").open(encoding="utf-8", newline="") as file:
        cells = [row["text"] for row in csv.DictReader(file)]
    assert not [cell for cell in cells if re.match(r"[=+\-@\t\r＝]", cell)]
    assert [plain_cell(cell) for cell in cells] == expected
    assert list(pandas.read_parquet(tmp_path / "out/interactions.parquet")["text"]) == expected


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_a_csv_cell_can_always_be_had_back(text: str) -> None:
    assert plain_cell(safe_cell(text)) == text
    assert not safe_cell(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


async def test_handles_go_out_of_every_column_that_people_write(
    settings: Settings, book: Book, tmp_path: Path
) -> None:
    async with book.writing() as connection:
        rows = Rows(connection)
        consent = await rows.consent(rows.person(0))
        free = [c.name for c in columns("interactions") if c.free and c.kind != "json"]
        values = dict.fromkeys(free, "write to jane.doe@example.org")
        route = json.dumps({"evidence": [{"words": "for jane.doe@example.org"}]})
        one = await rows.interaction(rows.person(0), consent, route=route, **values)
        await rows.rating(rows.person(0), one, -1, reason="jane.doe@example.org")
    done = await export(settings, tmp_path / "out")
    assert done.taken == {"email": len(free) + 2}
    assert not [n for n, data in everything(tmp_path / "out").items() if b"jane.doe" in data]


async def test_the_decisions_of_a_reader_are_followed(
    settings: Settings, book: Book, tmp_path: Path
) -> None:
    text = "I met Anna Rossi, who wrote to info@museum.org"
    await interactions(book, text, "And then Anna Rossi left")
    findings = await review_study(settings, STUDY, presidio=False)
    listed = list(csv.DictReader(io.StringIO(review_list(findings))))
    assert [(row["what"], row["default"]) for row in listed] == [
        ("Anna Rossi", "keep"),
        ("info@museum.org", "remove"),
        ("Anna Rossi", "keep"),
    ]
    for row, decision in zip(listed, ("remove all", "KEEP", ""), strict=True):
        row["decision"] = decision
    path = tmp_path / "review.csv"
    pandas.DataFrame(listed).to_csv(path, index=False)
    await export(settings, tmp_path / "out", review=path)
    texts = [row["text"] for row in lines(tmp_path / "out/interactions.jsonl")]
    assert texts == ["I met [name], who wrote to info@museum.org", "And then [name] left"]
    path.write_text(path.read_text(encoding="utf-8").replace("KEEP", "perhaps"), encoding="utf-8")
    with pytest.raises(SetupError, match=r"line 3: the decision 'perhaps'"):
        await export(settings, tmp_path / "other", review=path)


async def test_an_enormous_prompt_goes_out_whole(
    settings: Settings, book: Book, tmp_path: Path
) -> None:
    await interactions(book, "rain, " * 500_000)
    await export(settings, tmp_path / "out")
    assert len(pandas.read_parquet(tmp_path / "out/interactions.parquet")["text"][0]) == 3_000_000


# Groups and times

people = st.lists(
    st.fixed_dictionaries(
        {
            "pseudonym": st.sampled_from("abcdefgh"),
            "platform": st.sampled_from(["discord", "telegram"]),
            "locale": st.sampled_from(["en", "it", "en-GB", None]),
            "place_kind": st.sampled_from(["private", "group", "server", None]),
            "hour": st.sampled_from(["00", "01", "13", "23"]),
        }
    ),
    max_size=40,
)


@given(people, st.integers(1, 4))
def test_every_group_that_stays_has_k_people(rows: list[dict[str, Any]], k: int) -> None:
    if rows and len({row["pseudonym"] for row in rows}) < k:
        with pytest.raises(SetupError, match="no group can have"):
            gate(rows, DEFAULT, k)
        return
    done = gate(rows, DEFAULT, k)
    groups: dict[Any, set[str]] = {}
    for row in done.rows:
        groups.setdefault(tuple(row[name] for name in DEFAULT), set()).add(row["pseudonym"])
    assert all(len(members) >= k for members in groups.values())
    assert [row["pseudonym"] for row in done.rows] == [row["pseudonym"] for row in rows]
    if k == 1:
        assert done.rows == rows


async def test_the_public_form_tells_no_time_closer_than_its_group(
    settings: Settings, filled: Book, tmp_path: Path
) -> None:
    await export(settings, tmp_path / "out", form="public", k=3)
    for name in SOURCES:
        times = [column.name for column in columns(name) if column.kind == "time"]
        fine = r"T00:00:00\.000Z|T\d\d:00:00\.000Z" if name == "interactions" else "T00:00:00.000Z"
        for row in lines(tmp_path / f"out/{name}.jsonl"):
            assert all(row[c] is None or re.search(f"({fine})$", row[c]) for c in times)
    data = b"".join(everything(tmp_path / "out").values())
    assert not re.search(rb"\b17\d{8}\.(?!0\b)\d", data)  # nor seconds since 1970
    assert not re.search(rb"\b01[0-9A-HJKMNP-TV-Z]{24}\b", data)  # a ULID tells the time


async def test_one_experiment_goes_out_alone(
    settings: Settings, filled: Book, tmp_path: Path
) -> None:
    async with filled.writing() as connection:
        rows = Rows(connection, seed=3)
        name = rows.person(1)
        await rows.add(
            experiment_tables.ExperimentRow,
            id="warm",
            version_sha256="c" * 64,
            file="id = 'warm'\nhypothesis = 'Warm stories are liked.'",
            state="open",
            enrolled=1,
            frozen_at=rows.now,
        )
        consent = await rows.consent(name)
        await rows.interaction(name, consent, experiment="warm", arm="hot")
    done = await export(settings, tmp_path / "out", experiment="warm")
    assert {name: count for name, count in done.rows.items() if count} == {
        "interactions": 1,
        "consents": 2,
        "experiments": 1,
    }
    assert "Warm stories are liked." in (tmp_path / "out/README.md").read_text(encoding="utf-8")
    with pytest.raises(CommandError, match=r"no experiment 'cold'.*There are: warm"):
        await export(settings, tmp_path / "other", experiment="cold")


# Refusals and faults


async def test_a_folder_is_replaced_only_when_it_is_an_export_and_on_demand(
    settings: Settings, book: Book, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(CommandError, match="something else in it"):
        await export(settings, tmp_path / "mine", replace=True)
    await export(settings, tmp_path / "out")
    with pytest.raises(CommandError, match="--replace"):
        await export(settings, tmp_path / "out")
    await interactions(book, "later")
    await export(settings, tmp_path / "out", replace=True)
    assert len(lines(tmp_path / "out/interactions.jsonl")) == 1
    with pytest.raises(CommandError, match="data folder"):
        await export(settings, settings.home / "out")
    assert {path.name for path in tmp_path.iterdir()} >= {"mine", "out"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


async def test_training_needs_a_permission_and_tells_which(
    settings: Settings, book: Book, tmp_path: Path
) -> None:
    with pytest.raises(CommandError, match="training_permission"):
        await export(settings, tmp_path / "out", purpose="training")
    assert not (tmp_path / "out").exists()
    write_study_file(settings, 'training_permission = "Letter 12 of 3 May 2026"\n')
    await export(settings, tmp_path / "out", purpose="training")
    assert "Letter 12 of 3 May 2026" in (tmp_path / "out/README.md").read_text(encoding="utf-8")


async def test_every_export_is_on_record_and_private(
    settings: Settings, filled: Book, tmp_path: Path
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
    settings: Settings, filled: Book, tmp_path: Path
) -> None:
    limit = "import resource,signal;signal.signal(signal.SIGXFSZ,signal.SIG_IGN);"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE,(60_000,60_000));"
    command = _command(settings, tmp_path / "there/out")
    command[2] = limit + command[2]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "cannot be written (File too large); nothing was left there" in done.stderr
    assert list((tmp_path / "there").iterdir()) == []


def _written(home: Path) -> int:
    """How many files of an unfinished export there are."""
    with contextlib.suppress(FileNotFoundError):  # it is finished meanwhile
        return sum(1 for part in home.glob(".out.*.part") for _ in part.iterdir())
    return 0


async def test_an_interrupted_export_is_never_half_there(
    settings: Settings, filled: Book, tmp_path: Path
) -> None:
    home = tmp_path / "exports"
    home.mkdir()
    await export(settings, home / "out")
    before = everything(home / "out")
    for files in (2, 30):
        command = _command(settings, home / "out", "--replace")
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as running:
            while running.poll() is None:
                if _written(home) >= files:
                    running.send_signal(signal.SIGKILL)
                    break
                time.sleep(0.005)
        restore(home / "out")  # as the next export begins
        assert everything(home / "out") == before  # the old one or the new: they are the same
    await export(settings, home / "out", replace=True)
    assert [path.name for path in home.iterdir()] == ["out"]


async def test_an_export_that_was_made_meanwhile_is_left_alone(tmp_path: Path) -> None:
    with (
        pytest.raises(SetupError, match="File exists"),
        whole_folder(tmp_path / "out", replace=False) as mine,
    ):
        (mine / "file").write_text("mine", encoding="utf-8")
        with whole_folder(tmp_path / "other", replace=False) as theirs:
            (theirs / "file").write_text("theirs", encoding="utf-8")
        (tmp_path / "other").rename(tmp_path / "out")
    assert (tmp_path / "out/file").read_text(encoding="utf-8") == "theirs"
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["out"]


async def test_what_a_kill_between_the_renames_left_aside_is_put_back(
    settings: Settings, filled: Book, tmp_path: Path
) -> None:
    await export(settings, tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.old")
    with pytest.raises(CommandError, match="--replace"):
        await export(settings, tmp_path / "out")
    assert (tmp_path / "out/manifest.json").exists()


@pytest.mark.databases("sqlite", "postgres")
async def test_what_is_written_meanwhile_is_wholly_in_or_wholly_out(
    settings: Settings, book: Book
) -> None:
    async with book.writing() as connection:
        person = Rows(connection).person(0)
        consent = await Rows(connection).consent(person)
    writing = True

    async def write() -> None:
        number = 0
        while writing:
            number += 1
            async with book.writing() as connection:
                rows = Rows(connection, seed=number)
                rows.now += number * 1000
                one = await rows.interaction(person, consent)
                await rows.rating(person, one, 1)
                await rows.event(person, one, "press")

    writer = asyncio.create_task(write())
    counts = []
    for _ in range(15):
        found = (await read_study(book, STUDY)).tables
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


@pytest.mark.databases("postgres")
async def test_a_server_gives_the_same_rows(
    settings: Settings, filled: Book, tmp_path: Path
) -> None:
    done = await export(settings, tmp_path / "out", form="public", k=3)
    assert done.rows["interactions"] == 108
    assert done.anonymity["smallest_group_after"] >= 3


def test_the_example_in_the_docs_is_whole() -> None:
    example = Path(__file__).parents[1] / "docs/study/example-export"
    assert sums(example) == (example / "SHA256SUMS").read_text(encoding="utf-8")
    rows = json.loads((example / "manifest.json").read_text(encoding="utf-8"))["rows"]
    assert {n: len(pandas.read_parquet(example / f"{n}.parquet")) for n in rows} == rows
