"""Readings that contradict a word of their question: they are not answered, however well the rest fits."""

import re

from sqlglot import exp

from aiservice.sqlassist.names import resolve
from aiservice.sqlassist.schema import Schema, Table

# "no more than 5" is a bound and no negation.
_BOUND = re.compile(
    r"\b(?:no|not)\s+(?:more|less|fewer|greater|later|earlier|older|younger|over|under|only)\b", re.IGNORECASE
)
_NEGATION = re.compile(r"\b(?:not|never|no|none|without|except|excluding|neither|nor|cannot)\b|n['’]t\b", re.IGNORECASE)
_EACH = re.compile(r"\b(?:each|every|per)\b", re.IGNORECASE)
_KEY = re.compile(r"\b(?:ids?|keys?|codes?|numbers?|nos?)\b", re.IGNORECASE)
_QUOTED = re.compile(r"[\"“'‘][^\"”'’]{2,}[\"”'’]")
_RECKONING = (exp.Max, exp.Min, exp.Sum, exp.Avg, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between)


def is_doubtful(question: str, statement: exp.Expr, schema: Schema) -> bool:
    """A lost negation, one row where one for each is asked for, groups of one row, or keys that are reckoned with."""
    bare = _BOUND.sub(" ", _QUOTED.sub(" ", question))
    if _NEGATION.search(bare) and not _negates(statement):
        return True
    if _EACH.search(bare) and _is_one_of_all(statement):
        return True
    if _has_groups_of_one(statement, schema):
        return True
    return not _KEY.search(bare) and _reckons_with_keys(statement, schema)


def _negates(statement: exp.Expr) -> bool:
    if any(isinstance(node, exp.Not | exp.NEQ | exp.Except | exp.Null) for node in statement.walk()):
        return True
    return any(node.args.get("negate") for node in statement.walk())


def _is_one_of_all(statement: exp.Expr) -> bool:
    """Cut to some rows, and nothing is grouped or partitioned."""
    parts = (exp.Group, exp.Window)
    return statement.args.get("limit") is not None and statement.find(*parts) is None


def _has_groups_of_one(statement: exp.Expr, schema: Schema) -> bool:
    """Grouped by the key of a table that no other one repeats: every count is 1."""
    group = statement.args.get("group")
    if not isinstance(group, exp.Group) or statement.find(exp.AggFunc) is None:
        return False
    names = resolve(statement, schema)
    tables = [table for node in statement.find_all(exp.Table) if (table := names.tables.get(id(node))) is not None]
    for column in group.expressions:
        known = names.of(column) if isinstance(column, exp.Column) else None
        if known is None or known[0].primary_key != (known[1].name,):
            continue
        own = known[0].name
        if not any(key.table == own for table in tables for key in table.foreign_keys if table.name != own):
            return True
    return False


def _reckons_with_keys(statement: exp.Expr, schema: Schema) -> bool:
    """Sums and the like of them, or more and less of them."""
    nodes = list(statement.find_all(*_RECKONING))
    if not nodes:
        return False
    names = resolve(statement, schema)
    for node in nodes:
        known = names.of(node.this) if isinstance(node.this, exp.Column) else None
        if known is not None and known[1].name.lower() in _keys(known[0]):
            return True
    return False


def _keys(table: Table) -> set[str]:
    """The columns that identify a row, here or elsewhere."""
    own = table.primary_key if len(table.primary_key) == 1 else ()
    return {name.lower() for name in (*own, *(name for key in table.foreign_keys for name in key.columns))}
