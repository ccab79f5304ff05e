"""A copy of a schema in memory, as a place to run statements in."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from sqlglot import exp

from aiservice.sqlassist.dialect import Untranslatable, translate
from aiservice.sqlassist.runner import ROWS_MAX, RUN_S, Rows, RunFailed
from aiservice.sqlassist.schema import Schema, Table
from aiservice.sqlassist.scratch.constants import constants_of, tables_of
from aiservice.sqlassist.scratch.duck import run_on_duck
from aiservice.sqlassist.scratch.guard import Guard
from aiservice.sqlassist.scratch.rows import ROWS, RowMaker

_TYPES: Mapping[str, str] = {
    "integer": "INTEGER", "real": "REAL", "boolean": "INTEGER", "binary": "BLOB", "unknown": "",
}  # fmt: skip


@contextmanager
def open_scratch(
    schema: Schema, dialect: str, *, statements: Sequence[exp.Expression] = (), seed: int = 1, rows: int = ROWS
) -> Iterator["Scratch"]:
    """A copy of the tables that the statements name, filled so that their constants matter."""
    names = tables_of(schema, statements)
    made = RowMaker(schema, constants_of(schema, statements), seed=seed, rows=rows).make(names)
    connection = sqlite3.connect(":memory:")
    with closing(connection):
        tables = [table for name in names if (table := schema.table(name)) is not None]
        for table in tables:
            _fill(connection, table, made.get(table.name, []))
        connection.commit()
        yield Scratch(connection, dialect, tables, made)


def _fill(connection: sqlite3.Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    columns = [
        exp.ColumnDef(this=exp.to_identifier(column.name, quoted=True), kind=exp.var(_TYPES.get(column.kind, "TEXT")))
        for column in table.columns
    ]
    name = exp.table_(table.name, quoted=True)
    create = exp.Create(this=exp.Schema(this=name, expressions=columns), kind="TABLE")
    connection.execute(create.sql(dialect="sqlite"))
    for number, index in enumerate((table.primary_key, *table.unique, *table.indexes)):
        if index:
            listed = ", ".join(exp.to_identifier(part, quoted=True).sql("sqlite") for part in index)
            label = exp.to_identifier(f"{table.name}_{number}", quoted=True).sql("sqlite")
            connection.execute(f"CREATE INDEX {label} ON {name.sql('sqlite')} ({listed})")
    places = ", ".join("?" * len(table.columns))
    connection.executemany(f"INSERT INTO {name.sql('sqlite')} VALUES ({places})", rows)  # noqa: S608  # names quoted


class Scratch:
    """A `Runner` on made rows."""

    is_live = False
    dialect = "sqlite"

    def __init__(
        self,
        connection: sqlite3.Connection,
        dialect: str,
        tables: Sequence[Table],
        rows: Mapping[str, list[tuple[Any, ...]]],
    ) -> None:
        self._source = dialect
        self._tables = tables
        self._rows = rows
        self._guard = Guard(connection)

    def run(self, statement: exp.Expression, *, rows_max: int = ROWS_MAX, seconds: float = RUN_S) -> Rows:
        """In SQLite, or where that has no words for it in DuckDB."""
        try:
            sql = translate(statement, self._source, "sqlite")
            return self._guard.run(sql, rows_max=rows_max, seconds=seconds)
        except Untranslatable:
            pass
        except RunFailed as error:
            if error.kind == "time" or not ("no such function" in error.reason or "syntax" in error.reason):
                raise
        return run_on_duck(statement, self._source, self._tables, self._rows, rows_max=rows_max)
