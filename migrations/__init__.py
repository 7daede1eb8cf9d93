"""The ledger's schema, one version a change (Alembic)."""
