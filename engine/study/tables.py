"""The study's own tables. A person stands in them by a pseudonym only, a place likewise.

Nothing here holds a platform's id, the ledger's lookup or an asker's row; `job_id` leads to the
operational record and is cleared when that is blanked. What a person typed or was answered is sealed.
Numbered rows (`consents`, `study_places`) are in the order in which they were written, whatever the
clock said. Times are UTC seconds since 1970.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from engine.ledger.tables import Id, State, Table
from engine.vault import Sealed

Study = String(32)
Pseudonym = String(32)  # 128 bits, in hex
Digest = String(64)  # SHA-256, in hex


def set_once(column: Any, value: object, name: str) -> sa.Update:
    """Set a column of the row of that name, unless it is set: the first word stands."""
    table = column.class_
    return sa.update(table).where(table.id == name, column.is_(None)).values({column.key: value})


class OfStudy:
    """Give each row a name of its own, and the study that it is of: its first columns."""

    id: Mapped[str] = mapped_column(Id, primary_key=True, sort_order=-2)
    study: Mapped[str] = mapped_column(Study, sort_order=-1)


class StudyRow(Table):
    """A study that was opened here; `key_check` tells whether a key is its own."""

    __tablename__ = "studies"
    id: Mapped[str] = mapped_column(Study, primary_key=True)
    opened_at: Mapped[float]
    key_check: Mapped[str] = mapped_column(String(32))
    key_destroyed_at: Mapped[float | None]
    closed_at: Mapped[float | None]


class ConsentRow(Table):
    """What somebody agreed to, or that they withdrew. Only ever added to; the last one counts.

    `form` is the question that was answered, so that answering twice makes one row.
    """

    __tablename__ = "consents"
    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(Study)
    pseudonym: Mapped[str] = mapped_column(Pseudonym, index=True)
    action: Mapped[str] = mapped_column(State)
    use: Mapped[bool]
    excerpts: Mapped[bool]
    linkage: Mapped[bool]
    adult: Mapped[bool]
    text_version: Mapped[str] = mapped_column(String(16))
    text_sha256: Mapped[str] = mapped_column(Digest)
    locale: Mapped[str] = mapped_column(String(8))
    platform: Mapped[str] = mapped_column(String(16))
    channel: Mapped[str] = mapped_column(String(16))
    form: Mapped[str | None] = mapped_column(Id, unique=True)
    at: Mapped[float]


class StudyPlaceRow(Table):
    """A group or server came in ("on") or went out ("off", "left"). Only added to; the last counts."""

    __tablename__ = "study_places"
    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(Study)
    place: Mapped[str] = mapped_column(Pseudonym, index=True)
    platform: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(8))
    action: Mapped[str] = mapped_column(String(8))
    at: Mapped[float]


class InvitationRow(Table):
    """When somebody was last invited, and what came of it. Operational: by the keyed lookup."""

    __tablename__ = "invitations"
    lookup: Mapped[str] = mapped_column(Digest, primary_key=True)
    study: Mapped[str] = mapped_column(Study, primary_key=True)
    outcome: Mapped[str] = mapped_column(State)
    at: Mapped[float]


# of an interaction: columns whose words may be taken from the request that it takes up
BORROWED = ("text", "beginning", "style", "drawing", "route", "prompt", "notes")


class InteractionRow(OfStudy, Table):
    """One request with its answer, accepted while consent, place and age all held.

    `state` is the job's, or "refused" for a request that moderation stopped.
    """

    __tablename__ = "interactions"
    pseudonym: Mapped[str] = mapped_column(Pseudonym, index=True)
    consent_id: Mapped[int] = mapped_column(ForeignKey("consents.id"))
    session: Mapped[str] = mapped_column(Id)
    platform: Mapped[str] = mapped_column(String(16))
    place: Mapped[str] = mapped_column(Pseudonym)
    private: Mapped[bool]
    job_id: Mapped[str | None] = mapped_column(Id, index=True)
    parent: Mapped[str | None] = mapped_column(Id, index=True)
    command: Mapped[str] = mapped_column(String(32))
    typed: Mapped[str | None] = mapped_column(Sealed("interactions.typed"))
    text: Mapped[str | None] = mapped_column(Sealed("interactions.text"))
    beginning: Mapped[str | None] = mapped_column(Sealed("interactions.beginning"))
    style: Mapped[str | None] = mapped_column(Sealed("interactions.style"))
    rule: Mapped[str] = mapped_column(String(16))
    route: Mapped[str | None] = mapped_column(Sealed("interactions.route"))
    router_version: Mapped[str] = mapped_column(String(16))
    expert: Mapped[str] = mapped_column(String(32))
    medium: Mapped[str] = mapped_column(String(8))
    plain: Mapped[bool]
    experiment: Mapped[str | None] = mapped_column(String(40))
    arm: Mapped[str | None] = mapped_column(String(40))
    base_digest: Mapped[str | None] = mapped_column(String(80))
    adapter_digest: Mapped[str | None] = mapped_column(String(80))
    sampling: Mapped[dict[str, Any]] = mapped_column(JSON)
    prompt: Mapped[str | None] = mapped_column(Sealed("interactions.prompt"))
    length: Mapped[int | None]
    seed: Mapped[int | None]
    drawing: Mapped[str | None] = mapped_column(Sealed("interactions.drawing"))
    accepted_at: Mapped[float]
    started_at: Mapped[float | None]
    first_token_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    delivered_at: Mapped[float | None]
    hidden_at: Mapped[float | None]
    state: Mapped[str] = mapped_column(State)
    tokens_in: Mapped[int | None]
    tokens_out: Mapped[int | None]
    output: Mapped[str | None] = mapped_column(Sealed("interactions.output"))
    notes: Mapped[str | None] = mapped_column(Sealed("interactions.notes"))
    moderation: Mapped[list[dict[str, Any]]] = mapped_column(JSON)


class StudyPictureRow(OfStudy, Table):
    """A picture of an interaction; the media store keeps the file as long as a row here names it."""

    __tablename__ = "study_pictures"
    pseudonym: Mapped[str] = mapped_column(Pseudonym, index=True)
    interaction_id: Mapped[str] = mapped_column(ForeignKey("interactions.id"), index=True)
    number: Mapped[int]
    media: Mapped[str] = mapped_column(String(64), index=True)
    width: Mapped[int]
    height: Mapped[int]
    seed: Mapped[int]


class StudyRatingRow(OfStudy, Table):
    """A thumb for an interaction's answer. Only ever added to; a person's last one counts."""

    __tablename__ = "study_ratings"
    pseudonym: Mapped[str] = mapped_column(Pseudonym, index=True)
    interaction_id: Mapped[str] = mapped_column(ForeignKey("interactions.id"), index=True)
    value: Mapped[int]
    reason: Mapped[str | None] = mapped_column(Sealed("study_ratings.reason"))
    at: Mapped[float]


class StudyEventRow(OfStudy, Table):
    """Something done besides writing: a press, a cancel, an abandonment. `detail` holds no words."""

    __tablename__ = "study_events"
    pseudonym: Mapped[str] = mapped_column(Pseudonym, index=True)
    interaction_id: Mapped[str | None] = mapped_column(ForeignKey("interactions.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[float]


class LinkCodeRow(Table):
    """A one-time code, by its keyed hash, that will join another account to this one."""

    __tablename__ = "link_codes"
    code_hash: Mapped[str] = mapped_column(Digest, primary_key=True)
    study: Mapped[str] = mapped_column(Study)
    pseudonym: Mapped[str] = mapped_column(Pseudonym, index=True)
    expires_at: Mapped[float]
    used_at: Mapped[float | None]


class StudyLinkRow(Table):
    """Two accounts of one person, who said so on both: `pseudonym` belongs with `root`."""

    __tablename__ = "study_links"
    pseudonym: Mapped[str] = mapped_column(Pseudonym, primary_key=True)
    study: Mapped[str] = mapped_column(Study)
    root: Mapped[str] = mapped_column(Pseudonym, index=True)
    at: Mapped[float]


class ExportRow(OfStudy, Table):
    """An export that was made: when, how much, and the digest of its manifest."""

    __tablename__ = "study_exports"
    at: Mapped[float]
    rows: Mapped[int]
    manifest_sha256: Mapped[str] = mapped_column(Digest)
