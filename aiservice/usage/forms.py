"""What SQLite and PostgreSQL say differently of the ledger's rows and sums."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from aiservice.core.errors import Unexpected
from aiservice.stores.tables import Moment
from aiservice.stores.tables import ai_usage_logs as logs
from aiservice.stores.tables import ai_usage_rollups as rollups
from aiservice.stores.tables import ai_usage_totals as totals
from aiservice.stores.tables import usage_dead_letters as letters
from aiservice.usage.model import UsageRecord
from aiservice.usage.sums import HOUR_US, SUM_NAMES, by_hour, by_status, check_size

ROWS_AT_ONCE = 250
_ORDER = attrgetter("id", "created_at_us")
# What the sums are made of.
_KEYED = ("tenant_id", "api_key_id", "created_at", "endpoint", "model_used", "status_code")
_SUMMED = (*_KEYED, "response_cached", *SUM_NAMES[2:])
_FIELDS = UsageRecord.__struct_fields__
_fields = tuple(attrgetter(name) for name in _FIELDS)

Column = sa.ColumnElement[Any]
Values = Sequence[Any]


class Form(Protocol):
    """`lock` is the statement that keeps everybody from inserting while sums are made anew."""

    lock: str

    async def insert(self, connection: AsyncConnection, rows: Sequence[UsageRecord]) -> int:
        """Inserts rows and adds those that were new to the sums; says how many were new.

        Rows and sums are written in the order of their keys, so that two transactions never wait for each other in a
        ring. Raises `Unexpected` for a number that no sum could hold.
        """
        ...

    def day(self, moment: Column) -> Column: ...

    def hour(self, moment: Column) -> Column: ...

    def letter_id(self) -> Column:
        """The id of a dead letter's row."""
        ...


