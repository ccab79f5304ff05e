"""Subqueries that are run once for each row, or to the end where the first row would do."""

from collections.abc import Iterator, Mapping
from functools import partial

from sqlglot import exp

from aiservice.sqlassist.optimize.edit import Edit, replacing
from aiservice.sqlassist.optimize.ground import (
    Ground,
    add_join,
    conjuncts,
    is_plain,
    select_of,
    set_where,
    where_of,
)

_LIMITS = ("limit", "offset", "fetch")
# Of `COUNT(*) > 0` and the like: whether it says that there are rows, or that there are none.
_ANY: Mapping[tuple[type[exp.Expr], str], bool] = {
    (exp.GT, "0"): True, (exp.NEQ, "0"): True, (exp.GTE, "1"): True, (exp.EQ, "0"): False, (exp.LT, "1"): False,
    (exp.LTE, "0"): False,
}  # fmt: skip
_TURNED: Mapping[type[exp.Expr], type[exp.Expr]] = {
    exp.GT: exp.LT, exp.LT: exp.GT, exp.GTE: exp.LTE, exp.LTE: exp.GTE, exp.EQ: exp.EQ, exp.NEQ: exp.NEQ,
}  # fmt: skip


def count_to_exists(ground: Ground) -> Iterator[Edit]:
    """`(SELECT COUNT(*) ...) > 0` becomes EXISTS, `= 0` NOT EXISTS."""
    why = "EXISTS ends at the first row; COUNT reads them all."
    for node in ground.statement.find_all(*_TURNED):
        for operator, left, right in (
            (type(node), node.this, node.expression),
            (_TURNED[type(node)], node.expression, node.this),
        ):
            is_any = (
                _ANY.get((operator, right.name)) if isinstance(right, exp.Literal) and not right.is_string else None
            )
            select = left.unnest() if isinstance(left, exp.Subquery | exp.Paren) else None
            if is_any is None or not isinstance(select, exp.Select):
                continue
            inner = _counted(select)
            if inner is not None:
                exists = exp.Exists(this=inner)
                yield replacing(node, exists if is_any else exp.Not(this=exists), why)
                break


def _counted(select: exp.Select) -> exp.Select | None:
    """The rows that a SELECT of one COUNT counts; None where it is anything else."""
    if len(select.selects) != 1 or any(select.args.get(name) for name in ("group", "having", "distinct", *_LIMITS)):
        return None
    count = select.selects[0].unalias()
    if not isinstance(count, exp.Count) or not select.args.get("from_"):
        return None
    what = count.this
    inner = select.copy()
    assert isinstance(inner, exp.Select)
    inner.set("expressions", [exp.convert(1)])
    inner.set("order", None)
    if isinstance(what, exp.Distinct) and len(what.expressions) == 1:
        what = what.expressions[0]
    if isinstance(what, exp.Column):
        not_null = exp.Not(this=exp.Is(this=what.copy(), expression=exp.Null()))
        set_where(inner, [*conjuncts(where_of(inner)), not_null])
    elif not isinstance(what, exp.Star | exp.Literal):
        return None
    return inner


def not_in_to_not_exists(ground: Ground) -> Iterator[Edit]:
    """NOT IN over columns that are never NULL on either side; with NULL the two differ."""
    why = "Neither side is ever NULL, so that NOT EXISTS says the same, and it can use an index on what is looked for."
    for node in ground.statement.find_all(exp.Not):
        membership = node.this.unnest()
        if not isinstance(membership, exp.In) or membership.args.get("query") is None:
            continue
        inner, outer, column = membership.args["query"].unnest(), select_of(node), membership.this
        if not is_plain(inner) or len(inner.selects) != 1 or outer is None or not isinstance(column, exp.Column):
            continue
        what = inner.selects[0].unalias()
        if isinstance(what, exp.Column) and ground.is_not_null(what, inner) and ground.is_not_null(column, outer):
            exists = _exists(column, what, inner, ground=ground)
            if exists is not None:
                yield replacing(node, exp.Not(this=exists), why)


