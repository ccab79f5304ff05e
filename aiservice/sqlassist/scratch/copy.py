"""A copy of a schema in memory, as a place to run statements in."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from sqlglot import exp

from aiservice.sqlassist.dialect import Untranslatable, translate
from aiservice.sqlassist.runner import ROWS_MAX, RUN_S, Rows, RunFailed
from aiservice.sqlassist.schema import Column, Schema, Table
from aiservice.sqlassist.scratch.constants import constants_of, named, tables_of
from aiservice.sqlassist.scratch.dates import DAY_ARITHMETIC, with_dates
from aiservice.sqlassist.scratch.duck import run_on_duck
from aiservice.sqlassist.scratch.guard import STEPS_PER_CALL, Guard
from aiservice.sqlassist.scratch.rows import ROWS, RowMaker

_TYPES: Mapping[str, str] = {
    "integer": "INTEGER", "real": "REAL", "boolean": "INTEGER", "binary": "BLOB", "unknown": "",
}  # fmt: skip


# Whose LIKE takes capitals and small letters for the same, as SQLite's own does.
_LOOSE_LIKE = frozenset({"fabric", "mysql", "sqlite", "tsql"})


@contextmanager
def open_scratch(
    schema: Schema,
    dialect: str,
    *,
    statements: Sequence[exp.Expr] = (),
    seed: int = 1,
    rows: int = ROWS,
    steps_per_call: int = STEPS_PER_CALL,
) -> Iterator["Scratch"]:
    """A copy of the tables that the statements name, filled so that their constants matter.

    `rows` is the most that a table gets. Steps are counted `steps_per_call` at a time: fewer count closer, and cost.
    """
    names = tables_of(schema, statements)
    made = RowMaker(schema, constants_of(schema, statements), seed=seed, rows=rows).make(names)
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with closing(connection):
        tables = [table for name in names if (table := schema.table(name)) is not None]
        connection.execute(f"PRAGMA case_sensitive_like = {int(dialect not in _LOOSE_LIKE)}")
        connection.execute("BEGIN")
        for table in tables:
            _fill(connection, table, made.get(table.name, []))
        connection.execute("COMMIT")
        connection.execute("ANALYZE")
        yield Scratch(Guard(connection, steps_per_call=steps_per_call), dialect, tables, rows=made)


def _fill(connection: sqlite3.Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    name = exp.table_(table.name, quoted=True).sql("sqlite")
    columns = ", ".join(_definition(column) for column in table.columns)
    connection.execute(f"CREATE TABLE {name} ({columns})")
    # Keys are no constraints here: SQLite would leave out work for them that other databases do.
    for number, index in enumerate((table.primary_key, *table.unique, *table.indexes)):
        if index and all(table.column(part) is not None for part in index):
            listed = ", ".join(_quoted(part) for part in index)
            label = _quoted(f"{table.name}_{number}")
            connection.execute(f"CREATE INDEX {label} ON {name} ({listed})")
    places = ", ".join("?" * len(table.columns))
    connection.executemany(f"INSERT INTO {name} VALUES ({places})", rows)


def _definition(column: Column) -> str:
    return f"{_quoted(column.name)} {_TYPES.get(column.kind, 'TEXT')}"


def _quoted(name: str) -> str:
    return exp.to_identifier(name, quoted=True).sql("sqlite")


class Scratch:
    """A `Runner` on made rows."""

    is_live = False
    dialect = "sqlite"

    def __init__(
        self, guard: Guard, dialect: str, tables: Sequence[Table], *, rows: Mapping[str, list[tuple[Any, ...]]]
    ) -> None:
        self._source = dialect
        self._tables = tables
        self._rows = rows
        self._guard = guard

    def run(self, statement: exp.Expr, *, rows_max: int = ROWS_MAX, seconds: float = RUN_S) -> Rows:
        """In SQLite, or where that has no words for it in DuckDB, which counts no steps."""
        statement = self._local(statement)
        try:
            sql = self._sql(statement)
            return self._guard.run(sql, rows_max=rows_max, seconds=seconds)
        except Untranslatable:
            pass
        except RunFailed as error:
            if error.kind == "time" or not ("no such function" in error.reason or "syntax" in error.reason):
                raise
        return run_on_duck(statement, self._source, self._tables, rows=self._rows, rows_max=rows_max, seconds=seconds)

    def plan(self, statement: exp.Expr) -> str:
        """SQLite's own words for how it will go about a statement, a line a step; raises `RunFailed`."""
        try:
            return "\n".join(self._guard.explain(self._sql(self._local(statement))))
        except Untranslatable as error:
            raise RunFailed(str(error)) from None

    def add_index(self, table: str, columns: Sequence[str]) -> None:
        """Puts one more index on a table of the copy."""
        label = _quoted("_".join((table, *columns, "tried")))
        listed = ", ".join(map(_quoted, columns))
        self._guard.build(f"CREATE INDEX {label} ON {exp.table_(table, quoted=True).sql('sqlite')} ({listed})")
        self._guard.build("ANALYZE")

    def _local(self, statement: exp.Expr) -> exp.Expr:
        """The statement with the copy's names of tables: here they are in no schema."""
        if not any(table.db for table in statement.find_all(exp.Table)):
            return statement
        copy = statement.copy()
        for table in copy.find_all(exp.Table):
            found = named(table, Schema(tuple(self._tables))) if table.db else None
            if found is not None:
                if not table.alias:
                    table.set("alias", exp.TableAlias(this=table.this.copy()))
                table.set("this", exp.to_identifier(found.name, quoted=True))
                table.set("db", None)
                table.set("catalog", None)
        for column in copy.find_all(exp.Column):
            column.set("db", None)
            column.set("catalog", None)
        return copy

    def _sql(self, statement: exp.Expr) -> str:
        dated = with_dates(statement, self._tables) if self._source in DAY_ARITHMETIC else statement
        return translate(dated, self._source, "sqlite")
