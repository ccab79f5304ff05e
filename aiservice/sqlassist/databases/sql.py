"""Registered databases in the main database, table `ai_databases`, over SQLite and PostgreSQL alike."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from aiservice.sqlassist.databases.model import Registered
from aiservice.stores.databases import transaction
from aiservice.stores.tables import ai_databases

_C = ai_databases.c


class SqlDatabaseStore:
    """Every method raises `StoreUnavailable` when the database cannot be used."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def put(self, row: Registered) -> None:
        async with transaction(self._engine, tenant_id=row.tenant_id) as connection:
            await connection.execute(sa.delete(ai_databases).where(_is(row.tenant_id, row.name)))
            await connection.execute(
                sa.insert(ai_databases).values(
                    tenant_id=row.tenant_id, name=row.name, sealed_url=row.sealed_url, created_at=row.created_at_us
                )
            )

    async def find(self, tenant_id: str, name: str) -> Registered | None:
        async with transaction(self._engine, tenant_id=tenant_id) as connection:
            row = (await connection.execute(sa.select(ai_databases).where(_is(tenant_id, name)))).one_or_none()
        return None if row is None else _registered(row)

    async def list(self, tenant_id: str) -> Sequence[Registered]:
        query = sa.select(ai_databases).where(_C.tenant_id == tenant_id).order_by(_C.name)
        async with transaction(self._engine, tenant_id=tenant_id) as connection:
            return [_registered(row) for row in await connection.execute(query)]

    async def remove(self, tenant_id: str, name: str) -> bool:
        async with transaction(self._engine, tenant_id=tenant_id) as connection:
            return bool((await connection.execute(sa.delete(ai_databases).where(_is(tenant_id, name)))).rowcount)


def _is(tenant_id: str, name: str) -> sa.ColumnElement[bool]:
    return sa.and_(_C.tenant_id == tenant_id, _C.name == name)


def _registered(row: sa.Row[Any]) -> Registered:
    return Registered(row.tenant_id, row.name, row.sealed_url, row.created_at)