class SqliteForm:
    """Many rows a statement, and past SQLAlchemy: its four trips to the driver's thread cost more than the rows."""

    lock = "begin immediate"

    def __init__(self, _dialect: sa.Dialect) -> None:
        self._add = _SqliteInsert(
            sqlite.insert(logs).on_conflict_do_nothing(), returning=(logs.c.id, logs.c.created_at)
        )
        self._add_to_rollups = _SqliteInsert(_summing(sqlite.insert(rollups)))
        self._add_to_totals = _SqliteInsert(_summing(sqlite.insert(totals)))

    async def insert(self, connection: AsyncConnection, rows: Sequence[UsageRecord]) -> int:
        new: list[UsageRecord] = []
        for at in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[at : at + ROWS_AT_ONCE]
            found = await self._add.run(connection, list(map(_sqlite_row, some)))
            new += some if len(found) == len(some) else _those(some, found)
        if new:
            await self._add_sums(connection, new)
        return len(new)

    def day(self, moment: Column) -> Column:
        return sa.func.strftime("%Y-%m-%d", sa.type_coerce(moment, sa.BigInteger) // 1_000_000, "unixepoch")

    def hour(self, moment: Column) -> Column:
        return sa.type_coerce(sa.type_coerce(moment, sa.BigInteger) // HOUR_US * HOUR_US, Moment)

    def letter_id(self) -> Column:
        id: Column = letters.c.record["id"].as_string()
        return id

    async def _add_sums(self, connection: AsyncConnection, new: Sequence[UsageRecord]) -> None:
        hours = by_hour(new)
        rows = [(key[0], key[1].replace("-", ""), *key[2:], *sums) for key, sums in hours.items()]
        for at in range(0, len(rows), ROWS_AT_ONCE):
            await self._add_to_rollups.run(connection, rows[at : at + ROWS_AT_ONCE])
        await self._add_to_totals.run(connection, [(status, *sums) for status, sums in by_status(hours).items()])


class PostgresForm:
    """One statement for a batch: its columns go in as arrays, and PostgreSQL sums up the rows that were new.

    The rows of totals, which every batch changes, are changed first: so batches wait in one line for these, and not in
    many for the sums of hours, which takes as long in all and half as long for the one that waits longest.
    """

    lock = "lock table ai_usage_logs in share mode"

    def __init__(self, dialect: sa.Dialect) -> None:
        compiled = self._statement().compile(dialect=dialect)
        assert compiled.positiontup == list(_FIELDS)
        self._text = str(compiled)

    async def insert(self, connection: AsyncConnection, rows: Sequence[UsageRecord]) -> int:
        ordered = sorted(rows, key=_ORDER)
        columns = {name: list(map(get, ordered)) for name, get in zip(_FIELDS, _fields, strict=True)}
        check_size(columns)
        found = await connection.exec_driver_sql(self._text, tuple(columns.values()))
        return int(found.one()[0])

    def day(self, moment: Column) -> Column:
        return sa.func.to_char(_in_utc(moment), "YYYY-MM-DD")

    def hour(self, moment: Column) -> Column:
        return sa.type_coerce(_in_utc(sa.func.date_trunc(sa.literal_column("'hour'"), _in_utc(moment))), Moment)

    def letter_id(self) -> Column:
        """By the text: PostgreSQL cannot look into JSON that has a zero byte or half a surrogate somewhere."""
        return sa.func.substring(sa.cast(letters.c.record, sa.Text), '"id": "([^"]*)"')

    def _statement(self) -> sa.Select[int, Any]:
        new = _given()
        key = (new.c.tenant_id, new.c.api_key_id, self.hour(new.c.created_at), new.c.endpoint)
        by_hour = _summed_from(rollups, (*key, sa.func.coalesce(new.c.model_used, _EMPTY), new.c.status_code), new)
        # The one that is named last runs first.
        first, last = _summed_from(totals, (new.c.status_code,), new).cte("statuses"), by_hour.cte("hours")
        return sa.select(sa.func.count(), _DURABLE).select_from(new).add_cte(last, first)


_EMPTY: Column = sa.literal_column("''")
_EPOCH: Column = sa.literal_column("timestamptz 'epoch'")
_MICROSECOND: Column = sa.literal_column("interval '1 microsecond'")
_UTC: Column = sa.literal_column("'UTC'")
# Where the database is set up to say of a commit that it is done before it is, this one is waited for all the same.
_DURABLE: Column = sa.literal_column(
    "case current_setting('synchronous_commit') when 'off' then set_config('synchronous_commit', 'on', true) end"
)
# How far a primary has written its log, and whether a standby has come so far, or has become a primary itself.
POSITION = sa.text("select cast(pg_current_wal_insert_lsn() as text)")
HAS_REACHED = sa.text(
    "select not pg_is_in_recovery() or pg_last_wal_replay_lsn() >= cast(cast(:position as text) as pg_lsn)"
)


def form_of(dialect: sa.Dialect) -> Form:
    """The form that a database wants."""
    forms: Mapping[str, Callable[[sa.Dialect], Form]] = {"sqlite": SqliteForm, "postgresql": PostgresForm}
    return forms[dialect.name](dialect)


def _in_utc(moment: Column) -> Column:
    """The same moment without its zone, or with it."""
    return sa.func.timezone(_UTC, moment)


def _given() -> sa.CTE:
    """The rows that are new: an insert of those whose columns are given as arrays, by the names of the record's fields.

    Texts are given without a length: a cast would cut what is too long, instead of refusing it.
    """
    types = {name: _array_type(name) for name in _FIELDS}
    arrays = [sa.cast(sa.bindparam(name), postgresql.ARRAY(each)) for name, each in types.items()]
    columns = [sa.column(name, each) for name, each in types.items()]
    given = sa.func.unnest(*arrays).table_valued(*columns, name="given").render_derived()
    values: dict[str, Column] = {name: given.c[name] for name in _FIELDS if name in logs.c}
    values["total_tokens"] = given.c.prompt_tokens + given.c.completion_tokens
    values["created_at"] = _EPOCH + given.c.created_at_us * _MICROSECOND
    insert = postgresql.insert(logs).from_select(list(values), sa.select(*values.values()))
    return insert.on_conflict_do_nothing().returning(*[logs.c[name] for name in _SUMMED]).cte("new")


def _array_type(name: str) -> sa.types.TypeEngine[Any]:
    if name == "created_at_us":
        return sa.BigInteger()
    kind = logs.c[name].type
    return sa.Text() if isinstance(kind, sa.String) else kind


def _summed_from(table: sa.Table, key: Sequence[Column], new: sa.CTE) -> postgresql.Insert:
    """An insert of the sums of new rows by a key, in its order, into a table of sums."""
    cached = sa.func.count().filter(new.c.response_cached)
    sums = [sa.func.count(), cached, *[sa.func.sum(new.c[name]) for name in SUM_NAMES[2:]]]
    places: list[Column] = [sa.literal_column(str(number)) for number in range(1, len(key) + 1)]
    rows = sa.select(*key, *sums).group_by(*places).order_by(*places)
    insert: postgresql.Insert = _summing(postgresql.insert(table).from_select(table.columns.keys(), rows))
    return insert


def _summing(insert: Any) -> Any:
    """An insert into a table of sums that adds to the row that is there."""
    names = {name: insert.table.c[name] + insert.excluded[name] for name in SUM_NAMES}
    return insert.on_conflict_do_update(index_elements=list(insert.table.primary_key), set_=names)


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


def _those(rows: Sequence[UsageRecord], keys: Sequence[Values]) -> Sequence[UsageRecord]:
    """The first row of each id and time as SQLite has them."""
    by_key = {(row.id, row.created_at_us): row for row in reversed(rows)}
    return [by_key[str(UUID(id)), us] for id, us in keys]


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
