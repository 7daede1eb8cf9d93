"""The planned figures: one direction everywhere, answers by arm, and nobody whom the rules exclude."""

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_exports import export
from study_love import fill_love
from study_rows import STUDY, Rows, fill_study, opened

from engine.ledger.transactions import Database
from engine.settings import Settings
from engine.study.experiments import tables as e
from engine.study.export import analysis
from engine.study.export.dataset import read_study
from engine.study.export.release import Scrub, Shape, shape
from engine.study.report.judgements import findings, judgements
from engine.study.report.usage import usage

WARM = """title = "Warm or cold?"
hypothesis = "Warm answers are liked."
task = "single"
[[arms]]
name = "base"
plain = true
[[arms]]
name = "warm"
[rating]
text = "How was it?"
"""
WALK = """title = "Walk"
hypothesis = "The expert is preferred."
task = "flow"
[[step]]
kind = "compare"
id = "pairs"
stimuli = "manner"
"""
ANSWERS = (  # by person the arm, whether excluded, and (thumb, rating) of each answer
    ("warm", False, ((1, 5), (1, 4), (-1, 4))),
    ("base", False, ((-1, 2), (1, 3))),
    ("warm", False, ((1, 3), (0, 5))),
    ("base", False, ((-1, 1), (-1, 1), (1, 4))),
    ("warm", True, ((-1, 1), (-1, 1), (-1, 1))),
)


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    made = await opened(settings)
    yield made
    await made.close()


async def frozen(rows: Rows, name: str, text: str) -> None:
    facts = {"file": text, "version_sha256": "c" * 64, "state": "open", "enrolled": 9}
    await rows.add(e.ExperimentRow, id=name, frozen_at=rows.now, **facts)


async def fill_warm(database: Database) -> None:
    """Ordinary answers under two arms, with thumbs and ratings."""
    async with database.writing() as connection:
        rows = Rows(connection, seed=3)
        await frozen(rows, "heat", WARM)
        for number, (arm, out, answers) in enumerate(ANSWERS):
            name = rows.person(number)
            consent = await rows.consent(name)
            of = {"experiment": "heat", "at": rows.now}
            unit = {"unit": name, "unit_kind": "person", "pseudonym": name, "arm": arm}
            unit |= {"version_sha256": "c" * 64, "position": number, **of}
            why = "a model named itself" if out else None
            await rows.add(e.Enrolment, id=rows.id(), excluded=why, **unit)
            for thumb, value in answers:
                facts: dict[str, Any] = {"plain": arm == "base", "experiment": "heat", "arm": arm}
                made = await rows.interaction(name, consent, **facts)
                shown = {"arm": arm, "expert": "lovecraft", "plain": arm == "base"}
                single = {"id": made, "state": "delivered", "experiment": "heat"}
                await rows.exposure(name, "single", [shown | {"interaction": made}], **single)
                if thumb:
                    await rows.rating(name, made, thumb)
                asked = {"instrument": "rating", "question": "rating", "value": str(value)}
                asked |= {"about": made, "shown": {}, "pseudonym": name, **of}
                await rows.add(e.QuestionnaireAnswer, id=rows.id(), **asked)


async def fill_walk(database: Database, votes: str) -> None:
    """Pairs of stimuli, each person's vote for what an adapter wrote (+) or not."""
    async with database.writing() as connection:
        rows = Rows(connection, seed=4)
        await frozen(rows, "walk", WALK)
        of = {"kind": "generated", "expert": "agatha", "pool": "manner", "stimulus": "s1"}
        arms = {"written": "base b, adapter a", "alone": "base b, adapter none"}
        items = [
            await rows.item(n, **of, arm=arm, source=source)
            for n, (arm, source) in enumerate(arms.items())
        ]
        for number, vote in enumerate(votes):
            name = rows.person(50 + number)
            await rows.consent(name)
            same = {"expert": "agatha", "plain": False}
            shown = [{"arm": arm, "item": i, **same} for arm, i in zip(arms, items, strict=True)]
            made = await rows.exposure(name, "compare", shown, experiment="walk", step="pairs")
            await rows.vote(name, made, {"+": "a", "-": "b"}[vote])


