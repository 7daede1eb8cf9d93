"""Whether a request was asked in a chat of two, whose place is as good as its person's name."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("requests", sa.Column("alone", sa.Boolean))


def downgrade() -> None:
    with op.batch_alter_table("requests") as batch:
        batch.drop_column("alone")
