"""Who judged what is let go of in time; why moderation said no is sealed; a private chat has its person.

The reasons of older verdicts stood unsealed: they go, and verdicts on self-harm go whole.
"""

import sqlalchemy as sa
from alembic import op

from engine.vault import Sealed

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

LOOKUP = sa.String(64)
PEOPLE = (("verdicts", "asker"), ("ratings", "rater"), ("reports", "reporter"))


def upgrade() -> None:
    op.execute("DELETE FROM verdicts WHERE CAST(reasons AS VARCHAR) LIKE '%self_harm%'")
    for table, person in PEOPLE:
        with op.batch_alter_table(table) as batch:
            batch.alter_column(person, existing_type=LOOKUP, nullable=True)
            if table == "verdicts":
                batch.drop_column("reasons")
    op.add_column("verdicts", sa.Column("reasons", Sealed("verdicts.reasons")))
    op.add_column("places", sa.Column("owner", LOOKUP))
    op.create_index("ix_requests_parent", "requests", ["parent"])


def downgrade() -> None:
    op.drop_index("ix_requests_parent", "requests")
    op.drop_column("places", "owner")
    op.drop_column("verdicts", "reasons")
    op.add_column("verdicts", sa.Column("reasons", sa.JSON, nullable=False, server_default="{}"))
    for table, person in PEOPLE:
        op.execute(f"DELETE FROM {table} WHERE {person} IS NULL")  # noqa: S608 - names of ours
        with op.batch_alter_table(table) as batch:
            batch.alter_column(person, existing_type=LOOKUP, nullable=False)
