"""Askers, requests, jobs, outputs, deliveries: every text column sealed from the start."""

import sqlalchemy as sa
from alembic import op

from engine.vault import Sealed

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.String(26)


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("value", Sealed("meta.value")),
    )
    op.create_table(
        "askers",
        sa.Column("id", ID, primary_key=True),
        sa.Column("lookup", sa.String(64), nullable=False, unique=True),
        sa.Column("platform", sa.String(16), nullable=False),
        sa.Column("platform_id", Sealed("askers.platform_id"), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_table(
        "requests",
        sa.Column("id", ID, primary_key=True),
        sa.Column("asker_id", ID, sa.ForeignKey("askers.id"), nullable=False, index=True),
        sa.Column("command", sa.String(32), nullable=False),
        sa.Column("platform", sa.String(16), nullable=False),
        sa.Column("place", Sealed("requests.place"), nullable=False),
        sa.Column("place_lookup", sa.String(64), nullable=False),
        sa.Column("conversation", ID),
        sa.Column("parent", ID, sa.ForeignKey("requests.id")),
        sa.Column("typed", Sealed("requests.typed")),
        sa.Column("text", Sealed("requests.text")),
        sa.Column("beginning", Sealed("requests.beginning")),
        sa.Column("style", Sealed("requests.style")),
        sa.Column("length", sa.Integer),
        sa.Column("seed", sa.Integer),
        sa.Column("rule", sa.String(16), nullable=False),
        sa.Column("route", Sealed("requests.route")),
        sa.Column("router_version", sa.String(16), nullable=False),
        sa.Column("accepted_at", sa.Double, nullable=False),
    )
    op.create_index("ix_requests_last", "requests", ["asker_id", "place_lookup", "accepted_at"])
    op.create_table(
        "jobs",
        sa.Column("id", ID, primary_key=True),
        sa.Column("request_id", ID, sa.ForeignKey("requests.id"), nullable=False, index=True),
        sa.Column("expert", sa.String(32), nullable=False),
        sa.Column("medium", sa.String(8), nullable=False),
        sa.Column("state", sa.String(12), nullable=False, index=True),
        sa.Column("prompt", Sealed("jobs.prompt")),
        sa.Column("head", sa.Integer, nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("sampling", sa.JSON, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("deaths_alone", sa.Integer, nullable=False),
        sa.Column("alone", sa.Boolean, nullable=False),
        sa.Column("base_digest", sa.String(80)),
        sa.Column("adapter_digest", sa.String(80)),
        sa.Column("accepted_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("first_token_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("tokens_in", sa.Integer),
        sa.Column("tokens_out", sa.Integer),
        sa.Column("error", Sealed("jobs.error")),
    )
    op.create_table(
        "outputs",
        sa.Column("id", ID, primary_key=True),
        sa.Column("job_id", ID, sa.ForeignKey("jobs.id"), nullable=False, unique=True),
        sa.Column("text", Sealed("outputs.text")),
        sa.Column("notes", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", ID, primary_key=True),
        sa.Column("job_id", ID, sa.ForeignKey("jobs.id"), nullable=False, index=True),
        sa.Column("address", Sealed("deliveries.address")),
        sa.Column("idempotency_key", sa.String(64), nullable=False, unique=True),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("delivered_at", sa.Double),
    )


def downgrade() -> None:
    for table in ("deliveries", "outputs", "jobs", "requests", "askers", "meta"):
        op.drop_table(table)
