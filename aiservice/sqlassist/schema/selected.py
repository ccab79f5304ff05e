"""The columns of a view: what its query selects."""

import re
from collections.abc import Callable, Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from aiservice.sqlassist.schema.draft import Draft
from aiservice.sqlassist.schema.model import Column

_TOP_MAX = 500
# sqlglot raises others than its own errors for some texts that are no SQL.
_UNREAD = (SqlglotError, RecursionError, AttributeError, IndexError, KeyError, TypeError, ValueError)
_ENDING = re.compile(r"\bWITH\s+((NO\s+)?DATA|((CASCADED|LOCAL)\s+)?CHECK\s+OPTION|READ\s+ONLY)\s*$", re.IGNORECASE)


def selected(sql: str, dialect: str, draft_of: Callable[[str], Draft | None]) -> dict[str, Column]:
    """By name in lower case; a column of a known table keeps its type. Nothing where the query cannot be read."""
    try:
        query = sqlglot.parse_one(_ENDING.sub("", sql), read=dialect)
    except _UNREAD:
        return {}
    while isinstance(query, exp.SetOperation | exp.Subquery):
        query = query.this
    if not isinstance(query, exp.Select):
        return {}
    return {column.name.lower(): column for column in _columns(query, draft_of)}


def _columns(query: exp.Select, draft_of: Callable[[str], Draft | None]) -> Iterator[Column]:
    sources = {
        table.alias_or_name.lower(): draft
        for table in _tables(query)
        if (draft := draft_of(f"{table.db}.{table.name}" if table.db else table.name)) is not None
    }
    for one in query.expressions[:_TOP_MAX]:
        inner = one.this if isinstance(one, exp.Alias) else one
        if isinstance(inner, exp.Star) or (isinstance(inner, exp.Column) and isinstance(inner.this, exp.Star)):
            owner = inner.table.lower() if isinstance(inner, exp.Column) else ""
            for alias, draft in sources.items():
                if not owner or alias == owner:
                    yield from draft.columns.values()
        elif one.alias_or_name:
            yield _column(one.alias_or_name, inner, sources)


def _tables(query: exp.Select) -> Iterator[exp.Table]:
    source = query.args.get("from_")
    for node in (source, *(query.args.get("joins") or ())):
        if node is not None and isinstance(node.this, exp.Table):
            yield node.this


def _column(name: str, inner: exp.Expr, sources: dict[str, Draft]) -> Column:
    if isinstance(inner, exp.Column):
        owner = inner.table.lower()
        for alias, draft in sources.items():
            known = draft.columns.get(inner.name.lower())
            if known is not None and owner in ("", alias):
                return Column(name, known.type, known.kind, True, known.comment, known.values)
    return Column(name)
