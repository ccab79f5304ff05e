"""Work against duplicates, or for an order, that nobody sees."""

from collections.abc import Iterator
from functools import partial

from sqlglot import exp

from aiservice.sqlassist.optimize.edit import Edit, changing, replacing
from aiservice.sqlassist.optimize.ground import (
    Ground,
    Source,
    conjuncts,
    is_grouped,
    same_column,
    select_of,
    where_of,
)

_ORDERED = (exp.GroupConcat, exp.ArrayAgg, exp.JSONArrayAgg, exp.First, exp.Last)
_LIMITS = ("limit", "offset", "fetch")


def useless_distinct(ground: Ground) -> Iterator[Edit]:
    """DISTINCT over rows of which no two can be the same, or that only EXISTS and IN look at."""
    for select in ground.selects():
        distinct = select.args.get("distinct")
        if distinct is None or distinct.args.get("on") is not None:
            continue
        if _is_membership(select) and not _is_limited(select):
            yield changing(select, partial(select.set, "distinct", None), _MEMBERSHIP)
        elif is_unique(select, ground):
            yield changing(select, partial(select.set, "distinct", None), _UNIQUE)


_MEMBERSHIP = "A list that is only looked into may have duplicates."
_UNIQUE = "A key is among the columns, so that no two rows are the same."


def _is_limited(select: exp.Expr) -> bool:
    return any(select.args.get(name) for name in _LIMITS)


def _is_membership(query: exp.Expr) -> bool:
    """The subquery of IN or EXISTS, or a branch of it."""
    parent = query.parent
    while isinstance(parent, exp.Subquery | exp.Union) and not parent.args.get("limit"):
        parent = parent.parent
    return isinstance(parent, exp.Exists) or (isinstance(parent, exp.In) and parent.args.get("query") is not None)


def is_unique(select: exp.Select, ground: Ground) -> bool:
    """Whether no two rows of a SELECT can be the same, DISTINCT apart."""
    outputs = [one.unalias() for one in select.selects]
    if select.args.get("group") is not None:
        group = select.args["group"]
        keys = group.expressions
        plain = not any(group.args.get(name) for name in ("rollup", "cube", "grouping_sets"))
        return plain and bool(keys) and all(any(same(key, output) for output in outputs) for key in keys)
    if is_grouped(select):
        return True
    sources = ground.sources(select)
    if not sources or any(source.table is None for source in sources) or select.args.get("laterals"):
        return False
    columns = [one for one in outputs if isinstance(one, exp.Column)]
    return any(
        _has_key(source, columns, select, ground=ground) and _keeps(source, sources, select, ground=ground)
        for source in sources
    )


def same(left: exp.Expr, right: exp.Expr) -> bool:
    return left == right or (isinstance(right, exp.Column) and same_column(left, right))


def _has_key(source: Source, columns: list[exp.Column], select: exp.Select, *, ground: Ground) -> bool:
    """A whole key of this source is among the columns."""
    if source.table is None or source.side in ("LEFT", "FULL"):
        return False
    mine = {column.name.lower() for column in columns if ground.owner(column, select) == source}
    return any(key <= mine for key in ground.unique_keys(source.table))


def _keeps(source: Source, sources: list[Source], select: exp.Select, *, ground: Ground) -> bool:
    """Every other source has at most one row for each row of this one: each is joined on a key of its own."""
    joined, waiting = {source.name}, [one for one in sources if one != source]
    if any(one.side in ("RIGHT", "FULL") or (one.join is not None and one.join.args.get("using")) for one in sources):
        return False
    while waiting:
        found = next((one for one in waiting if _is_one(one, joined, select, ground=ground)), None)
        if found is None:
            return False
        joined.add(found.name)
        waiting.remove(found)
    return True


def _is_one(source: Source, joined: set[str], select: exp.Select, *, ground: Ground) -> bool:
    conditions = [] if source.join is None else conjuncts(source.join.args.get("on"))
    if source.side != "LEFT":
        others = [join for join in select.args.get("joins") or () if not join.args.get("side")]
        conditions += conjuncts(where_of(select)) + [part for join in others for part in conjuncts(join.args.get("on"))]
    fixed = set()
    for part in conditions:
        if isinstance(part, exp.EQ):
            for mine, other in ((part.this, part.expression), (part.expression, part.this)):
                if (
                    isinstance(mine, exp.Column)
                    and ground.owner(mine, select) == source
                    and _is_given(other, joined, select, ground=ground)
                ):
                    fixed.add(mine.name.lower())
    assert source.table is not None
    return any(key <= fixed for key in ground.unique_lists(source.table))


