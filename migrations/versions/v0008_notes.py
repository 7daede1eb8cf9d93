"""Notes on an answer may quote what was asked: they are sealed. The older ones, which were not, go."""

import sqlalchemy as sa
from alembic import op

from engine.vault import Sealed

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLES = ("outputs", "interactions")


def upgrade() -> None:
    for table in TABLES:
        with op.batch_alter_table(table) as batch:
            batch.drop_column("notes")
        op.add_column(table, sa.Column("notes", Sealed(f"{table}.notes")))


def downgrade() -> None:
    for table in TABLES:
        with op.batch_alter_table(table) as batch:
            batch.drop_column("notes")
        op.add_column(
            table, sa.Column("notes", sa.JSON, nullable=False, server_default=sa.text("'[]'"))
        )
