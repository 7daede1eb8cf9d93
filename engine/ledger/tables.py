"""The ledger's tables. Everything that a person typed, or that could name one, is sealed.

`migrations/` makes them; a test holds the two together. Times are UTC seconds since 1970.
"""

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from engine.vault import Sealed

Id = String(26)  # a ULID: sorts by time
State = String(12)
Seed = BigInteger().with_variant(Integer, "sqlite")  # counts up from a job's, which has 31 bits


class Table(DeclarativeBase):
    """All tables share one metadata."""

    type_annotation_map: ClassVar = {float: Double}


class Meta(Table):
    """Facts about the ledger itself; `key_check` opens only with the right key."""

    __tablename__ = "meta"
    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[str | None] = mapped_column(Sealed("meta.value"))


class Asker(Table):
    """A person on one platform. `lookup` is keyed; the platform's own id is sealed."""

    __tablename__ = "askers"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    lookup: Mapped[str] = mapped_column(String(64), unique=True)
    platform: Mapped[str] = mapped_column(String(16))
    platform_id: Mapped[str] = mapped_column(Sealed("askers.platform_id"))
    created_at: Mapped[float]


class RequestRow(Table):
    """What was asked, as typed, and how it was routed."""

    __tablename__ = "requests"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    asker_id: Mapped[str] = mapped_column(ForeignKey("askers.id"), index=True)
    command: Mapped[str] = mapped_column(String(32))
    platform: Mapped[str] = mapped_column(String(16))
    place: Mapped[str] = mapped_column(Sealed("requests.place"))
    place_lookup: Mapped[str] = mapped_column(String(64))
    alone: Mapped[bool | None]
    conversation: Mapped[str | None] = mapped_column(Id)
    parent: Mapped[str | None] = mapped_column(ForeignKey("requests.id"), index=True)
    typed: Mapped[str | None] = mapped_column(Sealed("requests.typed"))
    text: Mapped[str | None] = mapped_column(Sealed("requests.text"))
    beginning: Mapped[str | None] = mapped_column(Sealed("requests.beginning"))
    style: Mapped[str | None] = mapped_column(Sealed("requests.style"))
    length: Mapped[int | None]
    seed: Mapped[int | None]
    drawing: Mapped[str | None] = mapped_column(Sealed("requests.drawing"))
    memory: Mapped[str | None] = mapped_column(Sealed("requests.memory"))
    rule: Mapped[str] = mapped_column(String(16))
    route: Mapped[str | None] = mapped_column(Sealed("requests.route"))
    router_version: Mapped[str] = mapped_column(String(16))
    private: Mapped[bool]
    accepted_at: Mapped[float]

    __table_args__ = (Index("ix_requests_last", "asker_id", "place_lookup", "accepted_at"),)


class JobRow(Table):
    """One run of one expert. A request may have several (arms, seeds)."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), index=True)
    expert: Mapped[str] = mapped_column(String(32))
    medium: Mapped[str] = mapped_column(String(8))
    state: Mapped[str] = mapped_column(State, index=True)
    prompt: Mapped[str | None] = mapped_column(Sealed("jobs.prompt"))
    head: Mapped[int]
    recalled: Mapped[int]
    noted: Mapped[int]
    length: Mapped[int]
    seed: Mapped[int]
    sampling: Mapped[dict[str, Any]] = mapped_column(JSON)
    drawing: Mapped[str | None] = mapped_column(Sealed("jobs.drawing"))
    plain: Mapped[bool]
    attempt: Mapped[int]
    deaths_alone: Mapped[int]
    alone: Mapped[bool]
    base_digest: Mapped[str | None] = mapped_column(String(80))
    adapter_digest: Mapped[str | None] = mapped_column(String(80))
    accepted_at: Mapped[float]
    started_at: Mapped[float | None]
    first_token_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    tokens_in: Mapped[int | None]
    tokens_out: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Sealed("jobs.error"))


class Output(Table):
    """What an expert made; at most one for a job. `notes` is JSON, and may quote what was asked."""

    __tablename__ = "outputs"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    text: Mapped[str | None] = mapped_column(Sealed("outputs.text"))
    notes: Mapped[str | None] = mapped_column(Sealed("outputs.notes"))
    created_at: Mapped[float]


class PictureRow(Table):
    """One picture of an answer; the bytes lie sealed in the media store under `media`.

    Blanking clears `media`; seed and size stay.
    """

    __tablename__ = "pictures"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    number: Mapped[int]
    media: Mapped[str | None] = mapped_column(String(64), index=True)
    width: Mapped[int]
    height: Mapped[int]
    seed: Mapped[int] = mapped_column(Seed)
    created_at: Mapped[float]


class Delivery(Table):
    """The debt of an answer to the place that asked; its key keeps a resend from doubling it.

    Written in the job's own transaction as "owed"; "sending" while it goes out, so that a crash then
    leaves a mark ("unsure" at the next start); "delivered" when a client has shown it; "lost" when
    there is nobody to show it to. An owed one is tried again at `due_at`.
    """

    __tablename__ = "deliveries"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    address: Mapped[str | None] = mapped_column(Sealed("deliveries.address"))
    idempotency_key: Mapped[str] = mapped_column(String(64), unique=True)
    state: Mapped[str] = mapped_column(State, index=True)
    created_at: Mapped[float]
    delivered_at: Mapped[float | None]
    due_at: Mapped[float | None]
    tries: Mapped[int]
    sender: Mapped[str | None] = mapped_column(String(40))


class Discard(Table):
    """A picture that is to go, and that its store has not let go of yet."""

    __tablename__ = "discards"
    media: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[float]


class Lease(Table):
    """What one process at a time may do: who does it, and until when unless it says so again."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(80))
    until: Mapped[float]