def _exists(column: exp.Column, what: exp.Column, inner: exp.Select, *, ground: Ground) -> exp.Expr | None:
    """EXISTS of a row that is equal; None where a name would be caught by the inner tables."""
    outer = _qualified(column, ground)
    select = inner.copy()
    assert isinstance(select, exp.Select)
    if outer is None or outer.table.lower() in {source.name for source in ground.sources(inner)}:
        return None
    mine = _qualified(what, ground)
    if mine is None:
        return None
    select.set("expressions", [exp.convert(1)])
    select.set("order", None)
    set_where(select, [*conjuncts(where_of(select)), exp.EQ(this=mine, expression=outer)])
    return exp.Exists(this=select)


def _qualified(column: exp.Column, ground: Ground) -> exp.Column | None:
    """With its table's name before it."""
    if column.table:
        return column.copy()
    select = select_of(column)
    source = ground.owner(column, select) if select is not None else None
    if source is None:
        return None
    return exp.column(column.this.copy(), table=exp.to_identifier(source.node.alias_or_name))


def in_to_exists(ground: Ground) -> Iterator[Edit]:
    """IN of a subquery becomes EXISTS; where neither is negated NULL makes no difference to WHERE."""
    why = "EXISTS can use an index on what is looked for and ends at the first row."
    for select in ground.selects():
        for node in conjuncts(where_of(select)):
            inner = node.args["query"].unnest() if isinstance(node, exp.In) and node.args.get("query") else None
            if inner is None or not is_plain(inner) or len(inner.selects) != 1 or not isinstance(node.this, exp.Column):
                continue
            what = inner.selects[0].unalias()
            exists = _exists(node.this, what, inner, ground=ground) if isinstance(what, exp.Column) else None
            if exists is not None:
                yield replacing(node, exists, why)


def in_to_join(ground: Ground) -> Iterator[Edit]:
    """IN of a key of a table becomes a join with it: a key has at most one row."""
    why = "The list is of a key, so that a join finds at most one row for each and needs no list."
    for select in ground.selects():
        if not select.args.get("from_") or _has_bare_star(select):
            continue
        parts = conjuncts(where_of(select))
        for place, node in enumerate(parts):
            inner = node.args["query"].unnest() if isinstance(node, exp.In) and node.args.get("query") else None
            if inner is None or not _is_joinable(inner, select, ground) or not isinstance(node.this, exp.Column):
                continue
            if all(_qualified(column, ground) is not None for column in _own_columns(select, inner)):
                yield Edit(node, why, partial(_joined, select, place, inner, ground=ground))


def _has_bare_star(select: exp.Select) -> bool:
    return any(isinstance(one, exp.Star) for one in select.selects)


def _own_columns(select: exp.Select, inner: exp.Select) -> list[exp.Column]:
    within = {id(column) for column in inner.find_all(exp.Column)}
    return [c for c in select.find_all(exp.Column) if id(c) not in within and select_of(c) is select]


def _is_joinable(inner: exp.Expr, outer: exp.Select, ground: Ground) -> bool:
    if not isinstance(inner, exp.Select) or not is_plain(inner) or len(inner.selects) != 1 or inner.find(exp.Subquery):
        return False
    sources, what = ground.sources(inner), inner.selects[0].unalias()
    taken = {source.name for source in ground.sources(outer)}
    if len(sources) != 1 or sources[0].table is None or sources[0].name in taken or not isinstance(what, exp.Column):
        return False
    if any(ground.owner(column, inner) is None for column in inner.find_all(exp.Column)):
        return False
    return frozenset({what.name.lower()}) in ground.unique_lists(sources[0].table)


def _joined(select: exp.Select, place: int, inner: exp.Select, *, ground: Ground) -> exp.Expr:
    def named(column: exp.Column) -> exp.Column:
        return _qualified(column, ground) or column

    parts = conjuncts(where_of(select))
    node = parts[place]
    for column in list(_own_columns(select, inner)) + list(inner.find_all(exp.Column)):
        qualified = named(column)
        if not column.table and qualified is not column:
            column.set("table", qualified.args["table"].copy())
    what = inner.selects[0].unalias()
    parts[place : place + 1] = conjuncts(where_of(inner))
    source = inner.args["from_"].this.copy()
    set_where(select, parts)
    return add_join(select, source, exp.EQ(this=what.copy(), expression=node.this.copy()))
