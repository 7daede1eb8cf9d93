"""A place is enrolled for whoever is there: the first to speak in it has no claim to its arm."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("UPDATE enrolments SET pseudonym = NULL WHERE unit_kind = 'place'")


def downgrade() -> None:
    """Leave it: who spoke first is not on record any more."""