def _is_given(node: exp.Expr, joined: set[str], select: exp.Select, *, ground: Ground) -> bool:
    if isinstance(node, exp.Literal):
        return True
    if not isinstance(node, exp.Column):
        return False
    owner = ground.owner(node, select)
    return owner is not None and owner.name in joined


def union_all(ground: Ground) -> Iterator[Edit]:
    """UNION of what has no duplicates anyway, or whose duplicates nobody sees."""
    for union in ground.statement.find_all(exp.Union):
        if not union.args.get("distinct") or _is_limited(union):
            continue
        why = None
        if _is_membership(union):
            why = _MEMBERSHIP
        elif isinstance(union.this, exp.Select) and isinstance(union.expression, exp.Select):
            halves = (union.this, union.expression)
            if all(half.args.get("distinct") or is_unique(half, ground) for half in halves) and _are_disjoint(*halves):
                why = "No row is in both halves and neither has one twice, so that there are no duplicates to look for."
        if why is not None:
            yield changing(union, partial(union.set, "distinct", False), why)


def _are_disjoint(left: exp.Select, right: exp.Select) -> bool:
    """At one place the halves give different constants: written there, or demanded of the column there."""
    if left.is_star or right.is_star or len(left.selects) != len(right.selects):
        return False
    for one, other in zip(left.selects, right.selects, strict=True):
        first, second = _constants(one.unalias(), left), _constants(other.unalias(), right)
        if first and second and not first & second:
            return True
    return False


def _constants(output: exp.Expr, select: exp.Select) -> set[str]:
    """In lower case, as some databases compare them; numbers as they are."""
    if isinstance(output, exp.Literal):
        return {_key(output)}
    if not isinstance(output, exp.Column):
        return set()
    for part in conjuncts(where_of(select)):
        if isinstance(part, exp.EQ) and same_column(part.this, output) and isinstance(part.expression, exp.Literal):
            return {_key(part.expression)}
        if isinstance(part, exp.In) and same_column(part.this, output) and part.expressions:
            values = [one for one in part.expressions if isinstance(one, exp.Literal)]
            return {_key(one) for one in values} if len(values) == len(part.expressions) else set()
    return set()


def _key(literal: exp.Literal) -> str:
    return literal.name.strip().lower() if literal.is_string else f"{float(literal.name):g}"


def useless_order(ground: Ground) -> Iterator[Edit]:
    """ORDER BY in a subquery without LIMIT, where what is around it does not keep the order."""
    why = "Nothing around the subquery keeps its order, and no LIMIT depends on it."
    for query in ground.statement.find_all(exp.Select, exp.Union):
        if query.args.get("order") is None or _is_limited(query) or query.args.get("distinct_on"):
            continue
        distinct = query.args.get("distinct")
        if isinstance(distinct, exp.Distinct) and distinct.args.get("on") is not None:
            continue
        if _is_order_lost(query):
            yield changing(query, partial(query.set, "order", None), why)


def _is_order_lost(query: exp.Expr) -> bool:
    if _is_membership(query):
        return True
    parent = query.parent
    if not isinstance(parent, exp.Subquery | exp.CTE):
        return False
    outer = select_of(query)
    if outer is None or outer.find(*_ORDERED) or outer.find(exp.Window) or outer.args.get("distinct"):
        return False
    if isinstance(parent, exp.CTE) and not isinstance(parent.parent, exp.With):
        return False
    return outer.args.get("order") is not None or (is_grouped(outer) and not _is_limited(outer))


def distinct_in_aggregate(ground: Ground) -> Iterator[Edit]:
    """`COUNT(DISTINCT key)` counts rows; MIN and MAX see no duplicates."""
    for node in ground.statement.find_all(exp.Count, exp.Min, exp.Max):
        distinct = node.this
        if not isinstance(distinct, exp.Distinct) or len(distinct.expressions) != 1:
            continue
        inner = distinct.expressions[0]
        if isinstance(node, exp.Min | exp.Max):
            yield replacing(
                distinct, inner.copy(), "The least and the greatest are the same with and without duplicates."
            )
            continue
        select = select_of(node)
        if select is None or not isinstance(inner, exp.Column) or isinstance(node.parent, exp.Filter | exp.Window):
            continue
        sources = ground.sources(select)
        if any(source.table is None for source in sources) or not sources:
            continue
        owner = ground.owner(inner, select)
        if (
            owner is not None
            and _has_key(owner, [inner], select, ground=ground)
            and _keeps(owner, sources, select, ground=ground)
        ):
            yield replacing(node, exp.Count(this=exp.Star()), "The column is a key: each of its values is one row.")
