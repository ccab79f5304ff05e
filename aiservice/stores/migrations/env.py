"""Run by Alembic, never imported: applies the revisions over the connection that `migrate` hands in."""

from alembic import context

from aiservice.stores.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter a column in place; Alembic then copies the table.
    render_as_batch=True,
    # The connection begins its transactions itself, so that SQLite rolls back a revision that fails half-way.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
