"""The main database's form on a PostgreSQL server, changed by the role that owns its tables."""

from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from aiservice.core.settings import Settings
from aiservice.stores.revisions import HEAD, apply
from aiservice.stores.roles import grant, may_work
from aiservice.stores.visits import as_owner, user_of

# Until the end of the transaction: instances that start together wait for each other. The number is only ours.
_WAIT = sa.text("select pg_advisory_xact_lock(4927516208311)")
_HAS_TABLE = sa.text("select to_regclass('alembic_version') is not null")
_REVISION = sa.text("select version_num from alembic_version")


def is_current(settings: Settings) -> bool:
    """Whether the database is at HEAD and the application's role may work there. Raises `StartRefused`."""

    async def ask(connection: AsyncConnection) -> bool:
        if await _revision_in(connection) != HEAD:
            return False
        role = _application_role(settings)
        return role is None or await may_work(connection, role)

    return as_owner(settings, ask)


def revision_of(settings: Settings) -> str | None:
    """None where there is none yet. Raises `StartRefused`."""
    return as_owner(settings, _revision_in)


def upgrade(settings: Settings, revision: str) -> None:
    """Applies what is missing in one transaction and lets the application's role work. Raises `StartRefused`."""

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(_WAIT)
        if await _revision_in(connection) != revision:
            await _apply(connection, "upgrade", revision)
        role = _application_role(settings)
        if revision == HEAD and role is not None:
            await grant(connection, role)

    as_owner(settings, work)


def downgrade(settings: Settings, revision: str) -> None:
    """Undoes revisions in one transaction. Raises `StartRefused`."""

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(_WAIT)
        await _apply(connection, "downgrade", revision)

    as_owner(settings, work)


async def _apply(connection: AsyncConnection, direction: Literal["upgrade", "downgrade"], revision: str) -> None:
    await connection.run_sync(apply, direction, revision)


async def _revision_in(connection: AsyncConnection) -> str | None:
    if not (await connection.execute(_HAS_TABLE)).scalar_one():
        return None
    found = (await connection.execute(_REVISION)).scalar_one_or_none()
    return None if found is None else str(found)


def _application_role(settings: Settings) -> str | None:
    """The role that needs to be let in, None where it is the owner itself."""
    role = user_of(settings.stores.postgres_url)
    return None if settings.stores.postgres_owner_url is None or role == _owner_role(settings) else role


def _owner_role(settings: Settings) -> str | None:
    return user_of(settings.stores.postgres_owner_url)
