"""The chat: quotas, debts, ratings, reports, verdicts, settings of places, blocks, tombstones."""

import sqlalchemy as sa
from alembic import op

from engine.vault import Sealed

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.String(26)
LOOKUP = sa.String(64)


def upgrade() -> None:
    op.add_column(
        "requests", sa.Column("private", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.add_column("deliveries", sa.Column("due_at", sa.Double))
    op.add_column(
        "deliveries", sa.Column("tries", sa.Integer, nullable=False, server_default=sa.text("0"))
    )
    op.create_table(
        "buckets",
        sa.Column("lookup", LOOKUP, primary_key=True),
        sa.Column("left", sa.Double, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "places",
        sa.Column("lookup", LOOKUP, primary_key=True),
        sa.Column("platform", sa.String(16), nullable=False),
        sa.Column("style", Sealed("places.style")),
        sa.Column("talk_on", sa.Boolean, nullable=False),
        sa.Column("changed_at", sa.Double, nullable=False),
    )
    op.create_table(
        "blocks",
        sa.Column("lookup", LOOKUP, primary_key=True),
        sa.Column("platform", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("action", sa.String(8), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "ratings",
        sa.Column("id", ID, primary_key=True),
        sa.Column("job_id", ID, nullable=False, index=True),
        sa.Column("rater", LOOKUP, nullable=False, index=True),
        sa.Column("value", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.UniqueConstraint("job_id", "rater", name="uq_ratings"),
    )
    op.create_table(
        "reports",
        sa.Column("id", ID, primary_key=True),
        sa.Column("job_id", ID, index=True),
        sa.Column("reporter", LOOKUP, nullable=False, index=True),
        sa.Column("reason", Sealed("reports.reason")),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "verdicts",
        sa.Column("id", ID, primary_key=True),
        sa.Column("job_id", ID, index=True),
        sa.Column("asker", LOOKUP, nullable=False, index=True),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("action", sa.String(8), nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("version", sa.String(16), nullable=False),
        sa.Column("milliseconds", sa.Double, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "switches",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.String(64), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "seen",
        sa.Column("platform", sa.String(16), primary_key=True),
        sa.Column("update", sa.String(32), primary_key=True),
        sa.Column("at", sa.Double, nullable=False, index=True),
    )
    op.create_table(
        "messages",
        sa.Column("lookup", LOOKUP, primary_key=True),
        sa.Column("job_id", ID, nullable=False, index=True),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "tombstones",
        sa.Column("lookup", LOOKUP, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    for table in (
        "tombstones", "messages", "seen", "switches", "verdicts", "reports", "ratings", "blocks",
        "places", "buckets",
    ):
        op.drop_table(table)
    op.drop_column("deliveries", "tries")
    op.drop_column("deliveries", "due_at")
    op.drop_column("requests", "private")
