"""The tables of what clients share. People and places stand in them by their keyed lookups only."""

from sqlalchemy import JSON, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from engine.ledger.tables import Id, Table
from engine.vault import Sealed

Lookup = String(64)


class BucketRow(Table):
    """What an asker or a place may still spend: `left` at the time `at`."""

    __tablename__ = "buckets"
    lookup: Mapped[str] = mapped_column(Lookup, primary_key=True)
    left: Mapped[float]
    at: Mapped[float]


class PlaceRow(Table):
    """A place's own settings, made by those who manage it; `owner` is the person of a chat of two,
    or the group of a topic, with which they go."""

    __tablename__ = "places"
    lookup: Mapped[str] = mapped_column(Lookup, primary_key=True)
    platform: Mapped[str] = mapped_column(String(16))
    style: Mapped[str | None] = mapped_column(Sealed("places.style"))
    talk_on: Mapped[bool]
    changed_at: Mapped[float]
    owner: Mapped[str | None] = mapped_column(Lookup)


class BlockRow(Table):
    """An asker, place or server that is kept out ("deny") or, if any is named, let in ("allow")."""

    __tablename__ = "blocks"
    lookup: Mapped[str] = mapped_column(Lookup, primary_key=True)
    platform: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(8))
    action: Mapped[str] = mapped_column(String(8))
    at: Mapped[float]


class Rating(Table):
    """One person's thumb for an answer; a later one replaces it. Whose it was is let go in time."""

    __tablename__ = "ratings"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str] = mapped_column(Id, index=True)
    rater: Mapped[str | None] = mapped_column(Lookup, index=True)
    value: Mapped[int]
    at: Mapped[float]

    __table_args__ = (UniqueConstraint("job_id", "rater", name="uq_ratings"),)


class Report(Table):
    """Somebody found an answer wrong to have been given. Who, and why, is let go in time."""

    __tablename__ = "reports"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str | None] = mapped_column(Id, index=True)
    reporter: Mapped[str | None] = mapped_column(Lookup, index=True)
    reason: Mapped[str | None] = mapped_column(Sealed("reports.reason"))
    at: Mapped[float]


class VerdictRow(Table):
    """What moderation said at one stage; a refused request has no job. After the words' time nothing
    leads from it to anybody. `reasons` is JSON."""

    __tablename__ = "verdicts"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str | None] = mapped_column(Id, index=True)
    asker: Mapped[str | None] = mapped_column(Lookup, index=True)
    stage: Mapped[str] = mapped_column(String(16))
    action: Mapped[str] = mapped_column(String(8))
    provider: Mapped[str] = mapped_column(String(32))
    version: Mapped[str] = mapped_column(String(16))
    milliseconds: Mapped[float]
    at: Mapped[float]
    reasons: Mapped[str | None] = mapped_column(Sealed("verdicts.reasons"))


class SwitchRow(Table):
    """What an operator has switched, for all processes."""

    __tablename__ = "switches"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(String(64))
    at: Mapped[float]


class SeenRow(Table):
    """An update that has been taken; the same one again is dropped."""

    __tablename__ = "seen"
    platform: Mapped[str] = mapped_column(String(16), primary_key=True)
    update: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[float] = mapped_column(index=True)


class MessageRow(Table):
    """Which answer a message of ours holds, for replies to it."""

    __tablename__ = "messages"
    lookup: Mapped[str] = mapped_column(Lookup, primary_key=True)
    job_id: Mapped[str] = mapped_column(Id, index=True)
    at: Mapped[float]


class Tombstone(Table):
    """Somebody was forgotten: what an older backup brings back of them goes again."""

    __tablename__ = "tombstones"
    lookup: Mapped[str] = mapped_column(Lookup, primary_key=True)
    at: Mapped[float]


class RetentionRow(Table):
    """One round of retention, and how much it took of what."""

    __tablename__ = "retention_runs"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    at: Mapped[float] = mapped_column(index=True)
    dry_run: Mapped[bool]
    counts: Mapped[dict[str, int]] = mapped_column(JSON)
