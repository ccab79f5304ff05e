"""Days added to or taken from a date column, or counted between two: SQLite has to be told that it is a date."""

from collections.abc import Sequence

from sqlglot import exp

from aiservice.sqlassist.schema import Kind, Table

# Where `date - date` is a number of days and `date + 7` a date.
DAY_ARITHMETIC = frozenset({"duckdb", "materialize", "oracle", "postgres", "redshift", "risingwave", "snowflake"})


def with_dates(statement: exp.Expr, tables: Sequence[Table]) -> exp.Expr:
    """Casts date columns to dates where they are added to or taken from; the statement itself where none is."""
    if not any(_is_dated(column, tables) for column in _operands(statement)):
        return statement
    copy = statement.copy()
    for column in _operands(copy):
        if _is_dated(column, tables):
            column.replace(exp.cast(column.copy(), "DATE"))
    return copy


def _operands(statement: exp.Expr) -> list[exp.Column]:
    return [
        side
        for node in statement.find_all(exp.Add, exp.Sub)
        for side in (node.this, node.expression)
        if isinstance(side, exp.Column)
    ]


def _is_dated(column: exp.Column, tables: Sequence[Table]) -> bool:
    """By name alone: every table here that has a column of this name has a date there."""
    kinds: set[Kind] = {found.kind for table in tables if (found := table.column(column.name)) is not None}
    return kinds == {"date"}
