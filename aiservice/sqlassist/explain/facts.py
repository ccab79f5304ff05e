"""The facts of a statement: what an explanation has to name."""

import re
from collections.abc import Iterable, Iterator

from sqlglot import exp

from aiservice.sqlassist.model import Facts
from aiservice.sqlassist.names import Resolution
from aiservice.sqlassist.sources import cte_of

# They look like aggregates to sqlglot, and give a value for each row.
RANKING = (
    exp.RowNumber,
    exp.Rank,
    exp.DenseRank,
    exp.PercentRank,
    exp.CumeDist,
    exp.Ntile,
    exp.Lag,
    exp.Lead,
    exp.FirstValue,
    exp.LastValue,
    exp.NthValue,
)
_OTHER_AGGREGATES = frozenset({"total", "json_group_array", "json_group_object", "checksum_agg", "count_big"})
_NO_VALUE_IN = (
    exp.Limit,
    exp.Offset,
    exp.Fetch,
    exp.DataType,
    exp.DataTypeParam,
    exp.Parameter,
    exp.Escape,
    exp.Bracket,
)
_CALL = re.compile(r"\w+(?=\()")


def facts_of(statement: exp.Expr, names: Resolution, dialect: str = "") -> Facts:
    """From the syntax tree; names as the schema spells them, where it knows them."""
    order = next((one for query in _queries(statement) if (one := query.args.get("order")) is not None), None)
    is_descending = order is not None and bool(order.expressions) and order.expressions[0].args.get("desc")
    return Facts(
        tables=_unique(table_name(table, names) for table in tables_of(statement)),
        columns=_unique(column_name(column, names) for column in _columns(statement, names)),
        aggregates=_unique(function_name(node, dialect) for node in statement.walk(bfs=False) if is_aggregate(node)),
        values=_unique(_values(statement, names)),
        group_by=_unique(_grouped(statement, names)),
        order=None if order is None else "desc" if is_descending else "asc",
        limit=next((count for query in _queries(statement) if (count := _limit(query)) is not None), None),
        set_ops=_unique(node.key for node in statement.find_all(exp.SetOperation, bfs=False)),
    )


def tables_of(statement: exp.Expr) -> Iterator[exp.Table]:
    """The tables, without those that the statement makes itself and functions that give tables."""
    for table in statement.find_all(exp.Table, bfs=False):
        if isinstance(table.this, exp.Identifier) and table.name and cte_of(table) is None:
            yield table


def column_name(column: exp.Expr, names: Resolution) -> str:
    """As the schema spells it, else as written."""
    known = names.of(column)
    return column.name if known is None else known[1].name


def table_name(table: exp.Table, names: Resolution) -> str:
    """As the schema spells it, else as written."""
    known = names.tables.get(id(table))
    return table.name if known is None else known.name


def is_aggregate(node: exp.Expr) -> bool:
    """Whether a function makes one value of many rows."""
    if isinstance(node, exp.Anonymous):
        return node.name.lower() in _OTHER_AGGREGATES
    return isinstance(node, exp.AggFunc) and not isinstance(node, RANKING)


def function_name(node: exp.Expr, dialect: str) -> str:
    """A function's name in lower case, as the dialect calls it."""
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc):
        return node.name.lower()
    call = _CALL.match(node.sql(dialect=dialect, comments=False)) if isinstance(node, exp.Func) else None
    if call is not None:
        return call[0].lower()
    return node.sql_name().lower() if isinstance(node, exp.Func) else node.key


def number(literal: exp.Literal) -> str:
    """A constant as people write it: 20, not 20.0."""
    text: str = literal.name
    return text if literal.is_string else text.removesuffix(".0")


def is_negated(node: exp.Expr) -> bool:
    """NOT within IS NOT and NOT LIKE, which some dialects' trees have there and some around it."""
    return bool(node.args.get("negate"))


def is_key_pair(node: exp.Expr | None) -> bool:
    """Whether it says that two columns are equal, and nothing else."""
    return isinstance(node, exp.EQ) and isinstance(node.this, exp.Column) and isinstance(node.expression, exp.Column)


def in_place(node: exp.Expr, select: exp.Expr | None) -> exp.Expr:
    """What `GROUP BY 1` means, and what a name means that the SELECT gives."""
    if not isinstance(select, exp.Select):
        return node
    if isinstance(node, exp.Literal) and node.name.isdigit() and 0 < int(node.name) <= len(select.expressions):
        return _bare(select.expressions[int(node.name) - 1])
    if isinstance(node, exp.Column) and not node.table:
        for one in select.expressions:
            if isinstance(one, exp.Alias) and one.alias.lower() == node.name.lower():
                return _bare(one)
    return node


def _bare(node: exp.Expr) -> exp.Expr:
    return node.this if isinstance(node, exp.Alias) else node


def _queries(statement: exp.Expr) -> Iterator[exp.Expr]:
    """The outermost first."""
    for node in statement.walk(bfs=True):
        if isinstance(node, exp.Query):
            yield node


def _columns(statement: exp.Expr, names: Resolution) -> Iterator[exp.Expr]:
    """All but those that only join tables, and names of what the statement makes."""
    for node in statement.walk(bfs=False):
        if isinstance(node, exp.Column):
            if isinstance(node.this, exp.Star) or id(node) in names.made or id(node) in names.texts:
                continue
            if not (is_key_pair(node.parent) and isinstance(node.find_ancestor(exp.Join, exp.Select), exp.Join)):
                yield node
        elif isinstance(node, exp.Insert) and isinstance(node.this, exp.Schema):
            yield from node.this.expressions


def _values(statement: exp.Expr, names: Resolution) -> Iterator[str]:
    for node in statement.walk(bfs=False):
        if isinstance(node, exp.Column) and id(node) in names.texts:
            yield node.name
        if not isinstance(node, exp.Literal) or isinstance(node.parent, _NO_VALUE_IN) or node.arg_key == "format":
            continue
        is_place = isinstance(node.parent, exp.Ordered | exp.Group) and not node.is_string
        if not is_place:
            yield f"-{number(node)}" if isinstance(node.parent, exp.Neg) else number(node)


def _grouped(statement: exp.Expr, names: Resolution) -> Iterator[str]:
    for group in statement.find_all(exp.Group, bfs=False):
        for one in group.iter_expressions():
            by = in_place(one, group.parent) if id(one) not in names.columns else one
            for column in by.find_all(exp.Column, bfs=False):
                yield column_name(column, names)


def _limit(query: exp.Expr) -> int | None:
    limit = query.args.get("limit")
    count = limit.args.get("count" if isinstance(limit, exp.Fetch) else "expression") if limit is not None else None
    return int(count.name) if isinstance(count, exp.Literal) and count.name.isdigit() else None


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
