"""Second raters: whom the researcher invited, beside those who came from a panel."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    invited = sa.Column("annotator", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("panel_ids", invited)


def downgrade() -> None:
    with op.batch_alter_table("panel_ids") as batch:
        batch.drop_column("annotator")
