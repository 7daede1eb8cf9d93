"""Runs Alembic on the connection that engine.ledger.storage hands it, inside its transaction."""

from alembic import context

from engine.ledger.tables import Table

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Table.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
