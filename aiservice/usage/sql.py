"""The ledger's rows in the main database, through SQLAlchemy Core."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from itertools import chain
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aiservice.core.clock import Clock
from aiservice.core.errors import Unexpected
from aiservice.stores.databases import transaction
from aiservice.stores.tables import ai_usage_logs as logs
from aiservice.stores.tables import usage_dead_letters as letters
from aiservice.usage.model import GroupBy, UsageGroup, UsageRecord, UsageTotals

ROWS_AT_ONCE = 100
_READ = (
    logs.c.id,
    logs.c.api_key_id,
    logs.c.tenant_id,
    logs.c.user_id,
    logs.c.endpoint,
    logs.c.model_used,
    logs.c.prompt_tokens,
    logs.c.completion_tokens,
    logs.c.tokens_saved,
    logs.c.response_cached,
    logs.c.response_time_ms,
    logs.c.status_code,
    logs.c.error_message,
    logs.c.created_at,
    logs.c.cost_nano,
)
# What SQLAlchemy and the drivers raise for a value that a column does not take.
_ROW_ERRORS = (sa.exc.SQLAlchemyError, OverflowError, TypeError, ValueError)


class SqlUsageStore:
    """Over SQLite and PostgreSQL. Rows that the database refuses raise `Unexpected` with its reason as `detail`."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._insert_ids = postgresql.insert(logs).on_conflict_do_nothing().returning(logs.c.id)
        compiled = sqlite.insert(logs).on_conflict_do_nothing().compile(dialect=sqlite.dialect(paramstyle="qmark"))
        assert compiled.positiontup == [column.name for column in logs.columns]
        head, _, self._row_marks = str(compiled).partition(" VALUES ")
        self._row_marks, _, self._insert_tail = self._row_marks.partition(" ON CONFLICT")
        self._insert_head = head

    async def insert(self, rows: Sequence[UsageRecord]) -> int:
        async with self._writing() as connection:
            if self._is_sqlite:
                return sum(
                    [
                        await self._insert_sqlite(connection, rows[at : at + ROWS_AT_ONCE])
                        for at in range(0, len(rows), ROWS_AT_ONCE)
                    ]
                )
            inserted = await connection.execute(self._insert_ids, [_values(row) for row in rows])
            return len(inserted.all())

    async def _insert_sqlite(self, connection: AsyncConnection, rows: Sequence[UsageRecord]) -> int:
        """One statement for many rows: the driver gives up the interpreter's lock once a statement, not once a row."""
        marks = ", ".join([self._row_marks] * len(rows))
        text = f"{self._insert_head} VALUES {marks} ON CONFLICT{self._insert_tail}"
        result = await connection.exec_driver_sql(text, tuple(chain.from_iterable(map(_sqlite_row, rows))))
        return result.rowcount

    async def bury(self, record: UsageRecord, reason: str) -> None:
        letter = {"record": asdict(record), "reason": reason[:500], "created_at": self._clock.now_us()}
        is_buried = sa.select(letters.c.id).where(letters.c.record["id"].as_string() == record.id).limit(1)
        async with self._writing() as connection:
            if (await connection.execute(is_buried)).first() is None:
                await connection.execute(letters.insert().values(letter))

    async def page(
        self, *, tenant_id: str, api_key_id: str | None, cursor: str | None, limit: int
    ) -> Sequence[UsageRecord]:
        query = _tenant_rows(tenant_id, api_key_id, *_READ).order_by(logs.c.id.desc()).limit(limit)
        if cursor is not None:
            query = query.where(logs.c.id < cursor)
        async with transaction(self._engine) as connection:
            return [UsageRecord(*row) for row in await connection.execute(query)]

    async def series(
        self, *, tenant_id: str, api_key_id: str | None, from_us: int, to_us: int, group_by: GroupBy
    ) -> Sequence[UsageGroup]:
        # Grouped by its label: repeated, an expression would carry its parameters again, another one to PostgreSQL.
        key = self._group_key(group_by).label("group_key")
        sums = (logs.c.prompt_tokens, logs.c.completion_tokens, _cached(), logs.c.cost_nano, logs.c.response_time_ms)
        query = (
            _tenant_rows(tenant_id, api_key_id, key, sa.func.count(), *map(_sum, sums))
            .where(logs.c.created_at >= from_us, logs.c.created_at < to_us)
            .group_by("group_key")
            .order_by("group_key")
        )
        async with transaction(self._engine) as connection:
            return [UsageGroup(str(row[0]), *map(int, row[1:])) for row in await connection.execute(query)]

    async def totals(self) -> UsageTotals:
        sums = (
            _cached(),
            logs.c.prompt_tokens,
            logs.c.completion_tokens,
            logs.c.tokens_saved,
            logs.c.response_time_ms,
        )
        query = sa.select(logs.c.status_code, sa.func.count(), *map(_sum, sums)).group_by(logs.c.status_code)
        async with transaction(self._engine) as connection:
            rows = [tuple(map(int, row)) for row in await connection.execute(query.order_by(logs.c.status_code))]
        requests, cached, prompt, completion, saved, time_ms = (sum(row[n] for row in rows) for n in range(1, 7))
        return UsageTotals(requests, cached, prompt, completion, saved, time_ms, {row[0]: row[1] for row in rows})

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with transaction(self._engine) as connection:
                yield connection
        except _ROW_ERRORS as error:
            raise Unexpected(detail=f"{type(error).__name__}: {error}"[:500]) from error

    def _group_key(self, group_by: GroupBy) -> sa.ColumnElement[Any]:
        match group_by:
            case "day":
                return self._day()
            case "model":
                return sa.func.coalesce(logs.c.model_used, "")
            case "endpoint":
                return logs.c.endpoint
            case "key":
                return logs.c.api_key_id

    def _day(self) -> sa.ColumnElement[str]:
        if self._is_sqlite:
            seconds = sa.type_coerce(logs.c.created_at, sa.BigInteger) // 1_000_000
            return sa.func.strftime("%Y-%m-%d", seconds, "unixepoch")
        return sa.func.to_char(sa.func.timezone("UTC", logs.c.created_at), "YYYY-MM-DD")


def _tenant_rows(tenant_id: str, api_key_id: str | None, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Every query of a tenant's rows begins here, so that none can be built without the tenant."""
    query = sa.select(*columns).where(logs.c.tenant_id == tenant_id)
    return query if api_key_id is None else query.where(logs.c.api_key_id == api_key_id)


def _cached() -> sa.ColumnElement[int]:
    return sa.cast(logs.c.response_cached, sa.Integer)


def _sum(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(column), 0)


def _values(row: UsageRecord) -> dict[str, Any]:
    values = asdict(row)
    values["created_at"] = values.pop("created_at_us")
    return values | {"total_tokens": row.total_tokens}


def _sqlite_row(row: UsageRecord) -> tuple[Any, ...]:
    """The row's values in the order of the table's columns, as SQLite keeps them."""
    return (
        row.id.replace("-", ""),
        row.api_key_id.replace("-", ""),
        row.tenant_id,
        row.user_id,
        row.endpoint,
        row.prompt_tokens,
        row.completion_tokens,
        row.prompt_tokens + row.completion_tokens,
        row.tokens_saved,
        row.cost_nano,
        row.model_used,
        row.response_cached,
        row.response_time_ms,
        row.status_code,
        row.error_message,
        row.created_at_us,
    )
