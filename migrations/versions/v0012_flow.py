"""Flows and stimuli: steps, strata, pools of items, typed answers and their times, panel ids, an end."""

import sqlalchemy as sa
from alembic import op

from engine.vault import Sealed

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_ADDED = (
    ("exposures", sa.Column("step", sa.String(24))),
    ("enrolments", sa.Column("stratum", sa.String(64))),
    ("experiments", sa.Column("stimuli_sha256", sa.String(64))),
    ("items", sa.Column("pool", sa.String(32), nullable=False, server_default="")),
    ("items", sa.Column("stimulus", sa.String(32))),
    ("items", sa.Column("arm", sa.String(16))),
    ("questionnaire_answers", sa.Column("words", Sealed("questionnaire_answers.words"))),
    ("questionnaire_answers", sa.Column("seconds", sa.Double)),
    ("studies", sa.Column("closed_at", sa.Double)),
)


def upgrade() -> None:
    for table, column in _ADDED:
        op.add_column(table, column)
    op.create_table(
        "panel_ids",
        sa.Column("study", sa.String(32), primary_key=True),
        sa.Column("lookup", sa.String(64), primary_key=True),
        sa.Column("pseudonym", sa.String(32), nullable=False, index=True),
        sa.Column("panel", Sealed("panel_ids.panel"), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("panel_ids")
    for table, column in reversed(_ADDED):
        with op.batch_alter_table(table) as batch:
            batch.drop_column(column.name)
