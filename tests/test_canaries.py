"""Marked words and names, left in every way that there is, are found where they belong and nowhere else.

The ways come from the schema (canary_columns), the grammar and the buttons (canary_walk): a new column,
command or button that nobody thought of fails here.
"""

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
import studied
from canary_columns import ALL, CLASSES, KINDS, of_kind
from canary_walk import GROUP, Walk, everything_said, forget, take
from experimenting import experiment_text
from looking import kept
from prometheus_client import generate_latest
from studied import STUDY_FILE, make_study
from study_exports import everything
from talking import Clock

from bot.chat import make_context
from bot.messages.buttons import Verb
from bot.serving.metrics import MeteredService
from bot.settings import PlatformSettings
from engine.chat.retention import BACKUP_SECONDS
from engine.ledger.storage import on_server
from engine.moderation.chain import usual
from engine.monitor.logs import JsonLines
from engine.process.bootstrap import open_engine
from engine.process.services import open_services
from engine.settings import Settings
from engine.study.disclosure.public_form import stepped
from engine.study.export.codebook import FILES, SOURCES, columns
from engine.study.export.export import export_study
from engine.study.export.release import Options
from engine.study.lifecycle import destroy_key
from engine.vault import Sealed

here, clock = studied.here, studied.clock  # fixtures
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.databases("sqlite", "postgres")]
STEPS = """[[step]]
kind = "questions"

[[step.questions]]
id = "why"
text = "Why do you read?"
kind = "text"

[[step]]
kind = "guess"
"""
RATES = """[[step]]
kind = "rate"
answers = "*"

[[step.questions]]
id = "good"
text = "How good is it?"
"""
ASKED = '[[before]]\nid = "age"\ntext = "How old?"\nkind = "choice"\nchoices = ["1", "2"]\n'
# Sealed columns in which this walk leaves no word of A's: what stands there, and who else looks.
BESIDE = {
    "meta.value": "the key's own mark",
    "jobs.error": "a fault's reason; `finish` of what fails",
    "requests.style": "a card's name", "interactions.style": "a card's name",
    "places.style": "a card's name",
    "verdicts.reasons": "categories", "study_ratings.reason": "asked no more",
    "votes.reason": "a button's word", "questionnaire_answers.value": "a choice",
    "items.text": "passages of the pool",
    "requests.route": "words of the cards", "interactions.route": "words of the cards",
    "progress.event": "there while a job runs, sealed: every statement is looked at",
}  # fmt: skip


@contextmanager
def listening() -> Iterator[tuple[io.StringIO, list[str]]]:
    """All that is logged, at DEBUG, and the values of every statement (NOTIFY's too)."""
    lines, values = io.StringIO(), []
    handler = logging.StreamHandler(lines)
    handler.setFormatter(JsonLines())
    root, level = logging.getLogger(), logging.getLogger().level
    quiet = logging.getLogger("aiosqlite")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    quiet.setLevel(logging.WARNING)  # as start_logs does

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        values.append(f"{statement} {parameters}")

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield lines, values
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
        root.removeHandler(handler)
        root.setLevel(level)


class Found:
    """What the walk left where, before anything was forgotten."""

    walk: Walk
    log: str
    statements: str
    metrics: str
    rows: dict[str, list[dict[str, Any]]]  # A's, by table
    raw: bytes
    public: dict[str, bytes]
    private: dict[str, bytes]
    after: dict[str, Any]
    parted: dict[str, Any]
    blanked: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def found(
    here: Settings,
    clock: Clock,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Found]:
    """One walk for all the tests here."""
    experiments = make_study(here.home, text=STUDY_FILE + "k_anonymity = 1\n") / "experiments"
    experiments.mkdir()
    text = experiment_text("pairs", "compare", more="exposures = 2", tables=ASKED)
    (experiments / "pairs.toml").write_text(text)
    flow = experiment_text("steps", "flow", tables=STEPS)
    (experiments / "steps.toml").write_text(flow)
    rates = experiment_text("rates", "flow", more="annotators = 2", tables=RATES)
    (experiments / "rates.toml").write_text(rates)
    here = here.model_copy(update={"media_folder": tmp_path_factory.mktemp("elsewhere")})
    made, folder = Found(), tmp_path_factory.mktemp("exports")
    platforms = PlatformSettings(operators=frozenset({"discord:99"}), contact="us@here")
    with listening() as (lines, values):
        async with open_engine(here) as core, open_services(here, clock=clock) as services:
            talk = MeteredService(make_context(core, services, usual(), platforms))
            made.walk = await take(talk)
            a = made.walk.a
            made.rows = await services.agreements.held(a.platform, a.asker)
            made.raw = kept(here)
            if not on_server(here):
                _back_up(here)
            made.private = await _export(here, folder / "private", "private")
            made.public = await _export(here, folder / "public", "public")
            await forget(made.walk)
            made.after = {
                "ledger": await _read(services.ledger),
                "bytes": kept(here),
                "pictures": set(services.ledger.media.names()),
                "private": _unwritten(await _export(here, folder / "after", "private")),
                "copies": [await _read_copy(here, path) for path in _copies(here)],
                "held": await services.agreements.held(a.platform, a.asker),
            }
            made.parted = await _destroyed(here, services, made.walk)
            clock.ahead = BACKUP_SECONDS + 60
            await services.retention.clean()
            clock.ahead = 0.0
            made.blanked = await _read(services.ledger, but=lambda table: table in STUDIED)
            made.metrics = generate_latest(talk.meter.registry).decode()
    made.log, made.statements = lines.getvalue(), "\n".join(values)
    yield made


