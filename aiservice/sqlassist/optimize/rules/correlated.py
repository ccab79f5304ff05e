"""A scalar subquery that is run once for each row, told as one grouped join."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from sqlglot import exp

from aiservice.sqlassist.optimize.edit import Edit
from aiservice.sqlassist.optimize.ground import Ground, add_join, conjuncts, is_grouped, select_of, set_where, where_of

_WHY = "The subquery is run once for each row; grouped and joined it is run once."
_CLAUSES = ("group", "having", "distinct", "limit", "offset", "fetch", "laterals", "with_", "windows", "qualify")


@dataclass(frozen=True, slots=True)
class Correlation:
    """A scalar subquery: one aggregate over rows that are equal to the outer row in these columns."""

    subquery: exp.Expr
    inner: exp.Select
    pairs: tuple[tuple[exp.Column, exp.Column], ...]
    conditions: tuple[exp.Expr, ...]


def correlated_to_join(ground: Ground) -> Iterator[Edit]:
    """`(SELECT AVG(x) FROM t WHERE t.k = o.k)` becomes a join with `SELECT k, AVG(x) FROM t GROUP BY k`."""
    for subquery in ground.statement.find_all(exp.Subquery):
        outer = select_of(subquery)
        found = _correlation(subquery, outer, ground) if outer is not None else None
        if outer is None or found is None or not _may_join(outer, subquery):
            continue
        yield Edit(subquery, _WHY, partial(_applied, found, outer, ground))


def _may_join(outer: exp.Select, subquery: exp.Expr) -> bool:
    """The outer SELECT has rows of its own to join, and the subquery is in its columns or its WHERE."""
    if not outer.args.get("from_") or any(isinstance(one, exp.Star) for one in outer.selects):
        return False
    node: exp.Expr | None = subquery
    while node is not None and node.parent is not outer:
        node = node.parent
    is_filter = isinstance(node, exp.Where)
    return is_filter or (not is_grouped(outer) and node is not None and node.arg_key == "expressions")


def _correlation(subquery: exp.Subquery, outer: exp.Select, ground: Ground) -> Correlation | None:
    inner = subquery.this
    if isinstance(subquery.parent, exp.From | exp.Join | exp.In | exp.Exists) or not isinstance(inner, exp.Select):
        return None
    if len(inner.selects) != 1 or any(inner.args.get(name) for name in _CLAUSES) or not _aggregate(inner):
        return None
    if any(source.side for source in ground.sources(inner)):
        return None
    pairs, conditions = [], []
    for part in conjuncts(where_of(inner)):
        pair = _pair(part, inner, outer, ground=ground)
        if pair is not None:
            pairs.append(pair)
        elif all(ground.owner(column, inner) is not None for column in part.find_all(exp.Column)):
            conditions.append(part)
        else:
            return None
    rest = [column for one in (*inner.selects, *(inner.args.get("joins") or ())) for column in one.find_all(exp.Column)]
    if not pairs or any(ground.owner(column, inner) is None for column in rest) or inner.find(exp.Subquery):
        return None
    return Correlation(subquery, inner, tuple(pairs), tuple(conditions))


def _aggregate(inner: exp.Select) -> exp.Expr | None:
    """The one aggregate that the subquery gives, with arithmetic around it at most."""
    output = inner.selects[0].unalias()
    found = list(output.find_all(exp.Sum, exp.Avg, exp.Min, exp.Max, exp.Count))
    others = [one for one in output.find_all(exp.AggFunc, exp.Window) if one not in found]
    if len(found) != 1 or others or not all(_is_within(column, found[0]) for column in output.find_all(exp.Column)):
        return None
    is_bare = found[0] is output
    # Around a COUNT of no rows arithmetic gives a number, which a join without a match does not.
    return (
        found[0]
        if is_bare or (not isinstance(found[0], exp.Count) and not output.find(exp.Coalesce, exp.Case))
        else None
    )


def _is_within(node: exp.Expr, above: exp.Expr) -> bool:
    parent: exp.Expr | None = node
    while parent is not None:
        if parent is above:
            return True
        parent = parent.parent
    return False


def _pair(
    part: exp.Expr, inner: exp.Select, outer: exp.Select, *, ground: Ground
) -> tuple[exp.Column, exp.Column] | None:
    """The inner column and the outer one that have to be equal."""
    if not isinstance(part, exp.EQ):
        return None
    for mine, other in ((part.this, part.expression), (part.expression, part.this)):
        if not isinstance(mine, exp.Column) or not isinstance(other, exp.Column):
            continue
        if (
            ground.owner(mine, inner) is not None
            and ground.owner(other, inner) is None
            and _is_outer(other, inner, outer, ground=ground)
        ):
            return mine, other
    return None


def _is_outer(column: exp.Column, inner: exp.Select, outer: exp.Select, *, ground: Ground) -> bool:
    if column.table and column.table.lower() in {source.name for source in ground.sources(inner)}:
        return False
    return ground.owner(column, outer) is not None


def _applied(found: Correlation, outer: exp.Select, ground: Ground) -> exp.Expr:
    taken = {source.name for source in ground.sources(outer)} | {
        table.alias_or_name.lower() for table in ground.statement.find_all(exp.Table)
    }
    alias = next(name for number in range(1, 1_000) if (name := f"grouped_{number}") not in taken)
    _qualify(outer, found.inner, ground)
    grouped = found.inner.copy()
    assert isinstance(grouped, exp.Select)
    mine = [pair[0].copy() for pair in found.pairs]
    keys = [exp.alias_(column.copy(), f"key_{number}") for number, column in enumerate(mine, 1)]
    value = exp.alias_(grouped.selects[0].unalias().copy(), "value")
    grouped.set("expressions", [*keys, value])
    set_where(grouped, list(found.conditions))
    grouped.set("order", None)
    grouped.set("group", exp.Group(expressions=mine))
    on = exp.and_(
        *[
            exp.EQ(this=exp.column(f"key_{number}", table=alias), expression=other.copy())
            for number, (_, other) in enumerate(found.pairs, 1)
        ]
    )
    is_count = isinstance(found.inner.selects[0].unalias(), exp.Count)
    result: exp.Expr = exp.column("value", table=alias)
    if is_count:
        result = exp.Coalesce(this=result, expressions=[exp.convert(0)])
    side = None if _is_strict(found.subquery, outer) and not is_count else "LEFT"
    source = exp.Subquery(this=grouped, alias=exp.TableAlias(this=exp.to_identifier(alias)))
    found.subquery.replace(result)
    return add_join(outer, source, on, side=side)


def _is_strict(subquery: exp.Expr, outer: exp.Select) -> bool:
    """Whether a row without a match is left out anyway: the subquery is one side of a comparison that WHERE demands."""
    node = subquery
    while isinstance(node.parent, exp.Paren | exp.Mul | exp.Div | exp.Add | exp.Sub):
        node = node.parent
    comparison = node.parent
    is_comparison = isinstance(comparison, exp.EQ | exp.GT | exp.GTE | exp.LT | exp.LTE | exp.NEQ)
    return is_comparison and any(part is comparison for part in conjuncts(where_of(outer)))


def _qualify(outer: exp.Select, inner: exp.Select, ground: Ground) -> None:
    """Names the table of every column of the outer SELECT, for the join's columns may have the same names."""
    named = []
    for column in outer.find_all(exp.Column):
        select = select_of(column)
        if not column.table and select in (outer, inner) and select is not None:
            source = ground.owner(column, select) or ground.owner(column, outer)
            if source is not None:
                named.append((column, source.node.alias_or_name))
    for column, name in named:
        column.set("table", exp.to_identifier(name))
