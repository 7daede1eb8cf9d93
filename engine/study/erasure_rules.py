"""Rules of erasure: what is held of a person, and by which column each table lets go of them.

RULES is the one list: a table that is not in it fails the tests, and so does one that says it is about
nobody while a column of it names somebody.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.chat import rights as chat_rights
from engine.ledger.observers import Rule
from engine.ledger.tables import Asker, JobRow, RequestRow
from engine.ledger.transactions import chunks
from engine.study import tables as t
from engine.study.consent.account_links import leave
from engine.study.experiments.tables import (
    Enrolment,
    ExperimentRow,
    Exposure,
    ItemRow,
    PanelId,
    QuestionnaireAnswer,
    Vote,
)
from engine.study.interactions import cut_off_interactions

# In the order in which rows go: those that point at others first.
STUDY_RULES: dict[str, Rule] = {
    "votes": Rule("pseudonym", Vote.pseudonym),
    "exposures": Rule("pseudonym", Exposure.pseudonym, also=Exposure.item),
    "questionnaire_answers": Rule("pseudonym", QuestionnaireAnswer.pseudonym),
    "enrolments": Rule("pseudonym", Enrolment.pseudonym),
    "panel_ids": Rule("pseudonym", PanelId.pseudonym),
    "items": Rule("pseudonym", ItemRow.author),
    "study_pictures": Rule("pseudonym", t.StudyPictureRow.pseudonym),
    "study_ratings": Rule(
        "pseudonym", t.StudyRatingRow.pseudonym, also=t.StudyRatingRow.interaction_id
    ),
    "study_events": Rule(
        "pseudonym", t.StudyEventRow.pseudonym, also=t.StudyEventRow.interaction_id
    ),
    "interactions": Rule("pseudonym", t.InteractionRow.pseudonym),
    "link_codes": Rule("pseudonym", t.LinkCodeRow.pseudonym),
    "study_links": Rule("pseudonym", t.StudyLinkRow.pseudonym, also=t.StudyLinkRow.root),
    "consents": Rule("pseudonym", t.ConsentRow.pseudonym, standing=True),
    "invitations": Rule("lookup", t.InvitationRow.lookup),
    "study_places": Rule("nobody", why="a place's pseudonym"),
    "experiments": Rule("nobody", why="a file of the researcher's"),
    "studies": Rule("nobody", why="the study itself"),
    "study_exports": Rule("nobody", why="counts"),
}
RULES = STUDY_RULES | chat_rights.RULES


async def erase(
    connection: AsyncConnection, pseudonyms: Sequence[str], *, standing: bool
) -> list[str]:
    """Delete what the study holds of these, `standing` rows too if so; return the pictures' names."""
    if not pseudonyms:
        return []
    mine = sa.select(t.InteractionRow.id).where(t.InteractionRow.pseudonym.in_(pseudonyms))
    files: list[str] = []
    pictures = t.StudyPictureRow.media, t.StudyPictureRow.pseudonym
    for media, person in (pictures, (ItemRow.media, ItemRow.author)):
        drawn = await connection.scalars(sa.select(media).where(person.in_(pseudonyms)))
        files += [name for name in drawn if name]
    await _part(connection, mine)
    rated = sa.select(Exposure.id).where(Exposure.item.in_(mine))  # by annotators
    said = QuestionnaireAnswer.about.in_(rated)
    await connection.execute(sa.delete(QuestionnaireAnswer).where(said))
    about = t.StudyRatingRow.interaction_id, t.StudyEventRow.interaction_id, Exposure.item
    for column in about:
        await connection.execute(sa.delete(column.class_).where(column.in_(mine)))
    await leave(connection, pseudonyms)
    await _count_units(connection, pseudonyms)
    for rule in STUDY_RULES.values():
        if rule.by == "pseudonym" and (standing or not rule.standing):
            table = rule.column.class_
            await connection.execute(sa.delete(table).where(rule.column.in_(pseudonyms)))
    return files


def stone_of(study: str) -> str:
    """Name a study among the tombstones, where its stone stands for all of it."""
    return hashlib.sha256(f"study {study}".encode()).hexdigest()


def of_study(schema: sa.MetaData, study: str) -> list[tuple[sa.Table, sa.ColumnElement[bool]]]:
    """List each table with the condition for a study's rows in it, those that point at others first."""
    tables = [schema.tables[name] for name in STUDY_RULES if name in schema.tables]
    return [(table, table.c.study == study) for table in tables if "study" in table.c]


