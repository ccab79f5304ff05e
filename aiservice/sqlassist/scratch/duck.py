"""The second scratch copy, for statements that SQLite has no words for."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from threading import Timer
from typing import Any

import duckdb
from sqlglot import exp

from aiservice.sqlassist.dialect import Untranslatable, translate
from aiservice.sqlassist.runner import Rows, RunFailed
from aiservice.sqlassist.schema import Table

_CONFIG: Mapping[str, Any] = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "threads": "1",
    "memory_limit": "256MB",
}
_TYPES: Mapping[str, str] = {
    "integer": "BIGINT", "real": "DOUBLE", "boolean": "BOOLEAN", "date": "DATE", "datetime": "TIMESTAMP",
    "time": "TIME", "binary": "BLOB",
}  # fmt: skip


def run_on_duck(
    statement: exp.Expr,
    source: str,
    tables: Sequence[Table],
    *,
    rows: Mapping[str, list[tuple[Any, ...]]],
    rows_max: int,
    seconds: float,
) -> Rows:
    """In a memory of its own, without files, network or extensions; raises `RunFailed`."""
    try:
        sql = translate(statement, source, "duckdb")
    except Untranslatable as error:
        raise RunFailed(f"it cannot be put into another dialect: {error}") from None
    try:
        with closing(duckdb.connect(":memory:", config=dict(_CONFIG))) as connection:
            for table in tables:
                _fill(connection, table, rows.get(table.name, []))
            connection.execute("SET lock_configuration = true")
            return _rows(connection, sql, rows_max, seconds=seconds)
    except duckdb.Error as error:
        raise RunFailed(str(error).splitlines()[0]) from None


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, rows_max: int, *, seconds: float) -> Rows:
    timer = Timer(seconds, connection.interrupt)
    timer.start()
    try:
        result = connection.execute(sql)
        names = tuple(part[0] for part in result.description or ())
        rows = result.fetchmany(rows_max + 1)
    except duckdb.InterruptException:
        raise RunFailed("it ran past its time limit and was ended", "time") from None
    finally:
        timer.cancel()
    return Rows(names, tuple(rows[:rows_max]), len(rows) > rows_max)


def _fill(connection: duckdb.DuckDBPyConnection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    name = exp.table_(table.name, quoted=True).sql("duckdb")
    columns = ", ".join(
        f"{exp.to_identifier(column.name, quoted=True).sql('duckdb')} {_TYPES.get(column.kind, 'VARCHAR')}"
        for column in table.columns
    )
    connection.execute(f"CREATE TABLE {name} ({columns})")
    if rows:
        places = ", ".join("?" * len(table.columns))
        fit = [
            tuple(_fitting(cell, column.kind) for cell, column in zip(row, table.columns, strict=True)) for row in rows
        ]
        connection.executemany(f"INSERT INTO {name} VALUES ({places})", fit)


def _fitting(cell: Any, kind: str) -> Any:
    """DuckDB is strict where SQLite is not: an empty text is no date."""
    if kind in ("date", "datetime") and isinstance(cell, str):
        return cell if cell[:4].isdigit() and len(cell) >= 10 else None
    if kind in ("integer", "real") and isinstance(cell, str):
        return None
    return cell
