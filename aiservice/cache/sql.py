"""The index of the entries in Redis: table `ai_cache` of the main database, over SQLite and PostgreSQL alike."""

import logging
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from aiservice.cache.model import EntryFacts
from aiservice.core.clock import Clock
from aiservice.stores.databases import transaction
from aiservice.stores.tables import ai_cache

# Rows of one transaction: the database holds up nobody for longer, and no statement runs into its time limit.
ROWS_AT_ONCE = 1_000
FORGET_ROWS = 5_000

# What SQLAlchemy and the drivers raise for a value that a column does not take.
_ROW_ERRORS = (sa.exc.SQLAlchemyError, OverflowError, TypeError, ValueError)
_C = ai_cache.c
_FACTS = (_C.cache_key, _C.tenant_id, _C.model_used, _C.bytes, _C.created_at, _C.expires_at, _C.hit_count)

logger = logging.getLogger(__name__)


class SqlCacheIndex:
    """Rows are written in the order of their keys, so that no two workers wait for each other in a ring.

    A row with a value that its column does not take (a name with a NUL, on PostgreSQL) is left out: it is a line in a
    list, and must not hold up the others.
    """

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._recording = _recording(engine.dialect.name)

    async def record(self, facts: Sequence[EntryFacts]) -> None:
        for start in range(0, len(facts), ROWS_AT_ONCE):
            rows = [_row(one) for one in facts[start : start + ROWS_AT_ONCE]]
            try:
                await self._record(rows)
            except _ROW_ERRORS:
                await self._record_one_by_one(rows)

    async def forget(
        self, *, tenant_id: str | None = None, model: str | None = None, made_until_us: int | None = None
    ) -> int:
        scope = [
            column == value
            for column, value in ((_C.tenant_id, tenant_id), (_C.model_used, model))
            if value is not None
        ]
        if made_until_us is not None:
            scope.append(_C.created_at <= made_until_us)
        live = sa.select(sa.func.count()).select_from(ai_cache).where(_C.expires_at > self._clock.now_us(), *scope)
        async with transaction(self._engine, purpose="cache") as connection:
            count = (await connection.execute(live)).scalar_one()
        has_more = True
        while has_more:
            has_more = await self._delete(*scope, rows_max=FORGET_ROWS) == FORGET_ROWS
        return int(count)

    async def sweep(self, *, rows_max: int) -> int:
        return await self._delete(_C.expires_at <= self._clock.now_us(), rows_max=rows_max)

    async def totals(self) -> tuple[int, int]:
        sums = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(_C.bytes), 0)).where(self._is_live())
        async with transaction(self._engine, purpose="cache") as connection:
            entries, size = (await connection.execute(sums)).one()
        return int(entries), int(size)

    async def most_hit(self, limit: int) -> list[EntryFacts]:
        query = sa.select(*_FACTS).where(self._is_live()).order_by(_C.hit_count.desc()).limit(limit)
        async with transaction(self._engine, purpose="cache") as connection:
            rows = (await connection.execute(query)).all()
        return [EntryFacts(*row) for row in rows]

    async def _record(self, rows: list[dict[str, Any]]) -> None:
        async with transaction(self._engine, purpose="cache") as connection:
            await connection.execute(self._recording, rows)

    async def _record_one_by_one(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            try:
                await self._record([row])
            except _ROW_ERRORS as error:
                logger.warning(
                    "an entry of the cache cannot be listed: %s (%s)", row["cache_key"], type(error).__name__
                )

    def _is_live(self) -> sa.ColumnElement[bool]:
        return _C.expires_at > self._clock.now_us()

    async def _delete(self, *conditions: sa.ColumnElement[bool], rows_max: int) -> int:
        """Passes over rows that another worker is at: it deletes them itself, or has just written them."""
        rows = sa.select(_C.cache_key).where(*conditions).limit(rows_max).with_for_update(skip_locked=True)
        if self._engine.dialect.name == "postgresql":
            # It may read a subquery again, and would then find other rows; a CTE it reads once. Python's sqlite3 counts
            # no rows of a statement that begins with one.
            rows = sa.select(rows.cte("chosen").c.cache_key)
        async with transaction(self._engine, purpose="cache") as connection:
            return int((await connection.execute(sa.delete(ai_cache).where(_C.cache_key.in_(rows)))).rowcount)


def _recording(dialect: str) -> sa.Executable:
    """Adds to the hits of the entry that is there, or puts another in its place."""
    insert = sqlite.insert(ai_cache) if dialect == "sqlite" else postgresql.insert(ai_cache)
    new = insert.excluded
    hits = sa.case((_C.created_at == new.created_at, _C.hit_count + new.hit_count), else_=new.hit_count)
    replaced = {column.name: new[column.name] for column in _FACTS if not column.primary_key}
    return insert.on_conflict_do_update(index_elements=[_C.cache_key], set_=replaced | {"hit_count": hits})


def _row(facts: EntryFacts) -> dict[str, Any]:
    return {
        "cache_key": facts.digest,
        "tenant_id": facts.tenant_id,
        "model_used": facts.model,
        "bytes": facts.bytes,
        "created_at": facts.created_at_us,
        "expires_at": facts.expires_at_us,
        "hit_count": facts.hit_count,
    }
