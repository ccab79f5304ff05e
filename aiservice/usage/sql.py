"""The ledger's rows and their sums in the main database, through SQLAlchemy Core."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from msgspec.structs import asdict
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aiservice.core.clock import Clock
from aiservice.core.errors import Unexpected
from aiservice.stores.databases import transaction
from aiservice.stores.tables import ai_usage_logs as logs
from aiservice.stores.tables import ai_usage_rollups as rollups
from aiservice.stores.tables import ai_usage_totals as totals
from aiservice.stores.tables import usage_dead_letters as letters
from aiservice.usage.forms import Column, Values, form_of
from aiservice.usage.model import DeadLetter, Difference, GroupBy, UsageGroup, UsageRecord, UsageTotals
from aiservice.usage.reading import Reader
from aiservice.usage.sums import HOUR_US, SUM_NAMES, whole_hours

# The columns in the order of the record's fields.
_READ = tuple(logs.c[name.removesuffix("_us")] for name in UsageRecord.__struct_fields__)
# What a row adds to its sums.
_ADDENDS: tuple[sa.ColumnElement[Any], ...] = (
    sa.literal_column("1").label("requests"),
    sa.cast(logs.c.response_cached, sa.Integer).label("cached"),
    logs.c.prompt_tokens,
    logs.c.completion_tokens,
    logs.c.tokens_saved,
    logs.c.cost_nano,
    logs.c.response_time_ms,
)
_HOUR_SUMS = tuple(rollups.c[name] for name in SUM_NAMES)
_HOUR_KEY = tuple(rollups.primary_key.columns)
_HOUR_NAMES = tuple(column.name for column in _HOUR_KEY)
_STATUS_KEY = (totals.c.status_code,)
_DIFFERENCE_ORDER = attrgetter("table", "hour_us", "tenant_id", "api_key_id", "endpoint", "model", "status_code")
# What SQLAlchemy and the drivers raise for a value that a column does not take.
_ROW_ERRORS = (sa.exc.SQLAlchemyError, OverflowError, TypeError, ValueError)


class SqlUsageStore:
    """Over SQLite and PostgreSQL. Rows that the database refuses raise `Unexpected` with its reason as `detail`.

    With a replica, pages, series and totals are read there while it has what the primary has: see `Reader`.
    """

    def __init__(self, engine: AsyncEngine, clock: Clock, *, replica: AsyncEngine | None = None) -> None:
        self.has_replica = replica is not None
        self._engine = engine
        self._replica = replica
        self._clock = clock
        self._form = form_of(engine.dialect)
        self._reader = Reader(engine, replica, clock)

    async def insert(self, rows: Sequence[UsageRecord]) -> int:
        async with self._writing() as connection:
            return await self._form.insert(connection, rows)

    async def bury(self, record: UsageRecord, reason: str) -> None:
        letter = {"record": asdict(record), "reason": reason[:500], "created_at": self._clock.now_us()}
        is_buried = sa.select(letters.c.id).where(self._form.letter_id() == record.id).limit(1)
        async with self._writing() as connection:
            if (await connection.execute(is_buried)).first() is None:
                await connection.execute(letters.insert().values(letter))

    async def page(
        self, *, tenant_id: str, api_key_id: str | None, cursor: str | None, limit: int
    ) -> Sequence[UsageRecord]:
        query = _of(logs, tenant_id, api_key_id, *_READ).order_by(logs.c.id.desc()).limit(limit)
        if cursor is not None:
            query = query.where(logs.c.id < cursor)
        rows = await self._reader.read(query, tenant_id=tenant_id)
        return [UsageRecord(*row) for row in rows]

    async def series(
        self, *, tenant_id: str, api_key_id: str | None, from_us: int, to_us: int, group_by: GroupBy
    ) -> Sequence[UsageGroup]:
        first_us, last_us = whole_hours(from_us, to_us)
        hours = _of(rollups, tenant_id, api_key_id, self._group_key(rollups, group_by), *_HOUR_SUMS)
        parts = [hours.where(rollups.c.hour >= first_us, rollups.c.hour < last_us)]
        # What is left of the first hour and of the last one.
        for left_us, right_us in ((from_us, first_us), (last_us, to_us)):
            if left_us < right_us:
                keys = _of(rollups, tenant_id, api_key_id, rollups.c.api_key_id)
                rows = _within(tenant_id, keys, left_us=left_us, right_us=right_us)
                parts.append(rows.with_only_columns(self._group_key(logs, group_by), *_ADDENDS))
        # One statement sees one moment.
        found = await self._reader.read(_grouped(("group_key",), *parts), tenant_id=tenant_id)
        groups = [(str(key), dict(zip(SUM_NAMES, map(int, sums), strict=True))) for key, *sums in found]
        return [_group(key, sums) for key, sums in sorted(groups)]

    async def totals(self) -> UsageTotals:
        names = ("requests", "cached", "prompt_tokens", "completion_tokens", "tokens_saved", "response_time_ms")
        query = sa.select(totals.c.status_code, *[totals.c[name] for name in names]).order_by(totals.c.status_code)
        found = await self._reader.read(query)
        rows = [tuple(map(int, row)) for row in found]
        requests, cached, prompt, completion, saved, time_ms = (sum(row[n] for row in rows) for n in range(1, 7))
        return UsageTotals(requests, cached, prompt, completion, saved, time_ms, {row[0]: row[1] for row in rows})

    async def absent(self, ids: Sequence[str]) -> Sequence[str]:
        return await self._absent(self._engine, ids)

    async def unreplicated(self, ids: Sequence[str]) -> Sequence[str]:
        return [] if self._replica is None else await self._absent(self._replica, ids)

    async def differences(self, from_us: int) -> Sequence[Difference]:
        hour_us = from_us - from_us % HOUR_US
        rows, sums = self._rows_by_hour(hour_us), _negative(_HOUR_KEY).where(rollups.c.hour >= hour_us)
        hours = _unequal(_HOUR_NAMES, rows, sums)
        statuses = _unequal(("status_code",), sa.select(rollups.c.status_code, *_HOUR_SUMS), _negative(_STATUS_KEY))
        # One statement sees one moment.
        query = sa.union_all(_placed(rollups, hours), _placed(totals, statuses))
        async with transaction(self._engine, purpose="ledger") as connection:
            return sorted(map(_difference, await connection.execute(query)), key=_DIFFERENCE_ORDER)

    async def recompute(self, from_us: int) -> None:
        hour_us = from_us - from_us % HOUR_US
        hours = _grouped(_HOUR_NAMES, self._rows_by_hour(hour_us))
        statuses = _grouped(("status_code",), sa.select(rollups.c.status_code, *_HOUR_SUMS))
        async with self._writing() as connection:
            await connection.exec_driver_sql(self._form.lock)
            await connection.execute(rollups.delete().where(rollups.c.hour >= hour_us))
            await connection.execute(rollups.insert().from_select(rollups.columns.keys(), hours))
            await connection.execute(totals.delete())
            await connection.execute(totals.insert().from_select(totals.columns.keys(), statuses))

    async def letters(self, *, after_id: int, limit: int) -> Sequence[DeadLetter]:
        query = sa.select(letters.c.id, letters.c.record, letters.c.reason).where(letters.c.id > after_id)
        async with transaction(self._engine, purpose="ledger") as connection:
            return [DeadLetter(*row) for row in await connection.execute(query.order_by(letters.c.id).limit(limit))]

    async def revive(self, letter: DeadLetter) -> None:
        async with self._writing() as connection:
            await self._form.insert(connection, [letter.row()])
            await connection.execute(letters.delete().where(letters.c.id == letter.id))

    async def _absent(self, engine: AsyncEngine, ids: Sequence[str]) -> Sequence[str]:
        rows = sa.select(logs.c.id).where(logs.c.id.in_(ids))
        letter_id = self._form.letter_id()
        async with transaction(engine, purpose="ledger") as connection:
            known = {str(id) for (id,) in await connection.execute(rows)}
            if missing := [id for id in ids if id not in known]:
                buried = sa.select(letter_id).where(letter_id.in_(missing))
                known.update(id for (id,) in await connection.execute(buried))
        return [id for id in missing if id not in known]

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with transaction(self._engine, purpose="ledger") as connection:
                yield connection
        except _ROW_ERRORS as error:
            raise Unexpected(detail=f"{type(error).__name__}: {error}"[:500]) from error

    def _rows_by_hour(self, hour_us: int) -> sa.Select[Any]:
        """The rows from an hour on as what they add to which rollup."""
        hour = self._form.hour(logs.c.created_at).label("hour")
        keys = (logs.c.tenant_id, logs.c.api_key_id, hour, logs.c.endpoint, _model(logs), logs.c.status_code)
        return sa.select(*keys, *_ADDENDS).where(logs.c.created_at >= hour_us)

    def _group_key(self, table: sa.Table, group_by: GroupBy) -> Column:
        keys: Mapping[GroupBy, Column] = {
            "day": self._form.day(table.c.hour if table is rollups else table.c.created_at),
            "model": _model(table),
            "endpoint": table.c.endpoint,
            "key": table.c.api_key_id,
        }
        return keys[group_by].label("group_key")


def _of(table: sa.Table, tenant_id: str, api_key_id: str | None, *columns: Column) -> sa.Select[Any]:
    """Every query of a tenant begins here or at `_within`, so that none can be built without the tenant."""
    query = sa.select(*columns).where(table.c.tenant_id == tenant_id)
    return query if api_key_id is None else query.where(table.c.api_key_id == api_key_id)


def _within(tenant_id: str, keys: sa.Select[Any], *, left_us: int, right_us: int) -> sa.Select[Any]:
    """A tenant's rows of a part of an hour, by the index of keys and times.

    The empty text keeps SQLite from the index of tenants, by which it would read all rows of this one.
    """
    keys = keys.where(rollups.c.hour >= left_us - left_us % HOUR_US, rollups.c.hour < right_us)
    span = (logs.c.created_at >= left_us, logs.c.created_at < right_us)
    return sa.select(logs).where(logs.c.tenant_id.concat("") == tenant_id, logs.c.api_key_id.in_(keys), *span)


def _model(table: sa.Table) -> Column:
    return sa.func.coalesce(table.c.model_used, "").label("model_used")


def _grouped(keys: Sequence[str], *parts: sa.Select[Any]) -> sa.Select[Any]:
    """The parts as one, summed up by the columns of these names.

    Grouped by its name: repeated, an expression would carry its parameters again, another one to PostgreSQL.
    """
    every = sa.union_all(*parts).subquery()
    sums = [sa.func.sum(every.c[name]).label(name) for name in SUM_NAMES]
    return sa.select(*[every.c[key] for key in keys], *sums).group_by(*[every.c[key] for key in keys])


def _unequal(keys: Sequence[str], rows: sa.Select[Any], negative: sa.Select[Any]) -> sa.Select[Any]:
    grouped = _grouped(keys, rows, negative)
    return grouped.having(sa.or_(*[column.element != 0 for column in grouped.selected_columns[len(keys) :]]))


def _negative(keys: Sequence[Column]) -> sa.Select[Any]:
    """A table of sums with its signs turned."""
    table = keys[0].table
    return sa.select(*keys, *[(-table.c[name]).label(name) for name in SUM_NAMES])


def _group(key: str, sums: Mapping[str, int]) -> UsageGroup:
    return UsageGroup(
        key=key,
        requests=sums["requests"],
        prompt_tokens=sums["prompt_tokens"],
        completion_tokens=sums["completion_tokens"],
        cached=sums["cached"],
        cost_nano=sums["cost_nano"],
        response_time_ms_total=sums["response_time_ms"],
    )


def _placed(table: sa.Table, unequal: sa.Select[Any]) -> sa.Select[Any]:
    """Differences with the name of their table and the whole key of a rollup; what totals have not of it is null."""
    found = unequal.subquery()
    key = [found.c[column.name] if column.name in found.c else sa.cast(sa.null(), column.type) for column in _HOUR_KEY]
    return sa.select(sa.literal(table.name, sa.Text), *key, *[found.c[name] for name in SUM_NAMES])


def _difference(row: sa.Row[*tuple[Any, ...]]) -> Difference:
    table, tenant_id, api_key_id, hour_us, endpoint, model, status, *sums = row
    delta = _delta(sums)
    if table == totals.name:
        return Difference(table, status, delta)
    return Difference(table, status, delta, tenant_id, api_key_id, hour_us, endpoint, model)


def _delta(sums: Values) -> Mapping[str, int]:
    return {name: int(value) for name, value in zip(SUM_NAMES, sums, strict=True) if value}
