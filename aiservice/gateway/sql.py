"""Attempts in the main database, table `idempotency_keys`, over SQLite and PostgreSQL alike."""

from contextlib import AbstractAsyncContextManager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aiservice.core.clock import Clock
from aiservice.gateway.port import LEASE_S, TTL_S, Attempt, Found
from aiservice.stores.databases import guarded, transaction
from aiservice.stores.tables import idempotency_keys

_C = idempotency_keys.c


class SqlIdempotencyStore:
    """Every method raises `StoreUnavailable` when the database cannot be used."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def begin(self, attempt: Attempt, *, over: str | None = None) -> Found | None:
        take = taking(self._engine.dialect.name, attempt, now_us=self._clock.now_us(), over=over)
        standing = sa.select(_C.owner, _C.request_hash, _C.answer).where(_is_at(attempt))
        async with self._of(attempt) as connection:
            if (await connection.execute(take)).scalar_one_or_none() is not None:
                return None
            # The statement before has locked the row, also where it left it as it was.
            return Found(*(await connection.execute(standing)).one())

    async def renew(self, attempt: Attempt) -> bool:
        lease_until_us = self._clock.now_us() + LEASE_S * 1_000_000
        return await self._change(attempt, {"lease_until": lease_until_us})

    async def finish(self, attempt: Attempt, answer: bytes) -> bool:
        return await self._change(attempt, {"answer": answer})

    async def release(self, attempt: Attempt) -> None:
        async with self._of(attempt) as connection:
            await connection.execute(sa.delete(idempotency_keys).where(_is_running(attempt)))

    async def sweep(self, *, rows_max: int) -> int:
        now_us = self._clock.now_us()
        expired = (
            sa.select(_C.caller_id, _C.idempotency_key)
            .where(_C.expires_at <= now_us)
            .order_by(_C.expires_at)
            .limit(rows_max)
        )
        # Asked twice: on PostgreSQL a row may be taken anew between the two.
        delete = sa.delete(idempotency_keys).where(
            sa.tuple_(_C.caller_id, _C.idempotency_key).in_(expired), _C.expires_at <= now_us
        )
        async with guarded(transaction(self._engine, purpose="sweep")) as connection:
            return int((await connection.execute(delete)).rowcount)

    def _of(self, attempt: Attempt) -> AbstractAsyncContextManager[AsyncConnection]:
        return guarded(transaction(self._engine, tenant_id=attempt.tenant_id))

    async def _change(self, attempt: Attempt, values: dict[str, Any]) -> bool:
        change = sa.update(idempotency_keys).where(_is_running(attempt)).values(values)
        async with self._of(attempt) as connection:
            return bool((await connection.execute(change)).rowcount)


def taking(dialect: str, attempt: Attempt, *, now_us: int, over: str | None) -> sa.Executable:
    """The statement that takes the key and returns a row, or returns none where it is not free."""
    insert = sqlite.insert(idempotency_keys) if dialect == "sqlite" else postgresql.insert(idempotency_keys)
    row = insert.values(
        caller_id=attempt.caller_id,
        idempotency_key=attempt.key,
        tenant_id=attempt.tenant_id,
        request_hash=attempt.request_hash,
        owner=attempt.id,
        lease_until=now_us + LEASE_S * 1_000_000,
        expires_at=now_us + TTL_S * 1_000_000,
        answer=None,
    )
    is_lost = sa.and_(_C.answer.is_(None), _C.lease_until <= now_us)
    is_free = sa.or_(_C.expires_at <= now_us, is_lost)
    return row.on_conflict_do_update(
        index_elements=[_C.caller_id, _C.idempotency_key],
        set_={column.name: row.excluded[column.name] for column in idempotency_keys.c if not column.primary_key},
        where=is_free if over is None else sa.or_(is_free, _C.owner == over),
    ).returning(_C.owner)


def _is_at(attempt: Attempt) -> sa.ColumnElement[bool]:
    return sa.and_(_C.caller_id == attempt.caller_id, _C.idempotency_key == attempt.key)


def _is_running(attempt: Attempt) -> sa.ColumnElement[bool]:
    return sa.and_(_is_at(attempt), _C.owner == attempt.id, _C.answer.is_(None))
