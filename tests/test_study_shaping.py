"""What goes out of a study: scrubbed words, coarse times, nobody who stands out."""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pandas
import pyarrow.csv
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from study_exports import everything, export, interactions, lines
from study_rows import STUDY, Rows, fill_study, opened, write_study_file

from engine.errors import SetupError
from engine.ledger.transactions import Database
from engine.settings import Settings
from engine.study.disclosure.k_anonymity import DEFAULT, gate
from engine.study.disclosure.public_form import stepped
from engine.study.disclosure.review import review_list
from engine.study.experiments.tables import Enrolment, ExperimentRow, QuestionnaireAnswer
from engine.study.export.codebook import FILES, SOURCES, columns
from engine.study.export.export import review_study
from engine.study.export.table_files import plain_cell, safe_cell
from engine.study.tables import StudyPlaceRow


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


# Words


async def test_formulas_are_harmless_in_csv_and_whole_everywhere_else(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'tis", "＝1+1", 'a\r\nb,"c"', "nul\0"]
    await interactions(database, *texts)
    await export(settings, tmp_path / "out")
    expected = [text.replace("\0", "�").replace("@SUM", "[handle]") for text in texts]
    with (tmp_path / "out/interactions.csv").open(encoding="utf-8", newline="") as file:
        cells = [row["text"] for row in csv.DictReader(file)]
    assert not [cell for cell in cells if re.match(r"[=+\-@\t\r＝]", cell)]
    assert [plain_cell(cell) for cell in cells] == expected
    assert list(pandas.read_parquet(tmp_path / "out/interactions.parquet")["text"]) == expected


async def test_whatever_some_reader_takes_for_the_end_of_a_row_tears_none(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    texts = [f"rain{end}=1+1;x" for end in "\r\n\x85\u2028\u2029\x0b\x0c\x1c,;"]
    await interactions(database, *texts)
    await export(settings, tmp_path / "out")
    path = tmp_path / "out/interactions.csv"
    with path.open(encoding="utf-8", newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == texts
    assert list(pandas.read_csv(path, lineterminator="\n")["text"]) == texts
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    assert pyarrow.csv.read_csv(path, parse_options=options)["text"].to_pylist() == texts


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_a_csv_cell_can_always_be_had_back(text: str) -> None:
    assert plain_cell(safe_cell(text)) == text
    assert not safe_cell(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


async def test_handles_go_out_of_every_column_that_people_write(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    async with database.writing() as connection:
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
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    text = "I met Anna Rossi, who wrote to info@museum.org"
    await interactions(database, text, "And then Anna Rossi left")
    findings = await review_study(settings, STUDY)
    listed = list(csv.DictReader(io.StringIO(review_list(findings))))
    assert [(row["what"], row["default"]) for row in listed] == [
        ("Anna Rossi", "keep"),
        ("info@museum.org", "remove"),
    ]
    assert [row["times"] for row in listed] == ["2", "1"]
    for row, decision in zip(listed, ("remove", "KEEP"), strict=True):
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
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    await interactions(database, "rain, " * 100_000)
    await export(settings, tmp_path / "out")
    assert len(pandas.read_parquet(tmp_path / "out/interactions.parquet")["text"][0]) == 600_000


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
    gated, _ = gate(rows, DEFAULT, k)
    groups: dict[Any, set[str]] = {}
    for row in gated:
        groups.setdefault(tuple(row[name] for name in DEFAULT), set()).add(row["pseudonym"])
    assert all(len(members) >= k for members in groups.values())
    assert [row["pseudonym"] for row in gated] == [row["pseudonym"] for row in rows]
    if k == 1:
        assert gated == rows


def test_one_who_stands_out_takes_no_more_company_than_needed() -> None:
    common = {"platform": "discord", "locale": "en", "place_kind": "private", "hour": "12"}
    rows = [{"pseudonym": f"{n:02}", **common} for n in range(40)]
    gated, _ = gate([*rows, {**rows[0], "pseudonym": "zz", "platform": "telegram"}], DEFAULT, 5)
    assert [row["platform"] for row in gated].count(None) == 5
    assert gated[4:40] == rows[4:]


async def test_what_was_coarsened_is_not_told_elsewhere(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    async with database.writing() as connection:
        rows = Rows(connection)
        for number in range(7):
            name, alone = rows.person(number), number == 0
            told = {"locale": "it", "text_sha256": "17" * 32} if alone else {}
            consent = await rows.consent(name, **told)
            platform = "telegram" if alone else "discord"
            await rows.interaction(name, consent, platform=platform, private=not alone)
            shown = {"platform": platform, "form": "text"}
            await rows.exposure(name, "single", [], visible=shown, state="delivered")
        place = {"place": "cd" * 16, "platform": "telegram", "kind": "group", "action": "on"}
        await rows.add(StudyPlaceRow, **place, at=rows.now)
    await export(settings, tmp_path / "out", form="public")
    files = everything(tmp_path / "out")
    tables = b"".join(data for path, data in files.items() if path.endswith(".csv"))
    assert b"telegram" not in tables
    assert b"17" * 32 not in tables  # four digits occur in an identifier by chance
    alone = next(r for r in lines(tmp_path / "out/interactions.jsonl") if r["locale"] is None)
    assert (alone["private"], alone["place"], alone["platform"]) == (None, None, None)


async def test_the_public_form_tells_no_time_closer_than_its_group(
    settings: Settings, filled: Database, tmp_path: Path
) -> None:
    await export(settings, tmp_path / "out", form="public", k=3)
    for name in FILES:
        times = [column.name for column in columns(name) if column.kind == "time"]
        fine = r"T00:00:00\.000Z|T\d\d:00:00\.000Z" if name == "interactions" else "T00:00:00.000Z"
        for row in lines(tmp_path / f"out/{name}.jsonl"):
            assert all(row[c] is None or re.search(f"({fine})$", row[c]) for c in times)
    data = b"".join(everything(tmp_path / "out").values())
    assert not re.search(rb"\b17\d{8}\.(?!0\b)\d", data)  # nor seconds since 1970
    assert not re.search(rb"\b01[0-9A-HJKMNP-TV-Z]{24}\b", data)  # a ULID tells the time


# What a bystander knows


async def test_the_public_form_has_no_key_to_a_persons_rows(
    settings: Settings, filled: Database, tmp_path: Path
) -> None:
    """Neither a seed nor an exact figure, nor a name that a button tells, nor who came when."""
    async with filled.reading() as connection:
        told = {
            name: [dict(row) for row in (await connection.execute(sa.select(table))).mappings()]
            for name, table in SOURCES.items()
        }
    await export(settings, tmp_path / "out", form="public", k=3)
    data = b"".join(everything(tmp_path / "out").values()).decode(errors="replace")
    out = {name: lines(tmp_path / f"out/{name}.jsonl") for name in FILES}
    for name, rows in told.items():
        for row in rows:
            if len(str(row["id"])) == 26:
                unkeyed = hashlib.sha256(f"pastiche {row['id']}".encode()).hexdigest()[:20]
                assert unkeyed not in data
        assert all(row.get("seed") is None for row in out.get(name, ()))
    figures = {row[c] for row in out["interactions"] for c in ("tokens_out", "write_seconds")}
    figures |= {r[c] for r in out["trials"] for c in ("seconds", "latency", "first_characters")}
    figures.discard(None)
    assert figures <= {stepped(figure) for figure in figures}
    assert all(row["position"] is None for row in out["enrolments"])
    order = [row["id"] for row in sorted(told["consents"], key=lambda row: row["id"])]
    assert not {row["id"] for row in out["consents"]} & set(order)
    known = {row["id"] for row in out["consents"]}
    assert {row["consent_id"] for row in out["interactions"]} <= known
    again = await export(settings, tmp_path / "again", form="public", k=3)
    assert again.rows and everything(tmp_path / "again") == everything(tmp_path / "out")


async def test_words_that_somebody_took_up_are_published_only_if_both_let_them(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    async with database.writing() as connection:
        rows = Rows(connection)
        shy, willing, third = (rows.person(number) for number in range(3))
        consents = [await rows.consent(shy, excerpts=False)]
        consents += [await rows.consent(one) for one in (willing, third)]
        parent = None
        for name, consent in zip((shy, willing, third), consents, strict=True):
            words = dict.fromkeys(("text", "beginning", "prompt", "output"), "SHYWORDS")
            parent = await rows.interaction(name, consent, parent=parent, typed="/again", **words)
        await rows.interaction(willing, consents[1], text="OWNWORDS")
    await export(settings, tmp_path / "out", form="public", k=1)
    data = b"".join(everything(tmp_path / "out").values())
    assert b"SHYWORDS" not in data
    assert b"OWNWORDS" in data and data.count(b"/again") >= 2
    await export(settings, tmp_path / "private")
    assert len([r for r in lines(tmp_path / "private/interactions.jsonl") if r["output"]]) == 4


ASKING = """
id = "ages"
title = "How old"
hypothesis = "None."
task = "single"
start = 2026-01-01
stop = 2027-01-01
max_n = 100
[[arms]]
name = "one"
[[arms]]
name = "two"
[[before]]
id = "age_group"
text = "How old are you?"
kind = "choice"
choices = ["18-29", "30-59", "60 or more"]
[quota]
question = "age_group"
most = { "18-29" = 9 }
"""


async def test_a_declared_answer_is_told_in_groups_of_k_people_only(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    write_study_file(settings, 'quasi_identifiers = ["platform", "age_group"]\nk_anonymity = 3\n')
    async with database.writing() as connection:
        rows = Rows(connection)
        await rows.add(
            ExperimentRow, id="ages", version_sha256="0" * 64, file=ASKING, state="open",
            enrolled=8, frozen_at=rows.now,
        )  # fmt: skip
        for number in range(8):
            name = rows.person(number)
            consent = await rows.consent(name)
            if number < 7:  # the last has answered, and done nothing else
                platform = "telegram" if number == 3 else "discord"
                await rows.interaction(name, consent, platform=platform)
            value = "60 or more" if number in (0, 7) else "18-29"
            await rows.add(
                QuestionnaireAnswer, id=rows.id(), experiment="ages", pseudonym=name,
                instrument="before", question="age_group", value=value, shown={}, at=rows.now,
            )  # fmt: skip
            await rows.add(
                Enrolment, id=rows.id(), experiment="ages", version_sha256="0" * 64, unit=name,
                unit_kind="person", pseudonym=name, arm="all", position=number, at=rows.now,
                stratum="60 or more" if number == 6 else value,
            )  # fmt: skip
    await export(settings, tmp_path / "out", form="public")
    answers = {r["pseudonym"]: r["value"] for r in lines(tmp_path / "out/answers.jsonl")}
    people = {r["pseudonym"]: r["platform"] for r in lines(tmp_path / "out/interactions.jsonl")}
    groups = Counter((people.get(name), value) for name, value in answers.items())
    assert "60 or more" not in answers.values()
    assert all(count >= 3 for (_, value), count in groups.items() if value is not None)
    assert groups["discord", "18-29"] >= 3
    wide = {
        r["pseudonym"]: r["ages.before.age_group"] for r in lines(tmp_path / "out/people.jsonl")
    }
    assert wide == answers
    strata = {r["pseudonym"]: r["stratum"] for r in lines(tmp_path / "out/enrolments.jsonl")}
    answers[rows.person(6)] = None  # counted by an answer that was changed afterwards
    assert strata == answers and "18-29" in strata.values()
    assert "60 or more" not in (tmp_path / "out/codebook.md").read_text(encoding="utf-8")
    write_study_file(settings, 'quasi_identifiers = ["age_grop"]\n')
    with pytest.raises(SetupError, match=r"no question of an experiment.*age_group"):
        await export(settings, tmp_path / "other", form="public")
