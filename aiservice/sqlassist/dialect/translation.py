"""Prints a statement in another dialect, or says that it cannot be said there."""

import sqlglot
from sqlglot import ErrorLevel, exp
from sqlglot.errors import SqlglotError

from aiservice.sqlassist.dialect.for_sqlite import for_sqlite


class Untranslatable(Exception):
    """The target has no words for something in the statement; the message names it."""


def translate(statement: exp.Expr, source: str, target: str) -> str:
    """The statement as text of the target dialect; raises `Untranslatable`.

    SQLite has few functions of its own, so that what others call by name is spelled out for it (`for_sqlite`); between
    the others sqlglot's own printers are used, and held to what they say they cannot do.
    """
    try:
        if target != "sqlite":
            return statement.sql(dialect=target, unsupported_level=ErrorLevel.RAISE, copy=True)
        spelled = statement.copy() if source == "sqlite" else for_sqlite(statement, source)
        return spelled.sql(dialect="sqlite")
    except (SqlglotError, ValueError) as error:
        raise Untranslatable(str(error).splitlines()[0][:200]) from None


def parses(sql: str, dialect: str) -> bool:
    """Whether a text is one statement of the dialect."""
    try:
        return len([found for found in sqlglot.parse(sql, read=dialect) if found is not None]) == 1
    except (SqlglotError, RecursionError):
        return False
