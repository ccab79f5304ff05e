"""A registered PostgreSQL database, through asyncpg on a loop of its own."""

import asyncio
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import asyncpg
import msgspec
from sqlglot import exp

from aiservice.core.errors import DatabaseDown, SqlTimeout, StatementRefused
from aiservice.sqlassist import gate
from aiservice.sqlassist.live.sampling import Sampler
from aiservice.sqlassist.model import Grid, GridColumn
from aiservice.sqlassist.runner import ROWS_MAX, RUN_S, Rows, RunFailed
from aiservice.sqlassist.schema import Column, ForeignKey, Schema, Table, kind_of, with_keys

CONNECT_S = 3.0
SCHEMA_S = 60.0
_Result = TypeVar("_Result")
_COLUMNS = """
SELECT c.oid, n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       col_description(c.oid, a.attnum), obj_description(c.oid, 'pg_class')
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg_toast%'
  AND has_table_privilege(c.oid, 'SELECT')
ORDER BY n.nspname = 'public' DESC, n.nspname, c.relname, a.attnum
"""
_KEYS = """
SELECT k.conrelid, k.contype, f.relname,
       (SELECT array_agg(a.attname ORDER BY o.place) FROM unnest(k.conkey) WITH ORDINALITY o(number, place)
        JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = o.number),
       (SELECT array_agg(a.attname ORDER BY o.place) FROM unnest(k.confkey) WITH ORDINALITY o(number, place)
        JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = o.number)
FROM pg_constraint k LEFT JOIN pg_class f ON f.oid = k.confrelid
WHERE k.contype IN ('p', 'u', 'f')
"""
_INDEXES = """
SELECT i.indrelid, (SELECT array_agg(a.attname ORDER BY o.place) FROM unnest(i.indkey::int[]) WITH ORDINALITY
       o(number, place) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = o.number)
FROM pg_index i WHERE NOT i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL
"""
_ENUMS = """
SELECT t.typname, array_agg(e.enumlabel ORDER BY e.enumsortorder)
FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid GROUP BY t.typname
"""
_ROLE = """
SELECT r.rolsuper, EXISTS (
    SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
      AND (has_table_privilege(c.oid, 'INSERT') OR has_table_privilege(c.oid, 'UPDATE')
           OR has_table_privilege(c.oid, 'DELETE')))
FROM pg_roles r WHERE r.rolname = current_user
"""


@contextmanager
def open_postgres(url: str) -> Iterator["PostgresDatabase"]:
    """A connection whose transactions are READ ONLY, and that waits for no lock."""
    with asyncio.Runner() as runner:
        try:
            connection = runner.run(_connect(url))
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            raise DatabaseDown(
                "The registered PostgreSQL database does not answer.", detail=type(error).__name__
            ) from None
        try:
            yield PostgresDatabase(runner, connection, url)
        finally:
            runner.run(_close(connection))


async def _connect(url: str) -> "asyncpg.Connection[Any]":
    return await asyncpg.connect(
        url.replace("postgres://", "postgresql://", 1),
        timeout=CONNECT_S,
        server_settings={
            "default_transaction_read_only": "on",
            "lock_timeout": "500",
            "idle_in_transaction_session_timeout": "10000",
            "application_name": "aiservice sql assist",
        },
    )


async def _close(connection: "asyncpg.Connection[Any]") -> None:
    try:
        await connection.close(timeout=1.0)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


