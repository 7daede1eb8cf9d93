"""Many bots and workers on one Postgres: who sends an answer, and the queue's tables.

It once made the tables of Procrastinate 3.10 too, which 0010 drops where they are.
"""

import sqlalchemy as sa
from alembic import op

from engine.vault import Sealed

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.String(26)


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("sender", sa.String(40)))
    op.create_index("ix_deliveries_state", "deliveries", ["state"])
    op.create_table(
        "tickets",
        sa.Column("job_id", ID, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False, unique=True),
        sa.Column("queue", sa.String(128), nullable=False),
        sa.Column("asker", sa.String(64), nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("worker", sa.BigInteger, index=True),
        sa.Column("reply_to", sa.String(40)),
        sa.Column("cancelled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("ix_tickets_turn", "tickets", ["queue", "asker", "turn"])
    op.create_table(
        "workers",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("station", ID, nullable=False),
        sa.Column("host", sa.String(64), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("medium", sa.String(8), nullable=False),
        sa.Column("queues", sa.JSON, nullable=False),
        sa.Column("kit", sa.JSON, nullable=False),
        sa.Column("version", sa.String(40), nullable=False),
        sa.Column("slots", sa.Integer, nullable=False),
        sa.Column("running", sa.Integer, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("reason", sa.String(500)),
        sa.Column("seen_at", sa.Double, nullable=False),
    )
    op.create_table(
        "progress",
        sa.Column("job_id", ID, sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("event", Sealed("progress.event"), nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("holder", sa.String(80), nullable=False),
        sa.Column("until", sa.Double, nullable=False),
    )
    op.create_table(
        "discards",
        sa.Column("media", sa.String(64), primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    for table in ("discards", "leases", "progress", "workers", "tickets"):
        op.drop_table(table)
    op.drop_index("ix_deliveries_state", "deliveries")
    op.drop_column("deliveries", "sender")
