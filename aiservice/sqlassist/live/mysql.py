"""A registered MySQL or MariaDB database, through PyMySQL."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pymysql
from sqlglot import exp

from aiservice.core.errors import DatabaseDown, SqlTimeout, StatementRefused
from aiservice.sqlassist import gate
from aiservice.sqlassist.live.sampling import Sampler
from aiservice.sqlassist.model import Grid, GridColumn
from aiservice.sqlassist.runner import ROWS_MAX, RUN_S, Rows, RunFailed
from aiservice.sqlassist.schema import Column, ForeignKey, Schema, Table, kind_of, with_keys

CONNECT_S = 3.0
READ_S = 15.0
SCHEMA_S = 60.0
# ER_STATEMENT_TIMEOUT (MariaDB), ER_QUERY_TIMEOUT (MySQL), ER_QUERY_INTERRUPTED.
_TIMED_OUT = frozenset({1969, 3024, 1317})
# ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, and the refusals of the database, of a table and of a privilege.
_FORBIDDEN = frozenset({1792, 1044, 1142, 1227})
_COLUMNS = """
SELECT c.table_name, c.column_name, c.column_type, c.is_nullable, c.column_key, c.column_comment, t.table_comment
FROM information_schema.columns c
JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
WHERE c.table_schema = DATABASE() ORDER BY c.table_name, c.ordinal_position
"""
_KEYS = """
SELECT table_name, constraint_name, column_name, referenced_table_name, referenced_column_name
FROM information_schema.key_column_usage
WHERE table_schema = DATABASE() AND referenced_table_name IS NOT NULL
ORDER BY table_name, constraint_name, ordinal_position
"""
_INDEXES = """
SELECT table_name, index_name, column_name, non_unique FROM information_schema.statistics
WHERE table_schema = DATABASE() AND column_name IS NOT NULL ORDER BY table_name, index_name, seq_in_index
"""


@contextmanager
def open_mysql(url: str) -> Iterator["MysqlDatabase"]:
    """A connection whose one transaction is READ ONLY; it loads no local file and takes one statement at a time."""
    parts = urlsplit(url)
    try:
        connection = pymysql.connect(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=parts.path.lstrip("/"),
            unix_socket=next(iter(parse_qs(parts.query).get("unix_socket", ())), None),
            connect_timeout=int(CONNECT_S),
            read_timeout=int(READ_S),
            charset="utf8mb4",
            local_infile=False,
            autocommit=False,
        )
    except (pymysql.MySQLError, OSError) as error:
        raise DatabaseDown("The registered MySQL database does not answer.", detail=type(error).__name__) from None
    with closing(connection):
        yield MysqlDatabase(connection, url)


class MysqlDatabase:
    """One connection."""

    is_live = True
    dialect = "mysql"

    def __init__(self, connection: "pymysql.connections.Connection[Any]", url: str) -> None:
        self._connection = connection
        self._url = url
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
            cursor.execute("START TRANSACTION READ ONLY")
            cursor.execute("SELECT VERSION()")
            row = cursor.fetchone()
        self._is_mariadb = row is not None and "mariadb" in str(row[0]).lower()

    def run(self, statement: exp.Expr, *, rows_max: int = ROWS_MAX, seconds: float = RUN_S) -> Rows:
        names, rows = self._fetch(gate.bare(statement, "mysql"), rows_max, seconds)
        return Rows(names, tuple(rows[:rows_max]), len(rows) > rows_max)

    def schema(self) -> Schema:
        shelf = _shelf(self._url, int(time.monotonic() // SCHEMA_S))
        if not shelf:
            shelf.append(self._read())
        return shelf[0]

    def plan(self, statement: exp.Expr) -> dict[str, Any]:
        names, rows = self._fetch(f"EXPLAIN {gate.bare(statement, 'mysql')}", ROWS_MAX, RUN_S)
        places = [index for index, name in enumerate(names) if name.lower() == "rows"]
        cost = 1
        for row in rows:
            cost *= max(1, int(row[places[0]] or 1)) if places else 1
        text = "\n".join(", ".join(f"{name} {cell}" for name, cell in zip(names, row, strict=True)) for row in rows)
        return {"unit": "mysql_rows", "cost": cost, "text": text}

    def grid(self, sql: str, *, rows_max: int, seconds: float) -> Grid:
        statement = gate.read_one(sql, "mysql")
        gate.ensure_read(statement)
        started_s = time.monotonic()
        try:
            names, rows = self._fetch(gate.bare(statement, "mysql"), rows_max, seconds)
        except RunFailed as error:
            if error.kind == "time":
                raise SqlTimeout(f"The statement ran past its limit of {seconds:g} s and was ended.") from None
            raise StatementRefused(f"The database refused the statement: {error.reason}.", param="sql") from None
        cells = tuple(tuple(map(_shown, row)) for row in rows[:rows_max])
        columns = tuple(GridColumn(name, "") for name in names)
        return Grid(columns, cells, len(rows) > rows_max, round((time.monotonic() - started_s) * 1_000))

    def _fetch(self, sql: str, rows_max: int, seconds: float) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        try:
            with self._connection.cursor(pymysql.cursors.SSCursor) as cursor:
                if self._is_mariadb:
                    cursor.execute(f"SET SESSION max_statement_time = {seconds:.3f}")
                else:
                    cursor.execute(f"SET SESSION max_execution_time = {round(seconds * 1_000)}")
                cursor.execute(sql)
                names = tuple(part[0] for part in cursor.description or ())
                rows = [tuple(row) for row in cursor.fetchmany(rows_max + 1)]
        except pymysql.MySQLError as error:
            raise _failure(error) from None
        return names, rows

    def _read(self) -> Schema:
        _, columns = self._fetch(_COLUMNS, 1_000_000, 10)
        _, keys = self._fetch(_KEYS, 1_000_000, 10)
        _, indexes = self._fetch(_INDEXES, 1_000_000, 10)
        tables: dict[str, list[tuple[Any, ...]]] = {}
        for row in columns:
            tables.setdefault(row[0], []).append(row)
        sampler = Sampler(len(tables))
        foreign, plain, unique = (
            _foreign_keys(keys),
            _indexes(indexes, is_unique=False),
            _indexes(indexes, is_unique=True),
        )
        read = []
        for name, rows in tables.items():
            sampled = tuple(self._sampled(name, _column(row), sampler) for row in rows)
            primary = tuple(row[1] for row in rows if row[4] == "PRI")
            read.append(
                Table(
                    name, sampled, primary, tuple(unique.get(name, ())), tuple(foreign.get(name, ())),
                    tuple(plain.get(name, ())), str(rows[0][6] or "")[:80],
                )
            )  # fmt: skip
        return with_keys(Schema(tuple(read)))

    def _sampled(self, table: str, column: Column, sampler: Sampler) -> Column:
        if column.values or not sampler.wants(column):
            return column
        inner = exp.select(exp.column(column.name, quoted=True)).from_(exp.table_(table, quoted=True))
        outer = exp.select(exp.column(column.name, quoted=True)).distinct()
        query = outer.from_(inner.limit(sampler.rows_max).subquery("sampled")).limit(sampler.values_max + 1)
        try:
            _, rows = self._fetch(query.sql("mysql"), sampler.values_max + 1, RUN_S)
        except RunFailed:
            return column
        return sampler.kept(column, [value for (value,) in rows])


@lru_cache(maxsize=32)
def _shelf(_url: str, _moment: int) -> list[Schema]:
    return []


def _column(row: Sequence[Any]) -> Column:
    type_text = str(row[2])
    values: tuple[str, ...] = ()
    if type_text.lower().startswith(("enum(", "set(")):
        inner = type_text[type_text.index("(") + 1 : type_text.rindex(")")]
        values = tuple(part.strip("' ").replace("''", "'") for part in inner.split(","))
    return Column(row[1], type_text.upper(), kind_of(type_text), row[3] == "YES", str(row[5] or "")[:80], values)


def _foreign_keys(rows: Sequence[Sequence[Any]]) -> dict[str, list[ForeignKey]]:
    grouped: dict[tuple[str, str], tuple[list[str], str, list[str]]] = {}
    for table, constraint, column, target, reference in rows:
        entry = grouped.setdefault((table, constraint), ([], target, []))
        entry[0].append(column)
        entry[2].append(reference)
    found: dict[str, list[ForeignKey]] = {}
    for (table, _), (columns, target, references) in grouped.items():
        found.setdefault(table, []).append(ForeignKey(tuple(columns), target, tuple(references)))
    return found


def _indexes(rows: Sequence[Sequence[Any]], *, is_unique: bool) -> dict[str, list[tuple[str, ...]]]:
    grouped: dict[tuple[str, str], list[str]] = {}
    for table, index, column, non_unique in rows:
        if index != "PRIMARY" and bool(int(non_unique)) != is_unique:
            grouped.setdefault((table, index), []).append(column)
    found: dict[str, list[tuple[str, ...]]] = {}
    for (table, _), columns in grouped.items():
        found.setdefault(table, []).append(tuple(columns))
    return found


def _failure(error: pymysql.MySQLError) -> RunFailed | DatabaseDown:
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    words = str(error.args[1]) if len(error.args) > 1 else str(error)
    if number in _TIMED_OUT:
        return RunFailed("it ran past its time limit and was ended", "time")
    if 2000 <= number < 2100:
        return DatabaseDown(detail=words)
    return RunFailed(words, "refused" if number in _FORBIDDEN else "error")


def _shown(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)
