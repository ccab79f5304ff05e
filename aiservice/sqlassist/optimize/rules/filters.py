"""Conditions that are met in the wrong place, or said in a way that no index answers."""

from collections.abc import Iterator, Sequence
from functools import partial

from sqlglot import exp

from aiservice.sqlassist.optimize.edit import Edit, changing, replacing
from aiservice.sqlassist.optimize.ground import (
    Ground,
    conjuncts,
    has_aggregate,
    is_plain,
    same_column,
    select_of,
    set_where,
    where_of,
)

_SIMPLE = (exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Like, exp.In, exp.Between)


def having_to_where(ground: Ground) -> Iterator[Edit]:
    """A condition on group columns alone is met before the groups are made."""
    why = "The condition is about the columns that rows are grouped by: met before, fewer rows are grouped."
    for select in ground.selects():
        having, group = select.args.get("having"), select.args.get("group")
        if (
            having is None
            or group is None
            or any(group.args.get(n) for n in ("rollup", "cube", "grouping_sets", "totals"))
        ):
            continue
        parts = conjuncts(having.this)
        early = [part for part in parts if _is_of_groups(part, group.expressions, select)]
        if early:
            yield _moved(select, having, parts, early=early, why=why)


def _moved(
    select: exp.Select, having: exp.Expr, parts: Sequence[exp.Expr], *, early: Sequence[exp.Expr], why: str
) -> Edit:
    def apply() -> exp.Expr:
        late = [part for part in parts if part not in early]
        set_where(select, [*conjuncts(where_of(select)), *early])
        select.set("having", exp.Having(this=exp.and_(*[part.copy() for part in late])) if late else None)
        where = select.args["where"]
        assert isinstance(where, exp.Expr)
        return where

    return Edit(having, why, apply)


def _is_of_groups(part: exp.Expr, groups: Sequence[exp.Expr], select: exp.Select) -> bool:
    if has_aggregate(part) or part.find(exp.Query, exp.Window):
        return False
    columns = list(part.find_all(exp.Column))
    names = {alias.alias.lower() for alias in select.selects if isinstance(alias, exp.Alias)}
    return bool(columns) and all(
        any(same_column(group, column) for group in groups) and (column.table or column.name.lower() not in names)
        for column in columns
    )


def or_to_in(ground: Ground) -> Iterator[Edit]:
    """`a = 1 OR a = 2` becomes `a IN (1, 2)`."""
    why = "Several values of one column are one list, which an index answers at once."
    for node in ground.statement.find_all(exp.Or):
        if isinstance(node.parent, exp.Or):
            continue
        parts = [part.unnest() for part in node.flatten()]
        column = parts[0].this
        values = [value for part in parts for value in _values(part, column)]
        if isinstance(column, exp.Column) and all(list(_values(part, column)) for part in parts):
            unique = list(dict.fromkeys(values))
            yield replacing(node, exp.In(this=column.copy(), expressions=[one.copy() for one in unique]), why)


def _values(part: exp.Expr, column: exp.Expr | None) -> Iterator[exp.Expr]:
    if not isinstance(column, exp.Column) or not same_column(part.this, column):
        return
    if isinstance(part, exp.EQ) and isinstance(part.expression, exp.Literal):
        yield part.expression
    elif (
        isinstance(part, exp.In) and part.expressions and all(isinstance(one, exp.Literal) for one in part.expressions)
    ):
        yield from part.expressions


def or_to_union(ground: Ground) -> Iterator[Edit]:
    """Two conditions on different columns become two statements, each with its index."""
    why = "Each half can use its own index; the second leaves out the first's rows, so that none is there twice."
    select = ground.statement
    if (
        not isinstance(select, exp.Select)
        or not is_plain(select)
        or select.args.get("order")
        or select.args.get("with_")
    ):
        return
    if not select.args.get("from_"):
        return
    parts = conjuncts(where_of(select))
    for place, part in enumerate(parts):
        halves = [half.unnest() for half in part.flatten()] if isinstance(part, exp.Or) else []
        if len(halves) == 2 and all(isinstance(half, _SIMPLE) and not half.find(exp.Query) for half in halves):
            yield Edit(part, why, partial(_union, select, place))


def _union(select: exp.Select, place: int) -> exp.Expr:
    def half(number: int) -> exp.Select:
        one = select.copy()
        assert isinstance(one, exp.Select)
        parts = conjuncts(where_of(one))
        first, second = (part.unnest() for part in parts[place].flatten())
        if number == 0:
            parts[place] = first
        else:
            columns = list(first.find_all(exp.Column))
            nulls = [exp.Is(this=column.copy(), expression=exp.Null()) for column in columns]
            parts[place] = exp.and_(second.copy(), exp.or_(exp.not_(first.copy()), *nulls))
        set_where(one, parts)
        return one

    return exp.Union(this=half(0), expression=half(1), distinct=False)


def star_to_one(ground: Ground) -> Iterator[Edit]:
    """EXISTS asks for no column."""
    why = "EXISTS looks for a row, whatever is in it."
    for exists in ground.statement.find_all(exp.Exists):
        select = exists.this
        if isinstance(select, exp.Select) and is_plain(select) and select.is_star:
            yield changing(select, partial(select.set, "expressions", [exp.convert(1)]), why)


def narrowed(ground: Ground) -> Iterator[Edit]:
    """A subquery in FROM that reads every column gives those that are asked of it."""
    why = "Only the columns that are used have to be read and carried."
    for subquery in ground.statement.find_all(exp.Subquery):
        inner, outer = subquery.this, select_of(subquery)
        if not isinstance(inner, exp.Select) or outer is None or not subquery.alias or not inner.is_star:
            continue
        if not isinstance(subquery.parent, exp.From | exp.Join) or inner.args.get("distinct"):
            continue
        names = _asked(ground, subquery, outer)
        if names:
            new = [exp.column(exp.to_identifier(name)) for name in names]
            yield changing(inner, partial(inner.set, "expressions", new), why)


def _asked(ground: Ground, subquery: exp.Subquery, outer: exp.Select) -> list[str]:
    """The inner table's columns that the outer SELECT names; empty where that is not for certain."""
    inner = subquery.this
    sources = ground.sources(inner)
    table = sources[0].table if len(sources) == 1 else None
    if table is None or _has_star(outer):
        return []
    within = {id(node) for node in inner.find_all(exp.Column)}
    names = {column.name.lower() for column in outer.find_all(exp.Column) if id(column) not in within}
    used = [column.name for column in table.columns if column.name.lower() in names]
    return used if 0 < len(used) < len(table.columns) else []


def _has_star(outer: exp.Select) -> bool:
    return any(one.is_star for one in outer.selects)
