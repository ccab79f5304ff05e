"""Prints a statement in another dialect, or says that it cannot be said there."""

from collections.abc import Callable
from functools import lru_cache

import sqlglot
from sqlglot import ErrorLevel, exp
from sqlglot.errors import SqlglotError

from aiservice.sqlassist.dialect.for_sqlite import for_sqlite, interval_of
from aiservice.sqlassist.dialect.from_sqlite import from_sqlite
from aiservice.sqlassist.dialect.meaning import meaning_of
from aiservice.sqlassist.dialect.table import NO, TABLE

_TABLED = frozenset({"postgres", "mysql", "sqlite", "tsql", "bigquery", "duckdb"})
_SHIFTS = (
    exp.Add, exp.Sub, exp.DateAdd, exp.DateSub, exp.DatetimeAdd, exp.DatetimeSub, exp.TimestampAdd, exp.TimestampSub,
    exp.TsOrDsAdd,
)  # fmt: skip


class Untranslatable(Exception):
    """The target has no words for something in the statement; the message names it."""


def translate(statement: exp.Expr, source: str, target: str) -> str:
    """The statement as text of the target dialect; raises `Untranslatable`.

    Functions of dates and texts go by their meaning through `TABLE`, for SQLite through `for_sqlite`; the rest is
    printed by sqlglot, which is held to what it says it cannot do.
    """
    try:
        return _translated(statement, source, target)
    except (SqlglotError, ValueError) as error:
        raise Untranslatable(str(error).splitlines()[0][:200]) from None


def _translated(statement: exp.Expr, source: str, target: str) -> str:
    if source == target:
        return statement.sql(dialect=target, copy=True)
    if target == "sqlite":
        return for_sqlite(statement, source).sql(dialect="sqlite")
    said = statement.copy()
    if source == "sqlite":
        said = _bottom_up(said, from_sqlite)
    if target in _TABLED:
        said = _bottom_up(said, lambda node: _worded(node, source, target))
    return said.sql(dialect=target, unsupported_level=ErrorLevel.RAISE, copy=False)


def _bottom_up(root: exp.Expr, change: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    """Children first; what is put in is not looked at again."""
    for node in reversed(list(root.walk())):
        changed = change(node)
        if changed is not node:
            if node is root:
                root = changed
            else:
                node.replace(changed)
    return root


def _worded(node: exp.Expr, source: str, target: str) -> exp.Expr:
    if target == "tsql" and isinstance(node, _SHIFTS):
        return _shifted(node)
    meaning = meaning_of(node, source)
    words = None if meaning is None else TABLE.get(meaning[0], {}).get(target)
    if meaning is None or words is None:
        return node
    if words == NO:
        raise ValueError(f"{node.sql(source)[:60]}")
    return _filled(words, target, [one.copy() for one in meaning[1]])


def _filled(words: str, target: str, arguments: list[exp.Expr]) -> exp.Expr:
    """The words with the arguments in the places of `a0`, `a1` ..."""
    root = _template(words, target).copy()
    for column in list(root.find_all(exp.Column)):
        name = column.name
        if name[:1] == "a" and name[1:].isdigit():
            argument = arguments[int(name[1:])].copy()
            argument = exp.Paren(this=argument) if isinstance(argument, exp.Binary) else argument
            if column is root:
                return argument
            column.replace(argument)
    return root


@lru_cache(maxsize=256)
def _template(words: str, target: str) -> exp.Expr:
    return sqlglot.parse_one(words, read=target)


def _shifted(node: exp.Expr) -> exp.Expr:
    """T-SQL has no intervals but DATEADD."""
    is_back = isinstance(node, exp.Sub) or "Sub" in type(node).__name__
    base, interval = node.this, interval_of(node.expression)
    if interval is None and isinstance(node, exp.Add):
        base, interval = node.expression, interval_of(node.this)
    if interval is None:
        unit = node.args.get("unit")
        if isinstance(node, exp.Add | exp.Sub) or unit is None:
            return node
        interval = node.expression, unit.name.upper()
    amount, unit_name = interval
    if isinstance(amount, exp.Literal) and amount.is_string:
        amount = exp.Literal.number(amount.name)
    amount = amount.copy()
    if is_back:
        amount = exp.Neg(this=amount if isinstance(amount, exp.Literal) else exp.Paren(this=amount))
    return exp.Anonymous(this="DATEADD", expressions=[exp.var(unit_name), amount, base.copy()])


def parses(sql: str, dialect: str) -> bool:
    """Whether a text is one statement of the dialect."""
    try:
        return len([found for found in sqlglot.parse(sql, read=dialect) if found is not None]) == 1
    except (SqlglotError, RecursionError, AttributeError, LookupError, TypeError, ValueError):
        return False
