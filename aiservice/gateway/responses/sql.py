"""Responses in the main database, table `ai_responses`, over SQLite and PostgreSQL alike."""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aiservice.core.clock import Clock
from aiservice.gateway.responses.model import ClosedStatus, Ending, Name, StoredResponse
from aiservice.gateway.responses.port import LEASE_S
from aiservice.stores.databases import Purpose, guarded, transaction
from aiservice.stores.tables import ai_responses

_C = ai_responses.c


class SqlResponseStore:
    """Every method raises `StoreUnavailable` when the database cannot be used."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def add(self, response: StoredResponse) -> None:
        row = sa.insert(ai_responses).values(
            tenant_id=response.tenant_id,
            id=response.id,
            status=response.status,
            is_background=response.is_background,
            body=response.body,
            conversation=response.conversation,
            chunks=response.chunks,
            created_at=response.created_at_us,
            lease_until=response.lease_until_us,
            expires_at=response.expires_at_us,
        )
        async with self._of(response.tenant_id) as connection:
            await connection.execute(row)

    async def find(self, name: Name) -> StoredResponse | None:
        query = sa.select(ai_responses).where(self._is_there(name))
        async with self._of(name[0]) as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _response_of(row)

    async def finish(self, name: Name, ending: Ending) -> bool:
        values = {"status": ending.status, "body": ending.body, "chunks": ending.chunks}
        return await self._change(name, sa.and_(self._is_there(name), _IS_RUNNING), values)

    async def close(self, name: Name, status: ClosedStatus, *, lapsed_only: bool = False) -> bool:
        where = sa.and_(self._is_there(name), _IS_RUNNING)
        if lapsed_only:
            where = sa.and_(where, _C.lease_until <= self._clock.now_us())
        return await self._change(name, where, {"status": status})

    async def running(self, names: Collection[Name]) -> frozenset[Name]:
        query = sa.select(_C.tenant_id, _C.id).where(self._are_running(names))
        async with self._of_any("leases") as connection:
            return frozenset((tenant_id, id) for tenant_id, id in await connection.execute(query))

    async def renew(self, names: Collection[Name]) -> None:
        lease = sa.update(ai_responses).where(self._are_running(names))
        async with self._of_any("leases") as connection:
            await connection.execute(lease.values(lease_until=self._clock.now_us() + LEASE_S * 1_000_000))

    async def delete(self, name: Name) -> bool:
        async with self._of(name[0]) as connection:
            return bool((await connection.execute(sa.delete(ai_responses).where(self._is_there(name)))).rowcount)

    async def sweep(self, *, rows_max: int) -> int:
        expired = (
            sa.select(_C.tenant_id, _C.id)
            .where(_C.expires_at <= self._clock.now_us())
            .order_by(_C.expires_at)
            .limit(rows_max)
        )
        delete = sa.delete(ai_responses).where(sa.tuple_(_C.tenant_id, _C.id).in_(expired))
        async with self._of_any("sweep") as connection:
            return int((await connection.execute(delete)).rowcount)

    def _of(self, tenant_id: str) -> AbstractAsyncContextManager[AsyncConnection]:
        return guarded(transaction(self._engine, tenant_id=tenant_id))

    def _of_any(self, purpose: Purpose) -> AbstractAsyncContextManager[AsyncConnection]:
        return guarded(transaction(self._engine, purpose=purpose))

    async def _change(self, name: Name, where: sa.ColumnElement[bool], values: dict[str, Any]) -> bool:
        async with self._of(name[0]) as connection:
            return bool((await connection.execute(sa.update(ai_responses).where(where).values(values))).rowcount)

    def _is_there(self, name: Name) -> sa.ColumnElement[bool]:
        tenant_id, id = name
        return sa.and_(_C.tenant_id == tenant_id, _C.id == id, _C.expires_at > self._clock.now_us())

    def _are_running(self, names: Collection[Name]) -> sa.ColumnElement[bool]:
        is_named = sa.or_(sa.false(), *(sa.and_(_C.tenant_id == tenant_id, _C.id == id) for tenant_id, id in names))
        return sa.and_(is_named, _IS_RUNNING, _C.expires_at > self._clock.now_us())


_IS_RUNNING = _C.status == "in_progress"


def _response_of(row: sa.Row[Any]) -> StoredResponse:
    return StoredResponse(
        id=row.id,
        tenant_id=row.tenant_id,
        status=row.status,
        is_background=row.is_background,
        body=row.body,
        conversation=row.conversation,
        chunks=row.chunks,
        created_at_us=row.created_at,
        lease_until_us=row.lease_until,
        expires_at_us=row.expires_at,
    )