# The echo backend repeats what it was asked. What a model wrote for B is B's, whoever B took up.
WRITTEN = {"outputs.text", "interactions.output"}


async def _destroyed(settings: Settings, services: Any, walk: Walk) -> dict[str, Any]:
    """What still leads to B's rows in the study after its key is gone; as an operator does it, alone."""
    b = (walk.b.platform, walk.b.asker)
    before = await services.agreements.held(*b)
    names = {
        str(row[column])
        for table, column in (("exposures", "id"), ("enrolments", "id"), ("consents", "form"))
        for row in before.get(table, ())
    }
    jobs = {row["job_id"] for row in before["interactions"]}
    await destroy_key(settings, "pilot")
    study = [name for name in ALL.tables if name in SOURCE_TABLES]
    return {
        "names": names | jobs,
        "rows": await _read(services.ledger, but=lambda table: table not in study),
        "held": set(await services.agreements.held(*b)),
    }


SOURCE_TABLES = {table.__tablename__ for table in SOURCES.values()}
STUDIED = {"interactions", "study_pictures", "study_ratings"}  # kept until the study ends


def _copies(settings: Settings) -> list[Path]:
    return sorted((settings.home / "backups").glob("*.sqlite3"))


def _back_up(settings: Settings) -> None:
    from engine.ledger.sqlite import LedgerFile

    url = sa.URL.create("sqlite", database=str(settings.ledger_file))
    LedgerFile(settings.ledger_file, url).back_up(settings.home / "backups", "0006")


async def _read(database: Any, but: Any = lambda table: table == "tombstones") -> str:
    """Every row of every table, its sealed words opened, but for what was WRITTEN for somebody."""
    async with database.reading() as connection:
        rows = [
            str([value for column, value in row.items() if f"{name}.{column}" not in WRITTEN])
            for name, table in ALL.tables.items()
            if not but(name)
            for row in (await connection.execute(sa.select(table))).mappings()
        ]
    return "\n".join(rows)


async def _read_copy(settings: Settings, path: Path) -> str:
    from engine.ledger.storage import open_database
    from engine.ledger.transactions import Database

    copy = settings.model_copy(update={"database_url": f"sqlite+aiosqlite:///{path}"})
    database = Database(await open_database(copy))
    try:
        return await _read(database)
    finally:
        await database.close()


async def _export(settings: Settings, out: Path, form: Any) -> dict[str, bytes]:
    await export_study(Options(study="pilot", out=out, form=form, k=1), settings)
    return everything(out)


def _unwritten(files: dict[str, bytes]) -> str:
    rows = [
        json.loads(line) | {"output": None}
        for name in FILES
        for line in files[f"{name}.jsonl"].splitlines()
    ]
    return str(rows)


def canaries(found: Found, where: str | bytes) -> list[str]:
    """The ways whose word is there."""
    text = (where.decode(errors="replace") if isinstance(where, bytes) else where).lower()
    return [way for way, word in found.walk.canaries.items() if word in text]


def a_keys(found: Found) -> set[str]:
    """All that names A's rows, or A: of seeds those that nobody would have by chance."""
    return {
        str(row[column])
        for table, rows in found.rows.items()
        for row in rows
        for column in of_kind("keys", table)
        if row[column] is not None and len(str(row[column])) >= 8
    }


