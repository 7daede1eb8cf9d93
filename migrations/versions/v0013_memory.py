"""What a story is to keep in mind: a request's notes and synopsis, and how much of a prompt they are."""

import sqlalchemy as sa
from alembic import op

from engine.vault import Sealed

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

PARTS = ("recalled", "noted")


def upgrade() -> None:
    op.add_column("requests", sa.Column("memory", Sealed("requests.memory")))
    for name in PARTS:
        none = sa.Column(name, sa.Integer, nullable=False, server_default=sa.text("0"))
        op.add_column("jobs", none)


def downgrade() -> None:
    for table, names in (("requests", ("memory",)), ("jobs", PARTS)):
        with op.batch_alter_table(table) as batch:
            for name in names:
                batch.drop_column(name)