async def told(settings: Settings, out: Path) -> dict[str, list[float]]:
    """What analysis.py prints; R prints the same."""
    await export(settings, out)
    words = [sys.executable, "analysis.py"]
    found = subprocess.run(words, cwd=out, check=True, capture_output=True, text=True).stdout
    if rscript := shutil.which("Rscript"):
        words = [rscript, "--vanilla", str(out / "analysis.R")]
        theirs = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        assert sorted(theirs.splitlines()) == sorted(found.splitlines())
    return {
        " ".join(x[:52].split()): [float(n) for n in x[52:].split()] for x in found.splitlines()
    }


async def test_answers_under_two_arms_have_means_and_a_difference_by_person(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    await fill_warm(database)
    found = await told(settings, tmp_path / "out")
    assert found["thumbs up heat: warm"][:1] + found["thumbs up heat: warm"][3:] == [0.75, 4, 2]
    assert found["thumbs up heat: base"][0] == 0.4 and found["rating heat: warm"][0] == 4.2
    value, low, high, n, people = found["rating heat: warm minus base"]
    assert (value, n, people) == (2.0, 10, 4)
    # of each person the sum of what is off the arm's mean, by answers of the arm
    off = np.array([13 - 3 * 4.2, 8 - 2 * 4.2, 5 - 2 * 2.2, 6 - 3 * 2.2]) / 5
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(4 / 3 * (off**2).sum()), abs=1e-3)
    tables = shape(await read_study(database, STUDY), Shape(), Scrub()).tables
    [arms] = [figure for figure in usage(tables) if figure.name == "arm-ratings"]
    assert [row[:4] for row in arms.cells] == [("heat: base", 2, 3, 2), ("heat: warm", 3, 1, 2)]


async def test_every_figure_names_the_treated_arm_first(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """The file begins with the base of both; one is an arm, the other among stimuli made ahead."""
    await fill_love(database, "+++-+t-+", "....x...")
    await fill_walk(database, "++-+")
    found = await told(settings, tmp_path / "out")
    for name in ("love: lora over alone", "walk: written over alone"):
        assert found[f"strength {name}"][0] > 0 and f"style held {name}" in found
        assert found[f"preferred {name}"][0] > 0.5
    assert not [name for name in found if "alone over" in name]
    tables = shape(await read_study(database, STUDY), Shape(), Scrub()).tables
    first = {one.title: one.sentences[0] for one in findings(tables)}
    assert first["Walk"].startswith("written was preferred to alone in 75.0%")
    [wins] = [figure for figure in judgements(tables) if figure.name == "wins"]
    assert [row[0] for row in wins.cells] == ["love: lora over alone", "walk: written over alone"]


async def test_what_was_shown_and_not_judged_changes_no_figure(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """Whoever stops has a pair, a passage or a text to rate on the screen."""
    await fill_study(database, settings, 8, each=2)
    await fill_love(database, "++-+", "....")
    async with database.writing() as connection:
        rows = Rows(connection, seed=5)
        of: dict[str, Any] = {"expert": "lovecraft", "plain": False}
        left: dict[str, Any] = {"state": "delivered", "revealed_at": None}
        for number, kind in enumerate(("real", "generated") * 2):
            guesser, reader = rows.person(number), rows.person(100 + number)
            one = of | {"item": f"{number:026}", "kind": kind}
            await rows.exposure(guesser, "guess", [one], item=one["item"], **left)
            sides = [of | {"arm": arm} for arm in ("alone", "lora")]
            await rows.exposure(reader, "compare", sides, experiment="love", **left)
            await rows.exposure(reader, "rate", [one], item=one["item"], experiment="love", **left)
    found = await told(settings, tmp_path / "out")
    rows_out = analysis.rows_of(tmp_path / "out/trials.csv")
    judged = list(analysis.lines([row for row in rows_out if row["scored"] == "true"]))
    assert {f"{what} {of}": line for what, of, *line in judged} == {
        name: pytest.approx(line, abs=1e-4) for name, line in found.items()
    }
    assert {"strength love: lora over alone", "d prime outside: all"} <= found.keys()


async def test_beside_what_the_rules_leave_stands_the_result_for_everybody(
    settings: Settings, database: Database
) -> None:
    await fill_study(database, settings, 12)
    tables = shape(await read_study(database, STUDY), Shape(), Scrub()).tables
    whole = [figure.cells[0][3] for figure in judgements(tables) if figure.name == "detection"]
    for row in tables["trials"]:
        row["excluded"] = "a model named itself" if row["correct"] else None
    [[cells, *_]] = [f.cells for f in judgements(tables) if f.name == "detection"]
    assert [cells[-2]] == whole and cells[3] != cells[-2]
