"""Experiments: what was frozen, who has which arm, what was shown and said; and jobs of the base alone."""

import sqlalchemy as sa
from alembic import op

from engine.vault import Sealed

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.String(26)
STUDY = sa.String(32)
PERSON = sa.String(32)
NAME = sa.String(32)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("plain", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "experiments",
        sa.Column("study", STUDY, primary_key=True),
        sa.Column("id", NAME, primary_key=True),
        sa.Column("version_sha256", sa.String(64), nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("enrolled", sa.Integer, nullable=False),
        sa.Column("frozen_at", sa.Double, nullable=False),
        sa.Column("stopped_at", sa.Double),
        sa.Column("stop_reason", sa.Text),
    )
    op.create_table(
        "enrolments",
        sa.Column("id", ID, primary_key=True),
        sa.Column("study", STUDY, nullable=False),
        sa.Column("experiment", NAME, nullable=False),
        sa.Column("version_sha256", sa.String(64), nullable=False),
        sa.Column("unit", sa.String(64), nullable=False),
        sa.Column("unit_kind", sa.String(8), nullable=False),
        sa.Column("pseudonym", PERSON, index=True),
        sa.Column("arm", NAME, nullable=False),
        sa.Column("block", sa.Integer),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("code", sa.String(16)),
        sa.Column("completed_at", sa.Double),
        sa.Column("excluded", sa.Text),
        sa.Column("at", sa.Double, nullable=False),
        sa.UniqueConstraint("study", "experiment", "unit", name="uq_enrolments"),
    )
    op.create_table(
        "items",
        sa.Column("id", ID, primary_key=True),
        sa.Column("study", STUDY, primary_key=True),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("expert", NAME, nullable=False),
        sa.Column("medium", sa.String(8), nullable=False),
        sa.Column("text", Sealed("items.text")),
        sa.Column("media", sa.String(64)),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("licence", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("author", PERSON, index=True),
        sa.Column("active", sa.Boolean, nullable=False),
    )
    op.create_table(
        "exposures",
        sa.Column("id", ID, primary_key=True),
        sa.Column("study", STUDY, nullable=False),
        sa.Column("experiment", NAME),
        sa.Column("pseudonym", PERSON, nullable=False),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("item", ID),
        sa.Column("shown", sa.JSON, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("void_reason", sa.String(32)),
        sa.Column("visible", sa.JSON),
        sa.Column("latency", sa.Double),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("delivered_at", sa.Double),
        sa.Column("revealed_at", sa.Double),
        sa.UniqueConstraint("study", "pseudonym", "item", name="uq_exposures_item"),
    )
    op.create_index("ix_exposures_person", "exposures", ["pseudonym", "kind", "made_at"])
    op.create_table(
        "votes",
        sa.Column("id", ID, primary_key=True),
        sa.Column("study", STUDY, nullable=False),
        sa.Column("exposure_id", ID, sa.ForeignKey("exposures.id"), nullable=False, index=True),
        sa.Column("pseudonym", PERSON, nullable=False, index=True),
        sa.Column("choice", sa.String(12), nullable=False),
        sa.Column("confidence", sa.Integer),
        sa.Column("reason", Sealed("votes.reason")),
        sa.Column("unblinded", sa.Boolean, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "questionnaire_answers",
        sa.Column("id", ID, primary_key=True),
        sa.Column("study", STUDY, nullable=False),
        sa.Column("experiment", NAME, nullable=False),
        sa.Column("pseudonym", PERSON, nullable=False, index=True),
        sa.Column("instrument", sa.String(16), nullable=False),
        sa.Column("question", NAME, nullable=False),
        sa.Column("about", ID),
        sa.Column("value", Sealed("questionnaire_answers.value")),
        sa.Column("shown", sa.JSON, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    tables = ("questionnaire_answers", "votes", "exposures", "items", "enrolments", "experiments")
    for table in tables:
        op.drop_table(table)
    op.drop_column("jobs", "plain")
