"""An export is whole, the same every time, and holds nobody who left."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyreadstat
import pytest
from experimenting import experiment_text
from hypothesis import given
from hypothesis import strategies as st
from study_exports import command, everything, export, lines
from study_love import fill_love
from study_rows import STUDY, Rows, fill_study, opened

from engine.ledger.keys import key_file
from engine.ledger.tables import Table
from engine.ledger.transactions import Database
from engine.settings import Settings
from engine.study import tables
from engine.study.experiments import tables as experiment_tables
from engine.study.export import analysis
from engine.study.export.codebook import FILES, SOURCES, Column, columns
from engine.study.export.dataset import live_people, read_study
from engine.study.export.manifest import difference, sums
from engine.study.export.release import Scrub, Shape, shape
from engine.study.export.schema import described, schema_page
from engine.study.export.table_files import safe_cell, write_spss
from engine.study.report.judgements import judgements

CANARY = "Zebedee Quux"
NOT_EXPORTED = {
    "studies", "study_places", "invitations", "link_codes", "study_links", "panel_ids",
}  # fmt: skip
ABOUT_RUNS = {"retention_runs", "study_exports"}


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


# Forms


async def test_the_three_forms_hold_the_same_rows_in_the_same_order(
    settings: Settings, filled: Database, tmp_path: Path
) -> None:
    await export(settings, tmp_path / "out")
    for name in FILES:
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
    settings: Settings, filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    done = await export(settings, tmp_path / "out")
    from datasets import load_dataset

    cache = str(tmp_path / "cache")
    dataset = load_dataset(str(tmp_path / "out"), "interactions", cache_dir=cache)["train"]
    votes = load_dataset(str(tmp_path / "out"), "trials", cache_dir=cache)["train"]
    frame = pandas.read_csv(tmp_path / "out/interactions.csv")
    assert len(dataset) == len(frame) == done.rows["interactions"] == 108
    assert len(votes) == done.rows["trials"]
    assert dataset["pseudonym"][:] == list(frame["pseudonym"])


async def test_no_rows_make_a_valid_export_that_says_so(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    await export(settings, tmp_path / "out", form="public")
    assert "This export is empty" in (tmp_path / "out/README.md").read_text(encoding="utf-8")
    frame = pandas.read_parquet(tmp_path / "out/interactions.parquet")
    assert list(frame.columns) == [column.name for column in columns("interactions")]
    assert len(frame) == 0


async def test_the_same_ledger_makes_the_same_bytes_in_any_surroundings(
    settings: Settings, filled: Database, tmp_path: Path
) -> None:
    for form in ("private", "public"):
        for name in ("one", "two"):
            await export(settings, tmp_path / f"{form}-{name}", form=form)
        one = everything(tmp_path / f"{form}-one")
        assert one == everything(tmp_path / f"{form}-two")
        assert sums(tmp_path / f"{form}-one") == one["SHA256SUMS"].decode()
    words = command(tmp_path / "three", "--form", "public")
    strange = {"PYTHONHASHSEED": "7", "TZ": "Asia/Kathmandu", "LC_ALL": "C"}
    subprocess.run(words, env={**os.environ, **strange}, check=True, capture_output=True)
    assert everything(tmp_path / "three") == one


async def test_every_column_of_the_study_is_described_or_left_out_with_a_reason() -> None:
    ours = {table.__tablename__ for table in SOURCES.values()}
    for mapper in Table.registry.mappers:
        table = mapper.local_table
        if "study" in table.columns or table.name in ABOUT_RUNS:
            assert table.name in ours | NOT_EXPORTED | ABOUT_RUNS, table.name
    for source in SOURCES.values():
        assert {"about", "source"} <= described()[source.__tablename__].keys()


def test_the_page_of_the_schema_is_that_of_the_tables_and_names_no_other_column() -> None:
    page = (Path(__file__).parents[1] / "docs/schema.md").read_text(encoding="utf-8")
    assert page == schema_page(), "pastiche db schema > docs/schema.md"
    for table in Table.metadata.tables.values():
        words = described().get(table.name, {})
        told = {*words.get("columns", {}), *words.get("left_out", {})}
        assert told <= {column.name for column in table.columns}, table.name


async def test_sealed_columns_open_in_the_three_lines_of_the_page(
    settings: Settings, filled: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASTICHE_HOME", str(settings.home))
    monkeypatch.setenv("PASTICHE_KEY_FILE", str(key_file(settings)))
    code = schema_page().partition("```python\n")[2].partition("```")[0]
    assert len(list(filter(None, code.splitlines()))) == 3
    found: dict[str, Any] = {}
    exec(code.replace('"jobs"', '"interactions"'), found)
    assert set(found["jobs"]["typed"]) == {"a story about rain"}


async def test_the_codebook_tells_every_column_that_goes_out(
    settings: Settings, filled: Database, tmp_path: Path
) -> None:
    await export(settings, tmp_path / "out")
    database = json.loads((tmp_path / "out/codebook.json").read_text(encoding="utf-8"))
    for name in FILES:
        with (tmp_path / f"out/{name}.csv").open(encoding="utf-8", newline="") as file:
            head = next(csv.reader(file))
        assert [column["name"] for column in database[name]["columns"]] == head
        assert all(column["about"] and column["type"] for column in database[name]["columns"])
    assert database["interactions"]["columns"][5]["levels"] == {"discord": 54, "telegram": 54}


# What an analyst begins with


async def test_people_who_wrote_nothing_are_counted_too(settings, database, tmp_path) -> None:
    await fill_love(database, "+-t", ".x.")
    async with database.writing() as connection:
        rows = Rows(connection, seed=5)
        await rows.consent(rows.person(77))
    assert (await export(settings, tmp_path / "out")).people == 4


async def test_trials_people_questions_and_stimuli_say_flat_what_the_ledger_nests(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    await fill_love(database, "+-t", ".x.")
    await export(settings, tmp_path / "out")
    out = {name: lines(tmp_path / f"out/{name}.jsonl") for name in FILES}
    told = ("first", "second", "choice", "preferred", "scored", "arm", "excluded", "changes")
    fast = "a vote within 2 seconds"
    assert [tuple(row[name] for name in told) for row in out["trials"]] == [
        ("alone", "lora", "b", "lora", True, "alone+lora", None, 0),
        ("alone", "lora", "a", "alone", True, "alone+lora", fast, 0),
        ("alone", "lora", "tie", None, True, "alone+lora", None, 0),
    ]
    style = ("first_characters", "first_paragraphs", "second_punctuation")
    assert {tuple(row[name] for name in style) for row in out["trials"]} == {(5, 1, 4)}
    told = ("love.before.read", "love.after.liked", "love.excluded", "judgements")
    assert {tuple(row[name] for name in told) for row in out["people"]} == {
        ("Nothing", 6, None, 1), ("Nearly all", 6, fast, 1), ("Some", 6, None, 1),
    }  # fmt: skip
    read, *_, liked = out["questions"]
    assert json.loads(read["values"]) == ["Nothing", "Some", "Nearly all"]
    assert json.loads(liked["labels"]) == {"1": "not at all", "7": "very much"}
    assert liked["id"] == "love.after.liked" and liked["text"] == "How did you like it?"
    flow = json.loads((tmp_path / "out/flow.json").read_text(encoding="utf-8"))
    assert flow["arms"][0]["allocated"] == 3 and flow["arms"][0]["to analyse"] == 2
    assert flow["shown"]["compare"]["judged"] == 3


async def test_spss_reads_choices_as_numbers_with_the_questions_own_labels(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    await fill_love(database, "+-t", ".x.")
    for name in ("out", "again"):
        await export(settings, tmp_path / name, spss=True)
    assert everything(tmp_path / "out") == everything(tmp_path / "again")
    frame, told = pyreadstat.read_sav(tmp_path / "out/people.sav")
    people, questions = (lines(tmp_path / f"out/{name}.jsonl") for name in ("people", "questions"))
    for question in questions:
        name = question["id"]
        assert told.column_names_to_labels[name] == question["text"]
        if (labels := told.variable_value_labels.get(name)) is None:
            assert question["kind"] in ("number", "multiple")
            continue
        assert set(labels.values()) == set(json.loads(question["labels"]).values())
        said = [labels.get(value, f"{value:.0f}") for value in frame[name]]
        assert said == [str(row[name]) for row in people]
    assert told.variable_value_labels["love.before.read"] == {
        1: "Nothing",
        2: "Some",
        3: "Nearly all",
    }
    assert list(frame["pseudonym"]) == [row["pseudonym"] for row in people]
    when = pandas.Timestamp(people[0]["at"].removesuffix("Z"))
    assert abs(frame["at"][0] - when).total_seconds() < 0.01
    trials, told = pyreadstat.read_sav(tmp_path / "out/trials.sav")
    assert list(trials["choice"]) == ["b", "a", "tie"] and told.variable_value_labels["scored"]


def test_names_of_columns_are_ones_that_spss_takes(tmp_path: Path) -> None:
    column = Column(name="2nd-study.after.liked-it", kind="text", about="What?")
    twice = [column, replace(column, name="2nd_study.after.liked-it")]
    write_spss(path := tmp_path / "names.sav", twice, [dict.fromkeys(c.name for c in twice)], [])
    frame, _ = pyreadstat.read_sav(path)
    assert list(frame) == ["q2nd_study.after.liked_it", "q2nd_study.after.liked_it_1"]


async def test_a_stimulus_tells_how_it_was_judged(
    settings: Settings, filled: Database, tmp_path: Path
) -> None:
    await export(settings, tmp_path / "out")
    trials = lines(tmp_path / "out/trials.jsonl")
    for row in lines(tmp_path / "out/stimuli.jsonl"):
        own = [one for one in trials if one["stimulus"] == row["id"]]
        right = sum(one["choice"] == row["kind"] for one in own)
        assert (row["shown"], row["judged"], row["correct"]) == (len(own), len(own), right)
        assert row["characters"] == len(row["text"]) and row["punctuation"] == 1


@pytest.mark.parametrize("form", ["private", "public"])
async def test_the_analysis_in_the_export_finds_what_the_report_shows_in_python_and_in_r(
    settings: Settings, filled: Database, tmp_path: Path, form: str
) -> None:
    await fill_love(filled, "+++-+t-+", "....x...")
    await export(settings, tmp_path / "out", form=form, k=1)
    done = subprocess.run(
        [sys.executable, "analysis.py"],
        cwd=tmp_path / "out",
        check=True,
        capture_output=True,
        text=True,
    )
    ours = {
        line[:52].strip(): [float(n) for n in line[52:].split()]
        for line in done.stdout.splitlines()
    }
    reading = await read_study(filled, STUDY)
    shown = {
        figure.name: figure.cells for figure in judgements(shape(reading, Shape(), Scrub()).tables)
    }
    wins = {row[0]: row for row in shown["wins"]}
    for name, mine in (
        ("preferred   love: lora over alone", wins["love: lora over alone"]),
        ("preferred   outside: agatha over base alone", wins["agatha over base alone"]),
    ):
        value, low, high, n, people = ours[name]
        assert n == mine[1] + mine[2] and people <= mine[4], "of those who decided"
        assert value == pytest.approx(mine[7], abs=5e-5)
        bounds = [float(end) for end in mine[8].split(" to ")]
        assert [low, high] == pytest.approx(bounds, abs=0.12)
    [everybody, manner] = shown["detection"]
    assert ours["d prime     outside: all"][0] == pytest.approx(everybody[3], abs=5e-5)
    assert ours["d prime     outside: first_expert agatha"][0] == pytest.approx(manner[3], abs=5e-5)
    assert {name[:11].strip() for name in ours} == {
        "preferred", "position", "strength", "style held", "d prime", "alpha",
    }  # fmt: skip
    if rscript := shutil.which("Rscript"):
        words = [rscript, "--vanilla", str(tmp_path / "out/analysis.R")]
        theirs = subprocess.run(words, check=True, capture_output=True, text=True)
        assert sorted(theirs.stdout.splitlines()) == sorted(done.stdout.splitlines())


def test_the_analysis_finds_again_what_was_put_in() -> None:
    """Odds of 2 for an arm, of 1.5 for the first, of 1.6 for a longer text; alpha by hand."""
    draw, rows = np.random.default_rng(5), []
    for number in range(4000):
        first, longer = draw.random() < 0.5, draw.normal()
        odds = 1.5 * (2 if first else 0.5) * 1.6**longer
        won = draw.random() < odds / (1 + odds)
        arms = ("lora", "base") if first else ("base", "lora")
        sides = {
            "first": arms[0],
            "second": arms[1],
            "first_characters": str(1000 * np.exp(longer)),
        }
        same = {"second_characters": "1000", "experiment": "e", "stimulus": "", "kind": "compare"}
        same |= {
            f"{side}_{n}": "" for side in ("first", "second") for n in ("paragraphs", "punctuation")
        }
        choice = {"choice": "a" if won else "b", "preferred": arms[not won]}
        rows.append({**sides, **same, **choice, "pseudonym": str(number % 400)})
    found = {f"{line[0]} {line[1]}": line[2:5] for line in analysis.lines(rows)}
    for name, odds in (("base over lora", 0.5), ("first", 1.5), ("log length", 1.6)):
        value, low, high = found[f"style held e: {name}"]
        assert low < np.log(odds) < high and value == pytest.approx(np.log(odds), abs=0.12)


def test_alpha_is_that_of_the_textbook() -> None:
    """Binary data of two observers: 1 - (n - 1) unlike / (n0 n1), with n values (Krippendorff 2011)."""
    one, other = "bbbbbbccc", "bbbccbbcc"
    rows = [
        {"stimulus": str(n), "choice": letter, "preferred": ""}
        for n, pair in enumerate(zip(one, other, strict=True))
        for letter in pair
    ]
    pairs = [sorted(pair) for pair in zip(one, other, strict=True)]
    unlike = sum(a != b for a, b in pairs) / len(pairs)
    n, of = 2 * len(pairs), [(one + other).count(letter) for letter in "bc"]
    assert analysis.alpha(rows) == pytest.approx(1 - unlike / (2 * of[0] * of[1] / (n * (n - 1))))


# Consent


async def test_whoever_withdrew_is_in_no_file_and_diff_says_who(
    settings: Settings, filled: Database, tmp_path: Path
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
    assert not found.new and set(found.changed) <= {"interactions"}
    folders = (str(tmp_path / name) for name in ("before", "after"))
    words = [*command(tmp_path)[:3], "diff", *folders]
    told = subprocess.run(words, capture_output=True, text=True)
    assert told.returncode == 3
    assert f"{gone} is gone from the study" in told.stdout


async def test_the_public_form_has_words_only_of_those_who_let_them_be_published(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    async with database.writing() as connection:
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
    settings: Settings, database: Database
) -> None:
    async with database.writing() as connection:
        rows = Rows(connection)
        names = [rows.person(number) for number in range(3)]
        for name, linkage in zip(names, (True, True, False), strict=True):
            await rows.interaction(name, await rows.consent(name, linkage=linkage))
        for name in names[1:]:
            await rows.add(tables.StudyLinkRow, pseudonym=name, root=names[0], at=rows.now)
        unit = {"unit": names[0], "unit_kind": "person", "pseudonym": names[1], "arm": "a"}
        of = {"experiment": "one", "version_sha256": "c" * 64, "position": 0, "at": rows.now}
        await rows.add(experiment_tables.Enrolment, id=rows.id(), **unit, **of)
    reading = await read_study(database, STUDY)
    found, people = reading.tables["interactions"], reading.flow.people
    assert [row["pseudonym"] for row in found] == [names[0], names[0], names[2]]
    assert (people["agree_now"], people["accounts_joined"]) == (2, 1)
    async with database.writing() as connection:
        await Rows(connection, seed=5).consent(names[0], action="withdrawn", use=False)
    reading = await read_study(database, STUDY)
    assert [row["pseudonym"] for row in reading.tables["interactions"]] == names[1:]
    assert [row["unit"] for row in reading.tables["enrolments"]] == [names[1]]
    assert names[0] not in str(reading.tables)


async def test_a_day_that_tells_no_order_tells_the_same_arm_and_the_same_last_word(
    settings: Settings, database: Database
) -> None:
    """Of people whose two accounts were joined later, and who changed their minds within a day."""
    async with database.writing() as connection:
        rows = Rows(connection)
        of = {"experiment": "one", "version_sha256": "c" * 64, "position": 0, "unit_kind": "person"}
        for number in range(0, 24, 2):
            pair = [rows.person(number), rows.person(number + 1)]
            for name, arm in zip(pair, ("early", "late"), strict=True):
                await rows.consent(name, excerpts=False)
                await rows.consent(name, excerpts=True)
                unit = {"unit": name, "pseudonym": name, "arm": arm, "at": rows.now}
                await rows.add(experiment_tables.Enrolment, id=rows.id(), **unit, **of)
            await rows.add(tables.StudyLinkRow, pseudonym=pair[1], root=pair[0], at=rows.now)
    reading = await read_study(database, STUDY)
    for form in (Shape(), Shape(times="day"), Shape(form="public", times="day")):
        told = shape(reading, form, Scrub()).tables["people"]
        assert [(row["one.arm"], row["excerpts"]) for row in told] == [("early", True)] * 12


async def test_a_row_whose_consent_was_none_stays_in(
    settings: Settings, database: Database
) -> None:
    async with database.writing() as connection:
        rows = Rows(connection)
        declined = await rows.consent(rows.person(0), use=False)
        await rows.interaction(rows.person(0), declined)
        granted = await rows.consent(rows.person(0))
        others = await rows.consent(rows.person(1))
        await rows.interaction(rows.person(0), others)
        kept = await rows.interaction(rows.person(0), granted)
    reading = await read_study(database, STUDY)
    assert [row["id"] for row in reading.tables["interactions"]] == [kept]
    assert reading.flow.interactions["left_out"] == {"no consent then": 2}


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


# One of several, and elsewhere


async def test_people_who_saw_too_little_are_marked_until_they_go_on(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    async with database.writing() as connection:
        rows = Rows(connection)
        names = [rows.person(number) for number in range(4)]
        file = experiment_text(task="compare", tables="[exclude]\nfewer_exposures = 2")
        frozen = {"file": file, "version_sha256": "c" * 64, "state": "open", "enrolled": 4}
        await rows.add(experiment_tables.ExperimentRow, id="pilot", frozen_at=rows.now, **frozen)
        of = {"experiment": "pilot", "version_sha256": "c" * 64, "unit_kind": "person", "arm": "a"}
        for number, name in enumerate(names):
            await rows.consent(name)
            unit = {"unit": name, "pseudonym": name, "position": number, "at": rows.now}
            why = "a model named itself" if number == 3 else None
            await rows.add(experiment_tables.Enrolment, id=rows.id(), excluded=why, **unit, **of)
        for name, state in (
            (0, "voted"),
            (0, "voted"),
            (1, "voted"),
            (1, "void"),
            (1, "delivered"),
        ):
            await rows.exposure(names[name], "compare", [], experiment="pilot", state=state)
        await rows.exposure(names[2], "compare", [], experiment="other")
    few = "fewer than 2 exposures"
    await export(settings, tmp_path / "out")
    found = {row["unit"]: row["excluded"] for row in lines(tmp_path / "out/enrolments.jsonl")}
    assert [found[name] for name in names] == [None, few, few, "a model named itself"]
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "| pilot | a | 4 | 0 | 0 | 0 | 3 | 1 |" in card
    async with database.writing() as connection:
        await Rows(connection, seed=7).exposure(names[1], "compare", [], experiment="pilot")
    again = (await read_study(database, STUDY)).tables["enrolments"]
    assert {row["unit"]: row["excluded"] for row in again} == found | {names[1]: None}


@pytest.mark.databases("postgres")
async def test_a_server_gives_the_same_rows(
    settings: Settings, filled: Database, tmp_path: Path
) -> None:
    done = await export(settings, tmp_path / "out", form="public", k=3)
    assert done.rows["interactions"] == 108
    assert done.anonymity["smallest_group_after"] >= 3


def test_the_example_in_the_docs_is_whole() -> None:
    example = Path(__file__).parents[1] / "docs/study/example-export"
    assert sums(example) == (example / "SHA256SUMS").read_text(encoding="utf-8")
    rows = json.loads((example / "manifest.json").read_text(encoding="utf-8"))["rows"]
    assert {n: len(pandas.read_parquet(example / f"{n}.parquet")) for n in rows} == rows


def test_the_figures_in_the_docs_are_those_of_the_example() -> None:
    docs = Path(__file__).parents[1] / "docs"
    shipped = Path(analysis.__file__).with_name("analysis.R").read_text(encoding="utf-8")
    assert (docs / "study/example-export/analysis.R").read_text(encoding="utf-8") == shipped
    told = (docs / "study.md").read_text(encoding="utf-8").partition("With 60 of them")[2]
    read = analysis.lines(analysis.read(docs / "study/example-export"))
    found = {f"{line[0]} {line[1]}": line[2:5] for line in read}
    for name in ("preferred manner: expert over base", "position manner: first shown"):
        value, low, high = (f"{100 * number:.1f}" for number in found[name])
        assert f"{value} %" in told and f"{low} to {high}" in told, name
    value, low, high = (f"{number:.2f}" for number in found["d prime tell: all"])
    assert f"d′ was {value} ({low} to {high}" in told