async def test_every_column_is_of_a_kind_and_every_kind_of_a_column() -> None:
    for name, table in ALL.tables.items():
        told = [column for kind in KINDS for column in of_kind(kind, name)]
        assert sorted(told) == sorted(column.name for column in table.columns), name
    assert CLASSES.keys() == ALL.tables.keys()
    sealed = {
        (name, column.name)
        for name, table in ALL.tables.items()
        for column in table.columns
        if isinstance(column.type, Sealed)
    }
    words = {(name, column) for name in CLASSES for column in of_kind("words", name)}
    assert sealed - {("meta", "value")} == words


async def test_every_command_is_said_and_every_button_pressed(found: Found) -> None:
    assert found.walk.said >= everything_said(found.walk.talk)
    assert found.walk.pressed == set(Verb)


async def test_nothing_that_anybody_is_shown_holds_a_live_link(found: Found) -> None:
    shown = found.walk.shown
    assert any("[:]//live." in text for text in shown)
    assert [text for text in shown if "live.example" in text] == []


async def test_every_way_leaves_its_word_where_it_belongs(found: Found) -> None:
    """Else the tests below would look for what was never there."""
    for name in CLASSES:
        for column in of_kind("words", name):
            there = canaries(found, str([row[column] for row in found.rows.get(name, [])]))
            assert there or f"{name}.{column}" in BESIDE, f"{name}.{column}"
    never = {"in danger", "kept out", "deleted", "group address", "refused", "taken back"}
    assert set(found.walk.canaries) - set(canaries(found, str(found.rows))) <= never
    assert canaries(found, b"".join(found.private.values()))
    assert len(a_keys(found)) > 100


async def test_no_word_lies_open_in_database_files_logs_metrics_or_notices(found: Found) -> None:
    for where in (found.raw, found.log, found.metrics, found.statements):
        assert canaries(found, where) == []
    assert len(found.log) > 1000 and "pastiche_bot_accepted" in found.metrics


async def test_nothing_of_somebody_who_lets_nothing_be_published_is_published(found: Found) -> None:
    for path, data in found.public.items():
        assert canaries(found, data) == [], path
        text = data.decode(errors="replace")
        assert [key for key in a_keys(found) if key in text] == [], path
    own = found.walk.others
    published = b"".join(found.public.values()).decode(errors="replace")
    assert own["its own"] in published and own["b's own words"] in published
    assert own["another message"] not in published + str(found.private)


async def test_published_figures_are_stepped_and_numbered_keys_are_gone(found: Found) -> None:
    for name, table in SOURCES.items():
        if name not in FILES:
            continue
        rows = [json.loads(line) for line in found.public[f"{name}.jsonl"].splitlines()]
        exported = {column.name: column for column in columns(name)}
        for column in of_kind("figures", table.__tablename__):
            if column not in exported:
                continue
            for value in (row[column] for row in rows if row[column] is not None):
                if exported[column].kind == "time":
                    assert value.endswith(":00:00.000Z")
                else:
                    value = json.loads(value) if isinstance(value, str) else value
                    mine = table.__tablename__ == "study_pictures"
                    assert mine or value == stepped(value), (name, column, value)


async def test_after_forget_no_word_and_no_name_is_left(found: Found) -> None:
    pictures = {row["media"] for row in found.rows["pictures"]}
    assert pictures and not pictures & found.after["pictures"]
    assert found.after["held"] == {}
    pseudonym = found.rows["interactions"][0]["pseudonym"]
    keys = {key for key in a_keys(found) if not key.isdigit()} | {pseudonym}
    keys.remove(
        found.walk.talk.context.services.ledger.place("telegram", GROUP)
    )  # the others' place, too
    places = [found.after["ledger"], *found.after["copies"], found.after["private"]]
    for where in places:
        assert canaries(found, where) == []
        assert [key for key in keys if key in where] == []
    assert canaries(found, found.after["bytes"]) == []


async def test_after_the_key_nothing_leads_to_a_row_of_the_study(found: Found) -> None:
    parted = found.parted
    assert len(parted["names"]) > 8
    assert [name for name in parted["names"] if name in parted["rows"]] == []
    assert parted["held"].isdisjoint(SOURCE_TABLES)


async def test_after_their_time_nobodys_words_are_in_the_record(found: Found) -> None:
    words = [*found.walk.canaries.values(), *found.walk.others.values()]
    assert [word for word in words if word in found.blanked.lower()] == []
