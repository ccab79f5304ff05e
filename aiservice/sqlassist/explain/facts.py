"""The facts of a statement: what an explanation has to name."""

from collections.abc import Iterable

from sqlglot import exp

from aiservice.sqlassist.model import Facts
from aiservice.sqlassist.names import Resolution


def facts_of(statement: exp.Expression, names: Resolution) -> Facts:
    """From the syntax tree; names as the schema spells them, where it knows them."""
    order = next((one for query in _queries(statement) if (one := query.args.get("order")) is not None), None)
    return Facts(
        tables=_unique(table_name(table, names) for table in statement.find_all(exp.Table) if table.name),
        columns=_unique(column_name(column, names) for column in _columns(statement)),
        aggregates=_unique(_aggregates(statement)),
        values=_unique(_values(statement)),
        group_by=_unique(_grouped(statement, names)),
        order=None if order is None else ("desc" if order.expressions[0].args.get("desc") else "asc"),
        limit=next((count for query in _queries(statement) if (count := _limit(query)) is not None), None),
        set_ops=_unique(node.key for node in statement.find_all(exp.SetOperation)),
    )


def column_name(column: exp.Column, names: Resolution) -> str:
    known = names.of(column)
    return column.name if known is None else known[1].name


def table_name(table: exp.Table, names: Resolution) -> str:
    known = names.tables.get(id(table))
    return table.name if known is None else known.name


def number(literal: exp.Literal) -> str:
    """A number as people write it: 20, not 20.0."""
    text = literal.name
    return text.removesuffix(".0") if not literal.is_string else text


def _queries(statement: exp.Expression) -> Iterable[exp.Expression]:
    """The outermost first."""
    return statement.find_all(exp.Query, bfs=True)


def _columns(statement: exp.Expression) -> Iterable[exp.Column]:
    """All but those that only join tables."""
    for column in statement.find_all(exp.Column):
        join = column.find_ancestor(exp.Join, exp.Select)
        is_joining = isinstance(join, exp.Join) and _is_key_pair(column)
        if not is_joining and not isinstance(column.this, exp.Star):
            yield column


def _is_key_pair(column: exp.Column) -> bool:
    pair = column.parent
    return isinstance(pair, exp.EQ) and isinstance(pair.this, exp.Column) and isinstance(pair.expression, exp.Column)


def _aggregates(statement: exp.Expression) -> Iterable[str]:
    for function in statement.find_all(exp.AggFunc):
        yield function.sql_name().lower() if not isinstance(function, exp.Anonymous) else function.name.lower()


def _values(statement: exp.Expression) -> Iterable[str]:
    for literal in statement.find_all(exp.Literal):
        if not isinstance(
            literal.parent, exp.Limit | exp.Offset | exp.Fetch | exp.DataTypeParam | exp.Ordered | exp.Group
        ):
            yield number(literal)


def _grouped(statement: exp.Expression, names: Resolution) -> Iterable[str]:
    for group in statement.find_all(exp.Group):
        select = group.parent
        for one in group.expressions:
            if isinstance(one, exp.Literal) and not one.is_string and isinstance(select, exp.Select):
                place = int(one.name) - 1
                one = select.selects[place].unalias() if 0 <= place < len(select.selects) else one
            if isinstance(one, exp.Column):
                yield column_name(one, names)
            else:
                yield one.sql()


def _limit(query: exp.Expression) -> int | None:
    limit = query.args.get("limit")
    if isinstance(limit, exp.Limit):
        count = limit.expression
    elif isinstance(limit, exp.Fetch):
        count = limit.args.get("count")
    else:
        return None
    return int(count.name) if isinstance(count, exp.Literal) and count.name.isdigit() else None


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
