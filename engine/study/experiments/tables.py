"""The tables of the experiments, to the rules of engine.study.tables; the codebook explains columns."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, ForeignKey, Index, String, Text, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from engine.ledger.tables import Id, State, Table
from engine.study.tables import OfStudy, Pseudonym, Study
from engine.vault import Sealed

Name = String(32)


class ExperimentRow(Table):
    """An experiment as it was when its first unit was enrolled; `file` is its TOML from then on.

    `enrolled` is raised in the transaction that enrols a unit, which keeps permuted blocks whole.
    `erased` counts, by arm, the units whose rows went with a deletion: attrition without persons.
    """

    __tablename__ = "experiments"
    study: Mapped[str] = mapped_column(Study, primary_key=True)
    id: Mapped[str] = mapped_column(Name, primary_key=True)
    version_sha256: Mapped[str] = mapped_column(String(64))
    file: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(State)
    enrolled: Mapped[int]
    frozen_at: Mapped[float]
    stopped_at: Mapped[float | None]
    stop_reason: Mapped[str | None] = mapped_column(Text)
    erased: Mapped[dict[str, int] | None] = mapped_column(JSON(none_as_null=True))
    stimuli_sha256: Mapped[str | None] = mapped_column(String(64))


class Enrolment(OfStudy, Table):
    """A unit and its arm, for good; `unit` is a person's pseudonym, a place's, or one request's own."""

    __tablename__ = "enrolments"
    experiment: Mapped[str] = mapped_column(Name)
    version_sha256: Mapped[str] = mapped_column(String(64))
    unit: Mapped[str] = mapped_column(String(64))
    unit_kind: Mapped[str] = mapped_column(String(8))
    pseudonym: Mapped[str | None] = mapped_column(Pseudonym, index=True)
    arm: Mapped[str] = mapped_column(Name)
    block: Mapped[int | None]
    position: Mapped[int]
    code: Mapped[str | None] = mapped_column(String(16))
    completed_at: Mapped[float | None]
    excluded: Mapped[str | None] = mapped_column(Text)
    stratum: Mapped[str | None] = mapped_column(String(64))
    at: Mapped[float]

    __table_args__ = (UniqueConstraint("study", "experiment", "unit", name="uq_enrolments"),)


class ItemRow(Table):
    """Something to be judged; `id` follows from what it is. It is never shown to its `author`.

    `pool` is empty for the passages of /guess; else a set of stimuli, each in several arms.
    """

    __tablename__ = "items"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    study: Mapped[str] = mapped_column(Study, primary_key=True)
    kind: Mapped[str] = mapped_column(String(12))
    expert: Mapped[str] = mapped_column(Name)
    medium: Mapped[str] = mapped_column(String(8))
    text: Mapped[str | None] = mapped_column(Sealed("items.text"))
    media: Mapped[str | None] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(Text)
    licence: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64))
    author: Mapped[str | None] = mapped_column(Pseudonym, index=True)
    active: Mapped[bool]
    pool: Mapped[str] = mapped_column(Name, server_default="")
    stimulus: Mapped[str | None] = mapped_column(Name)
    arm: Mapped[str | None] = mapped_column(String(16))


class Exposure(OfStudy, Table):
    """Something shown to one person to be judged: a blinded pair, a passage to guess, one answer.

    `shown` lists what stood there in the order of showing: for a pair `[{label, arm, expert, plain,
    interaction, state, ...}]`, for a guess `[{item, kind, expert}]`. To the operational record it is
    tied by its interactions only. A single answer's exposure has its interaction's id. `step` is the
    flow's; practice is void once it is judged.
    """

    __tablename__ = "exposures"
    experiment: Mapped[str | None] = mapped_column(Name)
    pseudonym: Mapped[str] = mapped_column(Pseudonym)
    kind: Mapped[str] = mapped_column(String(12))
    item: Mapped[str | None] = mapped_column(Id)
    step: Mapped[str | None] = mapped_column(String(24))
    shown: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    seed: Mapped[int]
    position: Mapped[int]
    state: Mapped[str] = mapped_column(State)
    void_reason: Mapped[str | None] = mapped_column(String(32))
    visible: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    latency: Mapped[float | None]
    made_at: Mapped[float]
    delivered_at: Mapped[float | None]
    revealed_at: Mapped[float | None]

    __table_args__ = (
        UniqueConstraint("study", "pseudonym", "item", name="uq_exposures_item"),
        Index("ix_exposures_person", "pseudonym", "kind", "made_at"),
    )


class Vote(OfStudy, Table):
    """What somebody said of an exposure. All are kept; the last one before the reveal counts."""

    __tablename__ = "votes"
    exposure_id: Mapped[str] = mapped_column(ForeignKey("exposures.id"), index=True)
    pseudonym: Mapped[str] = mapped_column(Pseudonym, index=True)
    choice: Mapped[str] = mapped_column(String(12))
    confidence: Mapped[int | None]
    reason: Mapped[str | None] = mapped_column(Sealed("votes.reason"))
    unblinded: Mapped[bool]
    seconds: Mapped[float]
    at: Mapped[float]


def choices(*where: sa.ColumnElement[bool]) -> sa.Select[str, list[dict[str, Any]], str]:
    """Find exposures with their votes, in order: of those on the same one the last counts."""
    votes = sa.select(Exposure.id, Exposure.shown, Vote.choice).join(Vote).where(*where)
    return votes.order_by(Exposure.made_at, Exposure.id, Vote.at, Vote.id)


class QuestionnaireAnswer(OfStudy, Table):
    """One answer to one question, of which the last counts; a null `value` is "prefer not to say".

    `words` holds what was typed at a question for free text; `seconds` is from question to answer.
    """

    __tablename__ = "questionnaire_answers"
    experiment: Mapped[str] = mapped_column(Name)
    pseudonym: Mapped[str] = mapped_column(Pseudonym, index=True)
    instrument: Mapped[str] = mapped_column(String(16))
    question: Mapped[str] = mapped_column(Name)
    about: Mapped[str | None] = mapped_column(Id)
    value: Mapped[str | None] = mapped_column(Sealed("questionnaire_answers.value"))
    words: Mapped[str | None] = mapped_column(Sealed("questionnaire_answers.words"))
    seconds: Mapped[float | None]
    shown: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[float]


class PanelId(Table):
    """Who a person is to a recruitment panel: apart from the data, for paying, and in no export.

    An annotator's `panel` is the name that the researcher gave, found by the code; until somebody comes
    with it, `pseudonym` is empty.
    """

    __tablename__ = "panel_ids"
    study: Mapped[str] = mapped_column(Study, primary_key=True)
    lookup: Mapped[str] = mapped_column(String(64), primary_key=True)
    pseudonym: Mapped[str] = mapped_column(Pseudonym, index=True)
    panel: Mapped[str] = mapped_column(Sealed("panel_ids.panel"))
    annotator: Mapped[bool] = mapped_column(server_default=false())
    at: Mapped[float]