class PostgresDatabase:
    """One connection."""

    is_live = True
    dialect = "postgres"

    def __init__(self, runner: asyncio.Runner, connection: "asyncpg.Connection[Any]", url: str) -> None:
        self._runner = runner
        self._connection = connection
        self._url = url

    def run(self, statement: exp.Expr, *, rows_max: int = ROWS_MAX, seconds: float = RUN_S) -> Rows:
        names, _, rows = self._await(self._fetch(gate.bare(statement, "postgres"), rows_max, seconds))
        return Rows(names, tuple(rows[:rows_max]), len(rows) > rows_max)

    def schema(self) -> Schema:
        moment = int(time.monotonic() // SCHEMA_S)
        return _kept(self._url, moment) or _keep(self._url, moment, self._await(self._read()))

    def plan(self, statement: exp.Expr) -> dict[str, Any]:
        sql = f"EXPLAIN (FORMAT JSON) {gate.bare(statement, 'postgres')}"
        _, _, rows = self._await(self._fetch(sql, 1, RUN_S))
        plan = msgspec.json.decode(rows[0][0])[0]["Plan"]
        return {"unit": "postgres_cost", "cost": plan["Total Cost"], "text": "\n".join(_lines(plan, 0))}

    def grid(self, sql: str, *, rows_max: int, seconds: float) -> Grid:
        statement = gate.read_one(sql, "postgres")
        gate.ensure_read(statement)
        started_s = time.monotonic()
        try:
            names, types, rows = self._await(self._fetch(gate.bare(statement, "postgres"), rows_max, seconds))
        except RunFailed as error:
            if error.kind == "time":
                raise SqlTimeout(f"The statement ran past its limit of {seconds:g} s and was ended.") from None
            raise StatementRefused(f"The database refused the statement: {error.reason}.", param="sql") from None
        columns = tuple(GridColumn(name, kind) for name, kind in zip(names, types, strict=True))
        cells = tuple(tuple(map(_shown, row)) for row in rows[:rows_max])
        return Grid(columns, cells, len(rows) > rows_max, round((time.monotonic() - started_s) * 1_000))

    def may_write(self) -> tuple[bool, bool]:
        """Whether the role is a superuser, and whether it may write to some table."""
        _, _, rows = self._await(self._fetch(_ROLE, 1, RUN_S))
        return bool(rows[0][0]), bool(rows[0][1])

    def _await(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        try:
            return self._runner.run(work)
        except (asyncpg.QueryCanceledError, TimeoutError):
            raise RunFailed("it ran past its time limit and was ended", "time") from None
        except (asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientPrivilegeError) as error:
            raise RunFailed(str(error), "refused") from None
        except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
            raise DatabaseDown(detail=type(error).__name__) from None
        except asyncpg.PostgresError as error:
            raise RunFailed(str(error)) from None

    async def _fetch(
        self, sql: str, rows_max: int, seconds: float
    ) -> tuple[tuple[str, ...], tuple[str, ...], list[tuple[Any, ...]]]:
        """Through a cursor of a READ ONLY transaction that is rolled back: one statement, no more rows than asked."""
        transaction = self._connection.transaction(readonly=True)
        await transaction.start()
        try:
            await self._connection.execute(f"SET LOCAL statement_timeout = {max(1, round(seconds * 1_000))}")
            prepared = await self._connection.prepare(sql, timeout=seconds + 1)
            cursor = await prepared.cursor(timeout=seconds + 1)
            rows = await cursor.fetch(rows_max + 1, timeout=seconds + 1)
            attributes = prepared.get_attributes()
        finally:
            if not self._connection.is_closed():
                await transaction.rollback()
        names = tuple(attribute.name for attribute in attributes)
        types = tuple(attribute.type.name for attribute in attributes)
        return names, types, [tuple(row) for row in rows]

    async def _read(self) -> Schema:
        columns = await self._connection.fetch(_COLUMNS, timeout=10)
        keys = await self._connection.fetch(_KEYS, timeout=10)
        indexes = await self._connection.fetch(_INDEXES, timeout=10)
        enums = dict(await self._connection.fetch(_ENUMS, timeout=10))
        tables: dict[int, list[Sequence[Any]]] = {}
        for row in columns:
            tables.setdefault(row[0], []).append(tuple(row))
        keys_of, indexes_of = _by_table(keys), _by_table(indexes)
        sampler, read = Sampler(len(tables)), []
        for oid, rows in tables.items():
            sampled = [await self._sampled(rows[0], _column(row, enums), sampler) for row in rows]
            read.append(
                _table(rows[0], sampled, keys=keys_of.get(oid, []), indexes=[row[1] for row in indexes_of.get(oid, [])])
            )
        return with_keys(Schema(tuple(read)))

    async def _sampled(self, row: Sequence[Any], column: Column, sampler: Sampler) -> Column:
        if column.values or not sampler.wants(column):
            return column
        table, name = exp.table_(row[2], db=row[1], quoted=True).sql("postgres"), _quoted(column.name)
        inner = f"(SELECT {name} FROM {table} LIMIT {sampler.rows_max}) sampled"
        sql = f"SELECT DISTINCT {name}::text FROM {inner} LIMIT {sampler.values_max + 1}"
        try:
            rows = (await self._fetch(sql, sampler.values_max + 1, RUN_S))[2]
        except asyncpg.PostgresError:
            return column
        return sampler.kept(column, [value for (value,) in rows])


def _quoted(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql("postgres")


@lru_cache(maxsize=32)
def _shelf(_url: str, _moment: int) -> list[Schema]:
    return []


def _kept(url: str, moment: int) -> Schema | None:
    return next(iter(_shelf(url, moment)), None)


def _keep(url: str, moment: int, schema: Schema) -> Schema:
    _shelf(url, moment)[:] = [schema]
    return schema


def _by_table(rows: Sequence[Any]) -> Mapping[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return found


def _column(row: Sequence[Any], enums: Mapping[str, list[str]]) -> Column:
    from_enum = tuple(enums.get(row[4], ()))
    kind = "text" if from_enum else kind_of(row[4])
    return Column(row[3], row[4].upper(), kind, not row[5], (row[6] or "")[:80].replace("\n", " "), from_enum)


def _table(row: Sequence[Any], columns: list[Column], *, keys: list[Any], indexes: list[list[str]]) -> Table:
    primary = next((tuple(key[3]) for key in keys if key[1] == b"p"), ())
    return Table(
        row[2] if row[1] == "public" else f"{row[1]}.{row[2]}",
        tuple(columns),
        primary,
        tuple(tuple(key[3]) for key in keys if key[1] == b"u"),
        tuple(ForeignKey(tuple(key[3]), key[2], tuple(key[4])) for key in keys if key[1] == b"f"),
        tuple(tuple(names) for names in indexes if names),
        (row[7] or "")[:80].replace("\n", " "),
    )


def _lines(plan: dict[str, Any], level: int) -> Iterator[str]:
    where = f" on {plan['Relation Name']}" if "Relation Name" in plan else ""
    using = f" using {plan['Index Name']}" if "Index Name" in plan else ""
    yield f"{'  ' * level}{plan['Node Type']}{using}{where} (cost {plan['Total Cost']}, rows {plan['Plan Rows']})"
    for child in plan.get("Plans", ()):
        yield from _lines(child, level + 1)


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)
