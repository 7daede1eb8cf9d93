"""How many units of each arm of an experiment were erased: a count, of nobody any more."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("experiments", sa.Column("erased", sa.JSON))


def downgrade() -> None:
    with op.batch_alter_table("experiments") as batch:
        batch.drop_column("erased")
