"""The tables of the queue on PostgreSQL. On SQLite they are there and stay empty.

Nothing in them could tell what somebody asked: the job's row has that, sealed. Times are UTC seconds
since 1970 by the database's clock, so that no machine's own clock matters.
"""

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Identity, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from engine.ledger.tables import Id, Table
from engine.vault import Sealed


class Ticket(Table):
    """An unfinished job in its queue; it goes with the final answer, or with the job's row.

    `worker` is the number of the worker that has it (none: it waits), `reply_to` the channel of the
    process that follows it. The lowest `rank` comes next; `turn` is its asker's (see `claims`).
    """

    __tablename__ = "tickets"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    queue: Mapped[str] = mapped_column(String(128))
    asker: Mapped[str] = mapped_column(String(64))
    turn: Mapped[int]
    rank: Mapped[float]
    worker: Mapped[int | None] = mapped_column(BigInteger, index=True)
    reply_to: Mapped[str | None] = mapped_column(String(40))
    cancelled: Mapped[bool]
    created_at: Mapped[float]

    __table_args__ = (
        Index("ix_tickets_turn", "queue", "asker", "turn"),
        Index("ix_tickets_rank", "rank", "job_id"),
    )


class WorkerRow(Table):
    """A worker that announced itself: what it serves with which weights, in the process of which worker
    host, and its last sign of life. No other worker ever has its `number`."""

    __tablename__ = "workers"
    number: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    worker_host: Mapped[str] = mapped_column("station", Id, key="worker_host")
    host: Mapped[str] = mapped_column(String(64))
    pid: Mapped[int]
    medium: Mapped[str] = mapped_column(String(8))
    queues: Mapped[list[str]] = mapped_column(JSON)
    weights: Mapped[dict[str, Any]] = mapped_column("kit", JSON, key="weights")
    version: Mapped[str] = mapped_column(String(40))
    slots: Mapped[int]
    running: Mapped[int]
    state: Mapped[str] = mapped_column(String(12))
    reason: Mapped[str | None] = mapped_column(String(500))
    seen_at: Mapped[float]


class ProgressRow(Table):
    """The newest event of a running job that is too long for a notification: a long text, a preview."""

    __tablename__ = "progress"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int]
    event: Mapped[str] = mapped_column(Sealed("progress.event"))
