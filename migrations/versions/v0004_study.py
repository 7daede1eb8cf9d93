"""The study: consent, places, interactions, and what hangs on them."""

import sqlalchemy as sa
from alembic import op

from engine.vault import Sealed

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.String(26)
PSEUDONYM = sa.String(32)
DIGEST = sa.String(64)


def upgrade() -> None:
    op.create_table(
        "studies",
        sa.Column("id", PSEUDONYM, primary_key=True),
        sa.Column("opened_at", sa.Double, nullable=False),
        sa.Column("key_check", PSEUDONYM, nullable=False),
        sa.Column("key_destroyed_at", sa.Double),
    )
    op.create_table(
        "consents",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study", PSEUDONYM, nullable=False),
        sa.Column("pseudonym", PSEUDONYM, nullable=False, index=True),
        sa.Column("action", sa.String(12), nullable=False),
        sa.Column("use", sa.Boolean, nullable=False),
        sa.Column("excerpts", sa.Boolean, nullable=False),
        sa.Column("linkage", sa.Boolean, nullable=False),
        sa.Column("adult", sa.Boolean, nullable=False),
        sa.Column("text_version", sa.String(16), nullable=False),
        sa.Column("text_sha256", DIGEST, nullable=False),
        sa.Column("locale", sa.String(8), nullable=False),
        sa.Column("platform", sa.String(16), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("form", ID, unique=True),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "study_places",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("study", PSEUDONYM, nullable=False),
        sa.Column("place", PSEUDONYM, nullable=False, index=True),
        sa.Column("platform", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("action", sa.String(8), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "invitations",
        sa.Column("lookup", DIGEST, primary_key=True),
        sa.Column("study", PSEUDONYM, primary_key=True),
        sa.Column("outcome", sa.String(12), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "interactions",
        sa.Column("id", ID, primary_key=True),
        sa.Column("study", PSEUDONYM, nullable=False),
        sa.Column("pseudonym", PSEUDONYM, nullable=False, index=True),
        sa.Column("consent_id", sa.Integer, sa.ForeignKey("consents.id"), nullable=False),
        sa.Column("session", ID, nullable=False),
        sa.Column("platform", sa.String(16), nullable=False),
        sa.Column("place", PSEUDONYM, nullable=False),
        sa.Column("private", sa.Boolean, nullable=False),
        sa.Column("job_id", ID, index=True),
        sa.Column("parent", ID, index=True),
        sa.Column("command", PSEUDONYM, nullable=False),
        sa.Column("typed", Sealed("interactions.typed")),
        sa.Column("text", Sealed("interactions.text")),
        sa.Column("beginning", Sealed("interactions.beginning")),
        sa.Column("style", Sealed("interactions.style")),
        sa.Column("rule", sa.String(16), nullable=False),
        sa.Column("route", Sealed("interactions.route")),
        sa.Column("router_version", sa.String(16), nullable=False),
        sa.Column("expert", PSEUDONYM, nullable=False),
        sa.Column("medium", sa.String(8), nullable=False),
        sa.Column("plain", sa.Boolean, nullable=False),
        sa.Column("experiment", sa.String(40)),
        sa.Column("arm", sa.String(40)),
        sa.Column("base_digest", sa.String(80)),
        sa.Column("adapter_digest", sa.String(80)),
        sa.Column("sampling", sa.JSON, nullable=False),
        sa.Column("prompt", Sealed("interactions.prompt")),
        sa.Column("length", sa.Integer),
        sa.Column("seed", sa.Integer),
        sa.Column("drawing", Sealed("interactions.drawing")),
        sa.Column("accepted_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("first_token_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("delivered_at", sa.Double),
        sa.Column("hidden_at", sa.Double),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("tokens_in", sa.Integer),
        sa.Column("tokens_out", sa.Integer),
        sa.Column("output", Sealed("interactions.output")),
        sa.Column("notes", sa.JSON, nullable=False),
        sa.Column("moderation", sa.JSON, nullable=False),
    )
    op.create_table(
        "study_pictures",
        sa.Column("id", ID, primary_key=True),
        sa.Column("study", PSEUDONYM, nullable=False),
        sa.Column("pseudonym", PSEUDONYM, nullable=False, index=True),
        sa.Column(
            "interaction_id", ID, sa.ForeignKey("interactions.id"), nullable=False, index=True
        ),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("media", DIGEST, nullable=False, index=True),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("seed", sa.Integer, nullable=False),
    )
    op.create_table(
        "study_ratings",
        sa.Column("id", ID, primary_key=True),
        sa.Column("study", PSEUDONYM, nullable=False),
        sa.Column("pseudonym", PSEUDONYM, nullable=False, index=True),
        sa.Column(
            "interaction_id", ID, sa.ForeignKey("interactions.id"), nullable=False, index=True
        ),
        sa.Column("value", sa.Integer, nullable=False),
        sa.Column("reason", Sealed("study_ratings.reason")),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "study_events",
        sa.Column("id", ID, primary_key=True),
        sa.Column("study", PSEUDONYM, nullable=False),
        sa.Column("pseudonym", PSEUDONYM, nullable=False, index=True),
        sa.Column("interaction_id", ID, sa.ForeignKey("interactions.id"), index=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "link_codes",
        sa.Column("code_hash", DIGEST, primary_key=True),
        sa.Column("study", PSEUDONYM, nullable=False),
        sa.Column("pseudonym", PSEUDONYM, nullable=False, index=True),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("used_at", sa.Double),
    )
    op.create_table(
        "study_links",
        sa.Column("pseudonym", PSEUDONYM, primary_key=True),
        sa.Column("study", PSEUDONYM, nullable=False),
        sa.Column("root", PSEUDONYM, nullable=False, index=True),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "retention_runs",
        sa.Column("id", ID, primary_key=True),
        sa.Column("at", sa.Double, nullable=False, index=True),
        sa.Column("dry_run", sa.Boolean, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
    )
    op.create_table(
        "study_exports",
        sa.Column("id", ID, primary_key=True),
        sa.Column("study", PSEUDONYM, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("manifest_sha256", DIGEST, nullable=False),
    )


def downgrade() -> None:
    for table in (
        "study_exports",
        "retention_runs",
        "study_links",
        "link_codes",
        "study_events",
        "study_ratings",
        "study_pictures",
        "interactions",
        "invitations",
        "study_places",
        "consents",
        "studies",
    ):
        op.drop_table(table)
