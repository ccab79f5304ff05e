"""The constants that statements compare columns with, so that rows can be made on which they matter."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from aiservice.sqlassist.schema import Schema, Table


@dataclass(frozen=True, slots=True)
class Constant:
    """What a column is compared with; `lean` is 1 where the column is to be more, -1 where it is to be less, else 0."""

    value: str | float
    lean: int = 0


# As many of one column stand in the rows.
CONSTANTS_MAX = 60
Constants = Mapping[tuple[str, str], Sequence[Constant]]
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Like, exp.ILike, exp.In, exp.Between)


def constants_of(schema: Schema, statements: Iterable[exp.Expr]) -> Constants:
    """By table and column in lower case. A column without its table is looked for in all tables of the statement."""
    found: dict[tuple[str, str], list[Constant]] = {}
    for statement in statements:
        aliases = {table.alias_or_name.lower(): named(table, schema) for table in statement.find_all(exp.Table)}
        for comparison in statement.find_all(*_COMPARISONS):
            own = list(comparison.walk(prune=lambda node: isinstance(node, exp.Query)))
            columns = [node for node in own if isinstance(node, exp.Column)]
            literals = [node for node in own if isinstance(node, exp.Literal)]
            values = [value for one in literals if (value := _value(one)) is not None]
            for column in columns[:2] if values else ():
                planted = [Constant(value, _lean(comparison, column)) for value in values]
                for key in _homes(schema, column, aliases):
                    found.setdefault(key, []).extend(planted)
    return {key: _some(list(dict.fromkeys(values))) for key, values in found.items()}


def _some(values: list[Constant]) -> list[Constant]:
    """All, or of very many the first and the last."""
    half = CONSTANTS_MAX // 2
    return values if len(values) <= CONSTANTS_MAX else [*values[:half], *values[-half:]]


def named(table: exp.Table, schema: Schema) -> Table | None:
    """The schema's table, by its whole name or by the last part of it."""
    whole = schema.table(f"{table.db}.{table.name}") if table.db else None
    return whole or schema.table(table.name)


def _lean(comparison: exp.Expr, column: exp.Column) -> int:
    lean = 1 if isinstance(comparison, exp.GT) else -1 if isinstance(comparison, exp.LT) else 0
    is_right = any(node is column for node in comparison.args["expression"].walk()) if lean else False
    return -lean if is_right else lean


def tables_of(schema: Schema, statements: Iterable[exp.Expr]) -> list[str]:
    """The schema's tables that the statements name, with those that their foreign keys point at."""
    names: dict[str, None] = {}
    waiting = [named(table, schema) for statement in statements for table in statement.find_all(exp.Table)]
    while waiting:
        table = waiting.pop()
        if table is not None and table.name not in names:
            names[table.name] = None
            waiting += [schema.table(key.table) for key in table.foreign_keys if key.is_declared]
    return list(names)


def _homes(schema: Schema, column: exp.Column, aliases: Mapping[str, Table | None]) -> Iterable[tuple[str, str]]:
    alias = column.table.lower()
    tables = [aliases[alias] if alias in aliases else schema.table(alias)] if alias else list(aliases.values())
    for table in tables:
        if table is not None and table.column(column.name) is not None:
            yield table.name.lower(), column.name.lower()


def _value(literal: exp.Literal) -> str | float | None:
    if literal.is_string:
        return literal.name.strip("%") or None
    try:
        number = float(literal.name)
    except ValueError:
        return None
    return int(number) if number.is_integer() and abs(number) < 2**62 else number
