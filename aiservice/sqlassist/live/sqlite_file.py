"""A registered SQLite file."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlglot import exp

from aiservice.core.errors import DatabaseDown, SqlTimeout, StatementRefused
from aiservice.sqlassist import gate
from aiservice.sqlassist.live.sampling import SAMPLING_S, Sampler
from aiservice.sqlassist.model import Grid, GridColumn
from aiservice.sqlassist.runner import ROWS_MAX, RUN_S, Rows, RunFailed
from aiservice.sqlassist.schema import Column, ForeignKey, Schema, Table, kind_of, with_keys
from aiservice.sqlassist.scratch.guard import Guard, shown

SCHEMA_S = 60.0
NOT_A_DATABASE = "file is not a database"


@contextmanager
def open_sqlite(url: str) -> Iterator["SqliteFile"]:
    """Opened `mode=ro`; nothing but reads gets past its authorizer."""
    path = path_of(url)
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1.0)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise DatabaseDown(f"The registered SQLite file cannot be read: {error}.") from None
    with closing(connection):
        yield SqliteFile(connection, path)


def path_of(url: str) -> Path:
    """The file of `sqlite:///folder/file`; always an absolute path, with three strokes or with four."""
    return Path("/" + url.partition("://")[2].partition("?")[0].lstrip("/"))


class SqliteFile:
    """One connection."""

    is_live = True
    dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._guard = Guard(connection)

    def run(self, statement: exp.Expr, *, rows_max: int = ROWS_MAX, seconds: float = RUN_S) -> Rows:
        return self._guard.run(gate.bare(statement, "sqlite"), rows_max=rows_max, seconds=seconds)

    def schema(self) -> Schema:
        moment = int(time.monotonic() // SCHEMA_S)
        return _read(str(self._path), self._path.stat().st_mtime_ns, moment)

    def plan(self, statement: exp.Expr) -> dict[str, Any]:
        sql = gate.bare(statement, "sqlite")
        steps = self._guard.run(sql, rows_max=ROWS_MAX, seconds=RUN_S).steps
        rows = self._guard.explain(sql)
        return {"unit": "sqlite_steps", "cost": steps, "text": "\n".join(rows)}

    def grid(self, sql: str, *, rows_max: int, seconds: float) -> Grid:
        statement = gate.read_one(sql, "sqlite")
        gate.ensure_read(statement)
        started_s = time.monotonic()
        try:
            rows = self._guard.run(gate.bare(statement, "sqlite"), rows_max=rows_max, seconds=seconds)
        except RunFailed as error:
            if error.kind == "time":
                raise SqlTimeout(f"The statement ran past its limit of {seconds:g} s and was ended.") from None
            raise StatementRefused(f"The database refused the statement: {error.reason}.", param="sql") from None
        columns = tuple(GridColumn(name, "") for name in rows.columns)
        cells = tuple(tuple(map(shown, row)) for row in rows.rows)
        return Grid(columns, cells, rows.is_truncated, round((time.monotonic() - started_s) * 1_000))


@lru_cache(maxsize=32)
def _read(path: str, _changed_ns: int, _moment: int) -> Schema:
    """The file's schema, kept for its time of change and for a minute."""
    connection = sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=1.0)
    with closing(connection):
        until_s = time.monotonic() + SAMPLING_S
        # One slow view costs its sample, not the schema.
        connection.set_progress_handler(lambda: int(time.monotonic() > until_s), 10_000)
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
        ).fetchall()
        sampler = Sampler(len(names))
        tables = [table for (name,) in names if (table := _table(connection, name, sampler)) is not None]
    return with_keys(Schema(tuple(tables)))


def _table(connection: sqlite3.Connection, name: str, sampler: Sampler) -> Table | None:
    columns, key = [], {}
    for row in connection.execute('SELECT name, type, "notnull", pk FROM pragma_table_info(?)', (name,)).fetchall():
        column, type_text, is_not_null, place = row
        if place:
            key[place] = column
        columns.append(Column(column, type_text, kind_of(type_text), not (is_not_null or place)))
    if not columns:
        return None
    sampled = tuple(_sampled(connection, name, column, sampler=sampler) for column in columns)
    primary_key = tuple(key[place] for place in sorted(key))
    unique, indexes = _indexes(connection, name, primary_key)
    return Table(name, sampled, primary_key, unique, _foreign_keys(connection, name), indexes)


def _sampled(connection: sqlite3.Connection, table: str, column: Column, *, sampler: Sampler) -> Column:
    if not sampler.wants(column):
        return column
    query = exp.select(exp.column(column.name, quoted=True)).from_(exp.to_table(table, dialect="sqlite"))
    inner = query.limit(sampler.rows_max).subquery("sampled")
    outer = exp.select(exp.column(column.name, quoted=True)).distinct().from_(inner).limit(sampler.values_max + 1)
    try:
        rows = connection.execute(outer.sql(dialect="sqlite", identify=True)).fetchall()
    except sqlite3.Error:
        return column
    return sampler.kept(column, [row[0] for row in rows])


def _foreign_keys(connection: sqlite3.Connection, name: str) -> tuple[ForeignKey, ...]:
    found: dict[int, tuple[str, list[str], list[str]]] = {}
    rows = connection.execute('SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?)', (name,)).fetchall()
    for number, table, column, reference in rows:
        entry = found.setdefault(number, (table, [], []))
        entry[1].append(column)
        if reference is not None:
            entry[2].append(reference)
    return tuple(ForeignKey(tuple(columns), table, tuple(references)) for table, columns, references in found.values())


def _indexes(
    connection: sqlite3.Connection, name: str, primary_key: tuple[str, ...]
) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]:
    unique: list[tuple[str, ...]] = []
    plain: list[tuple[str, ...]] = []
    rows = connection.execute('SELECT name, "unique", partial FROM pragma_index_list(?)', (name,)).fetchall()
    for index, is_unique, is_partial in rows:
        parts = connection.execute("SELECT name FROM pragma_index_info(?)", (index,)).fetchall()
        columns = tuple(part for (part,) in parts if part is not None)
        if columns and not is_partial and columns != primary_key:
            (unique if is_unique else plain).append(columns)
    return tuple(unique), tuple(plain)
