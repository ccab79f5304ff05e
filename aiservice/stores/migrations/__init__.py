"""Alembic's environment and the revisions of the main database; `aiservice.stores.migrate` runs them."""
