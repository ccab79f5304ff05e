"""The ledger's rows and their sums in the main database, through SQLAlchemy Core."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa
from msgspec.structs import asdict
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aiservice.core.clock import Clock
from aiservice.core.errors import Unexpected
from aiservice.stores.databases import transaction
from aiservice.stores.tables import Moment
from aiservice.stores.tables import ai_usage_logs as logs
from aiservice.stores.tables import ai_usage_rollups as rollups
from aiservice.stores.tables import ai_usage_totals as totals
from aiservice.stores.tables import usage_dead_letters as letters
from aiservice.usage.model import DeadLetter, Difference, GroupBy, UsageGroup, UsageRecord, UsageTotals
from aiservice.usage.sums import HOUR_US, SUM_NAMES, HourKey, Sums, by_hour, by_status, whole_hours

ROWS_AT_ONCE = 250
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
# What SQLAlchemy and the drivers raise for a value that a column does not take.
_ROW_ERRORS = (sa.exc.SQLAlchemyError, OverflowError, TypeError, ValueError)

Column = sa.ColumnElement[Any]
Values = Sequence[Any]
Hours = Mapping[HourKey, Sums]


class _Form(Protocol):
    """What the databases say differently. `snapshot` and `lock` are statements: one to read, one to make sums anew."""

    snapshot: str
    lock: str

    async def add(self, connection: AsyncConnection, rows: Sequence[UsageRecord]) -> Sequence[UsageRecord]:
        """Inserts rows and gives those that were new."""
        ...

    async def add_sums(self, connection: AsyncConnection, hours: Hours) -> None:
        """Adds to the rollups, in the order of the hours, and to the totals."""
        ...

    def day(self, moment: Column) -> Column: ...

    def hour(self, moment: Column) -> Column: ...


class _SqliteForm:
    """Many rows a statement, and past SQLAlchemy: its four trips to the driver's thread cost more than the rows."""

    snapshot = "begin"
    lock = "begin immediate"

    def __init__(self) -> None:
        self._add = _SqliteInsert(
            sqlite.insert(logs).on_conflict_do_nothing(), returning=(logs.c.id, logs.c.created_at)
        )
        self._add_to_rollups = _SqliteInsert(_summing(sqlite.insert(rollups)))
        self._add_to_totals = _SqliteInsert(_summing(sqlite.insert(totals)))

    async def add(self, connection: AsyncConnection, rows: Sequence[UsageRecord]) -> Sequence[UsageRecord]:
        new: list[UsageRecord] = []
        for at in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[at : at + ROWS_AT_ONCE]
            found = await self._add.run(connection, list(map(_sqlite_row, some)))
            new += some if len(found) == len(some) else _those(some, [(str(UUID(id)), us) for id, us in found])
        return new

    async def add_sums(self, connection: AsyncConnection, hours: Hours) -> None:
        rows = [(key[0], key[1].replace("-", ""), *key[2:], *sums) for key, sums in hours.items()]
        for at in range(0, len(rows), ROWS_AT_ONCE):
            await self._add_to_rollups.run(connection, rows[at : at + ROWS_AT_ONCE])
        await self._add_to_totals.run(connection, [(status, *sums) for status, sums in by_status(hours).items()])

    def day(self, moment: Column) -> Column:
        return sa.func.strftime("%Y-%m-%d", sa.type_coerce(moment, sa.BigInteger) // 1_000_000, "unixepoch")

    def hour(self, moment: Column) -> Column:
        return sa.type_coerce(sa.type_coerce(moment, sa.BigInteger) // HOUR_US * HOUR_US, Moment)


class _PostgresForm:
    """Batches as SQLAlchemy makes them."""

    snapshot = "set transaction isolation level repeatable read"
    lock = "lock table ai_usage_logs in share mode"

    def __init__(self) -> None:
        self._add = postgresql.insert(logs).on_conflict_do_nothing().returning(logs.c.id, logs.c.created_at)
        self._add_to_rollups = _summing(postgresql.insert(rollups))
        self._add_to_totals = _summing(postgresql.insert(totals))

    async def add(self, connection: AsyncConnection, rows: Sequence[UsageRecord]) -> Sequence[UsageRecord]:
        found = await connection.execute(self._add, [_values(row) for row in rows])
        return _those(rows, [(id, us) for id, us in found])

    async def add_sums(self, connection: AsyncConnection, hours: Hours) -> None:
        rows = [_named(rollups, (*key, *sums)) for key, sums in hours.items()]
        await connection.execute(self._add_to_rollups, rows)
        rows = [_named(totals, (status, *sums)) for status, sums in by_status(hours).items()]
        await connection.execute(self._add_to_totals, rows)

    def day(self, moment: Column) -> Column:
        return sa.func.to_char(sa.func.timezone("UTC", moment), "YYYY-MM-DD")

    def hour(self, moment: Column) -> Column:
        hour = sa.func.timezone("UTC", sa.func.date_trunc("hour", sa.func.timezone("UTC", moment)))
        return sa.type_coerce(hour, Moment)


class _SqliteInsert:
    """An insert whose text is made for a number of rows."""

    def __init__(self, insert: sqlite.Insert, returning: Sequence[sa.Column[Any]] = ()) -> None:
        compiled = insert.returning(*returning).compile(dialect=sqlite.dialect(paramstyle="qmark"))
        assert compiled.positiontup == [column.name for column in insert.table.columns]
        self._head, _, rest = str(compiled).partition(" VALUES ")
        self._marks, _, self._tail = rest.partition(" ON CONFLICT")

    async def run(self, connection: AsyncConnection, rows: Sequence[Values]) -> Sequence[Values]:
        """What the statement returns; raises `Unexpected` for a value that a column does not take."""
        marks = ", ".join([self._marks] * len(rows))
        text = f"{self._head} VALUES {marks} ON CONFLICT{self._tail}"
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        try:
            return list(await driver.execute_fetchall(text, tuple(chain.from_iterable(rows))))
        except connection.dialect.loaded_dbapi.IntegrityError as error:
            raise Unexpected(detail=f"{type(error).__name__}: {error}") from error


class SqlUsageStore:
    """Over SQLite and PostgreSQL. Rows that the database refuses raise `Unexpected` with its reason as `detail`."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._form = form_of(engine.dialect.name)

    async def insert(self, rows: Sequence[UsageRecord]) -> int:
        async with self._writing() as connection:
            return await self._insert(connection, rows)

    async def bury(self, record: UsageRecord, reason: str) -> None:
        letter = {"record": asdict(record), "reason": reason[:500], "created_at": self._clock.now_us()}
        is_buried = sa.select(letters.c.id).where(letters.c.record["id"].as_string() == record.id).limit(1)
        async with self._writing() as connection:
            if (await connection.execute(is_buried)).first() is None:
                await connection.execute(letters.insert().values(letter))

    async def page(
        self, *, tenant_id: str, api_key_id: str | None, cursor: str | None, limit: int
    ) -> Sequence[UsageRecord]:
        query = _of(logs, tenant_id, api_key_id, *_READ).order_by(logs.c.id.desc()).limit(limit)
        if cursor is not None:
            query = query.where(logs.c.id < cursor)
        async with transaction(self._engine) as connection:
            return [UsageRecord(*row) for row in await connection.execute(query)]

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
        async with transaction(self._engine) as connection:
            # One statement sees one moment.
            found = await connection.execute(_grouped(("group_key",), *parts))
            groups = [(str(key), dict(zip(SUM_NAMES, map(int, sums), strict=True))) for key, *sums in found]
        return [_group(key, sums) for key, sums in sorted(groups)]

    async def totals(self) -> UsageTotals:
        names = ("requests", "cached", "prompt_tokens", "completion_tokens", "tokens_saved", "response_time_ms")
        query = sa.select(totals.c.status_code, *[totals.c[name] for name in names]).order_by(totals.c.status_code)
        async with transaction(self._engine) as connection:
            rows = [tuple(map(int, row)) for row in await connection.execute(query)]
        requests, cached, prompt, completion, saved, time_ms = (sum(row[n] for row in rows) for n in range(1, 7))
        return UsageTotals(requests, cached, prompt, completion, saved, time_ms, {row[0]: row[1] for row in rows})

    async def absent(self, ids: Sequence[str]) -> Sequence[str]:
        rows = sa.select(logs.c.id).where(logs.c.id.in_(ids))
        buried = sa.select(letters.c.record["id"].as_string())
        async with transaction(self._engine) as connection:
            known = {str(id) for query in (rows, buried) for (id,) in await connection.execute(query)}
        return [id for id in ids if id not in known]

    async def differences(self, from_us: int) -> Sequence[Difference]:
        hour_us = from_us - from_us % HOUR_US
        rows, sums = self._rows_by_hour(hour_us), _negative(_HOUR_KEY).where(rollups.c.hour >= hour_us)
        hours = _unequal(_HOUR_NAMES, rows, sums)
        status = rollups.c.status_code
        statuses = _unequal((status.name,), sa.select(status, *_HOUR_SUMS), _negative((totals.c.status_code,)))
        async with transaction(self._engine) as connection:
            await connection.exec_driver_sql(self._form.snapshot)
            return [
                *[_hour_difference(row) for row in await connection.execute(hours)],
                *[Difference(totals.name, row[0], _delta(row[1:])) for row in await connection.execute(statuses)],
            ]

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
        async with transaction(self._engine) as connection:
            return [DeadLetter(*row) for row in await connection.execute(query.order_by(letters.c.id).limit(limit))]

    async def revive(self, letter: DeadLetter) -> None:
        async with self._writing() as connection:
            await self._insert(connection, [letter.row()])
            await connection.execute(letters.delete().where(letters.c.id == letter.id))

    async def _insert(self, connection: AsyncConnection, rows: Sequence[UsageRecord]) -> int:
        new = await self._form.add(connection, rows)
        if new:
            await self._form.add_sums(connection, by_hour(new))
        return len(new)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with transaction(self._engine) as connection:
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


def form_of(dialect: str) -> _Form:
    """The form that a database of SQLAlchemy's name wants."""
    forms: Mapping[str, type[_Form]] = {"sqlite": _SqliteForm, "postgresql": _PostgresForm}
    return forms[dialect]()


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


def _summing(insert: Any) -> Any:
    """An insert into a table of sums that adds to the row that is there."""
    names = {name: insert.table.c[name] + insert.excluded[name] for name in SUM_NAMES}
    return insert.on_conflict_do_update(index_elements=list(insert.table.primary_key), set_=names)


def _those(rows: Sequence[UsageRecord], keys: Iterable[tuple[str, int]]) -> Sequence[UsageRecord]:
    """The first row of each id and time."""
    by_key = {(row.id, row.created_at_us): row for row in reversed(rows)}
    return [by_key[key] for key in keys]


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


def _hour_difference(row: sa.Row[*tuple[Any, ...]]) -> Difference:
    tenant_id, api_key_id, hour_us, endpoint, model, status, *sums = row
    return Difference(rollups.name, status, _delta(sums), tenant_id, api_key_id, hour_us, endpoint, model)


def _delta(sums: Values) -> Mapping[str, int]:
    return {name: int(value) for name, value in zip(SUM_NAMES, sums, strict=True) if value}


def _named(table: sa.Table, values: Values) -> dict[str, Any]:
    return dict(zip(table.columns.keys(), values, strict=True))


def _values(row: UsageRecord) -> dict[str, Any]:
    values = asdict(row)
    values["created_at"] = values.pop("created_at_us")
    return values | {"total_tokens": row.total_tokens}


def _sqlite_row(row: UsageRecord) -> Values:
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
