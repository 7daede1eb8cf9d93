"""Pictures: what was asked of them, how they are drawn, and where they lie."""

import sqlalchemy as sa
from alembic import op

from engine.vault import Sealed

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.String(26)
SEED = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("requests", sa.Column("drawing", Sealed("requests.drawing")))
    op.add_column("jobs", sa.Column("drawing", Sealed("jobs.drawing")))
    op.create_table(
        "pictures",
        sa.Column("id", ID, primary_key=True),
        sa.Column("job_id", ID, sa.ForeignKey("jobs.id"), nullable=False, index=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("media", sa.String(64), index=True),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("seed", SEED, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("pictures")
    op.drop_column("jobs", "drawing")
    op.drop_column("requests", "drawing")
