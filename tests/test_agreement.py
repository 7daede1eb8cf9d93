"""How far raters agree: Krippendorff's alpha and its interval, alone and in export and report."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyreadstat
import pytest
from study_exports import export, lines
from study_rows import Rows, opened
from test_annotators import RATE

from engine.settings import Settings
from engine.study.experiments import tables as e
from engine.study.export.analysis import agreed
from engine.study.export.dataset import read_study
from engine.study.export.release import Scrub, Shape, shape
from engine.study.report.judgements import judgements


def noisy(scale: str, p: float, items: int, raters: int, seed: int) -> list[dict[str, str]]:
    """Ratings that are the truth with probability p, else any of five: their alpha is p * p."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(1, 6, size=(items, 1))
    known = draw.random((items, raters)) < p
    said = np.where(known, truth, draw.integers(1, 6, size=(items, raters)))
    same = {"experiment": "quality", "step": "texts", "question": "good"}
    same |= {"scale": scale, "excluded": ""}
    return [
        {**same, "item": str(i), "pseudonym": str(r), "value": str(said[i, r])}
        for i in range(items)
        for r in range(raters)
    ]


@pytest.mark.parametrize("scale", ["nominal", "ordinal", "interval"])
def test_a_planted_alpha_is_found_again_within_its_interval(scale: str) -> None:
    found = [next(agreed(noisy(scale, 0.8, 60, 3, seed))) for seed in range(200)]
    inside = np.mean([low < 0.64 < high for _, _, _, low, high, _, _ in found])
    assert np.mean([line[2] for line in found]) == pytest.approx(0.64, abs=0.01)
    assert 0.91 <= inside <= 0.99


@pytest.mark.parametrize(
    ("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_is_that_of_krippendorffs_own_example(scale: str, alpha: float) -> None:
    """Four observers, twelve units, with gaps (Krippendorff 2011, example C)."""
    rows = [
        {"item": str(unit), "pseudonym": str(who), "value": value}
        for who, line in enumerate(("123321412...", "1233224125.3", ".3332342251.", "12332441251."))
        for unit, value in enumerate(line)
        if value.isdecimal()
    ]
    of = {"experiment": "e", "step": "s", "question": "q", "scale": scale, "excluded": ""}
    assert next(agreed([row | of for row in rows]))[2] == pytest.approx(alpha, abs=5e-4)


def test_questions_of_one_name_in_two_steps_are_two() -> None:
    """What differs between the steps is no agreement, and one may be a scale, the other a choice."""
    texts = noisy("ordinal", 0.8, 40, 3, seed=1)
    words = [
        {
            **row,
            "step": "pictures",
            "scale": "nominal",
            "value": "bad" if row["value"] > "2" else "good",
        }
        for row in noisy("nominal", 0.0, 40, 3, seed=2)
    ]
    [pictures, alone] = agreed([*words, *texts])
    assert [alone] == list(agreed(texts)) and alone[1] == "quality: texts.good, ordinal"
    assert pictures[1] == "quality: pictures.good, nominal" and abs(pictures[2]) < 0.3


async def fill(database, question: str, said: list[dict[str, str]]) -> list[str]:
    """The same ratings as the program writes them; the annotators' pseudonyms."""
    file = RATE.replace('text = "How good is it?"', f'text = "How good is it?"\n{question}')
    async with database.writing() as connection:
        rows = Rows(connection, seed=3)
        frozen = {"file": file, "version_sha256": "c" * 64, "state": "open", "enrolled": 3}
        await rows.add(e.ExperimentRow, id="quality", frozen_at=rows.now, **frozen)
        owner = rows.person(50)
        consent = await rows.consent(owner)
        works = [await rows.interaction(owner, consent) for _ in {row["item"] for row in said}]
        names = [rows.person(int(who)) for who in sorted({row["pseudonym"] for row in said})]
        for name in names:
            await rows.consent(name)
        for row in said:
            name, work = names[int(row["pseudonym"])], works[int(row["item"])]
            same = {"experiment": "quality", "step": "texts"}
            shown = [{"label": "a", "item": work, "expert": "agatha", "plain": False, "arm": ""}]
            about = await rows.exposure(name, "rate", shown, item=work, **same)
            facts = {"instrument": "texts", "question": "good", "about": about, "shown": {}}
            facts |= {"value": row["value"], "seconds": 3.7, "experiment": "quality"}
            await rows.add(
                e.QuestionnaireAnswer, id=rows.id(), pseudonym=name, at=rows.now, **facts
            )
    return names


async def test_ratings_go_out_a_row_an_answer_and_their_agreement_stands_in_report_and_analysis(
    settings: Settings, tmp_path: Path
) -> None:
    database = await opened(settings)
    said = noisy("ordinal", 0.8, 40, 3, seed=1)
    names = await fill(database, "", said)
    await export(settings, tmp_path / "out", spss=True)
    trials, told = pyreadstat.read_sav(tmp_path / "out/trials.sav")
    assert Counter(trials["quality.texts.good"]) == Counter(float(row["value"]) for row in said)
    assert told.column_names_to_labels["quality.texts.good"] == "How good is it?"
    assert told.variable_value_labels["quality.texts.voice"] == {1: "Poe", 2: "Doyle"}
    assert not [name for name in lines(tmp_path / "out/people.jsonl")[0] if "texts" in name]
    out = lines(tmp_path / "out/annotations.jsonl")
    works = {row["id"] for row in lines(tmp_path / "out/interactions.jsonl")}
    assert len(out) == 120 and {row["item"] for row in out} == works
    assert {row["pseudonym"] for row in out} == set(names)
    assert {(r["question"], r["scale"], r["step"], r["seconds"]) for r in out} == {
        ("good", "ordinal", "texts", 3.7)
    }
    [(_, _, value, low, high, *_)] = agreed(said)
    tables = shape(await read_study(database, "pilot"), Shape(), Scrub()).tables
    figure = next(one for one in judgements(tables) if one.name == "agreement")
    assert figure.cells == [
        ("quality: texts.good, ordinal", value, f"{low:.3g} to {high:.3g}", 120, 3)
    ]
    printed = analysed(tmp_path / "out")
    name = "quality: texts.good, ordinal"
    assert printed == [f"alpha       {name:<40} {value:9.4f} {low:9.4f} {high:9.4f}    120      3"]
    assert low < 0.64 < high
    await export(settings, tmp_path / "public", form="public", k=1)
    assert {row["seconds"] for row in lines(tmp_path / "public/annotations.jsonl")} == {2.0}
    async with database.writing() as connection:
        gone = {"action": "withdrawn", "use": False, "excerpts": False, "linkage": False}
        await Rows(connection, seed=9).consent(names[0], **gone)
    await export(settings, tmp_path / "without")
    assert names[0] not in str(left := lines(tmp_path / "without/annotations.jsonl"))
    assert len(left) == 80
    async with database.writing() as connection:
        await Rows(connection, seed=10).consent(Rows(connection).person(50), **gone)
    await export(settings, tmp_path / "nothing")
    assert not lines(tmp_path / "nothing/annotations.jsonl"), "whose answers they were has left"
    await database.close()


def analysed(folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "analysis.py"], cwd=folder, check=True, capture_output=True, text=True
    )
    return [line for line in done.stdout.splitlines() if line.startswith("alpha")]
