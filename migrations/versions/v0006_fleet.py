"""Many bots and workers on one Postgres."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("sender", sa.String(40)))


def downgrade() -> None:
    op.drop_column("deliveries", "sender")