async def erase_study(connection: AsyncConnection, stone: str, now: float) -> list[str]:
    """Erase the study that the tombstone is of, if any, but that it was; return the pictures' names."""
    row, files = t.InteractionRow, list[str]()
    known = await connection.scalars(sa.select(t.StudyRow.id))
    for study in [one for one in known if stone_of(one) == stone]:
        for media in (t.StudyPictureRow.media, ItemRow.media):
            drawn = sa.select(media).where(media.class_.study == study, media.is_not(None))
            files += await connection.scalars(drawn)
        mine = sa.select(row.id).where(row.study == study)
        await connection.execute(sa.update(row).where(row.parent.in_(mine)).values(parent=None))
        await connection.run_sync(partial(delete_study, study))
        await connection.execute(t.set_once(t.StudyRow.key_destroyed_at, now, study))
    return files


def delete_study(study: str, connection: sa.Connection) -> None:
    """Delete a study's rows from whatever schema is there: a copy may have an older one."""
    schema = sa.MetaData()
    schema.reflect(connection)
    for table, own in of_study(schema, study):
        connection.execute(sa.delete(table).where(own))


async def _count_units(connection: AsyncConnection, pseudonyms: Sequence[str]) -> None:
    """Keep how many units of which arm go, and nothing of whose they were."""
    arms = sa.select(Enrolment.study, Enrolment.experiment, Enrolment.arm)
    theirs = Enrolment.pseudonym.in_(pseudonyms)
    gone = await connection.execute(arms.where(theirs).with_for_update())  # each counted once
    found: dict[tuple[str, str], Counter[str]] = {}
    for study, name, arm in gone:
        found.setdefault((study, name), Counter())[arm] += 1
    for (study, name), counts in sorted(found.items()):
        mine = ExperimentRow.study == study, ExperimentRow.id == name
        query = sa.select(ExperimentRow.erased).where(*mine).with_for_update()
        before = Counter(await connection.scalar(query) or {})
        values = {"erased": dict(sorted((before + counts).items()))}
        await connection.execute(sa.update(ExperimentRow).where(*mine).values(values))


async def withdrawn(connection: AsyncConnection, pseudonym: str) -> None:
    """Unlink what others wrote on from this person's answers, and blank the person's words in it."""
    mine = sa.select(t.InteractionRow.id).where(t.InteractionRow.pseudonym == pseudonym)
    await _part(connection, mine, but_of=pseudonym)


async def _part(connection: AsyncConnection, mine: sa.Select[str], but_of: str = "") -> None:
    """Blank and unlink in what goes on from these interactions; `but_of`: not in theirs."""
    row, found = t.InteractionRow, list(await connection.scalars(mine))
    await cut_off_interactions(connection, found, but_of=but_of)
    for chunk in chunks(found):
        children = row.parent.in_(chunk), row.pseudonym != but_of
        await connection.execute(sa.update(row).where(*children).values(parent=None))


async def held(
    connection: AsyncConnection, pseudonyms: Sequence[str], lookup: str
) -> dict[str, list[dict[str, Any]]]:
    """Collect every row that is about a person, by table; the tables without any are left out."""
    asked = sa.select(RequestRow.id).join(Asker, Asker.id == RequestRow.asker_id)
    asked = asked.where(Asker.lookup == lookup)
    jobs = sa.select(JobRow.id).where(JobRow.request_id.in_(asked))
    found: dict[str, list[dict[str, Any]]] = {}
    for name, rule in RULES.items():
        if rule.by == "nobody":
            continue
        theirs: dict[str, Any] = {"pseudonym": pseudonyms, "lookup": [lookup], "request": jobs}
        among = asked if name == "requests" else theirs[rule.by]
        query = sa.select(rule.column.class_.__table__).where(rule.column.in_(among))
        rows = [dict(row) for row in (await connection.execute(query)).mappings()]
        if rows:
            found[name] = rows
    return found


async def pseudonyms_tied_to(connection: AsyncConnection, lookup: str) -> list[str]:
    query = (
        sa.select(t.InteractionRow.pseudonym)
        .join(JobRow, JobRow.id == t.InteractionRow.job_id)
        .join(RequestRow, RequestRow.id == JobRow.request_id)
        .join(Asker, Asker.id == RequestRow.asker_id)
        .where(Asker.lookup == lookup)
    )
    return list(await connection.scalars(query.distinct()))
