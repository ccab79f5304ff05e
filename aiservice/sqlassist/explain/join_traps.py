"""Traps of joins and groups: legal SQL that gives other rows than were meant."""

from collections.abc import Iterator

from sqlglot import exp

from aiservice.sqlassist.explain.facts import in_place, is_negated
from aiservice.sqlassist.explain.look import Look, Sides, conjuncts, has_aggregates, own_aggregates, pairs
from aiservice.sqlassist.explain.showing import shown_name

_SUBTOTALS = (exp.Rollup, exp.Cube, exp.GroupingSets)
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Like, exp.ILike, exp.In, exp.Between)


def fan_out(look: Look) -> Iterator[str]:
    """An aggregate over rows that a join repeats."""
    for select in look.selects():
        if not select.args.get("joins"):
            continue
        sides = Sides(select, look)
        for function in own_aggregates(select):
            if not isinstance(function, exp.Sum | exp.Avg | exp.Count) or isinstance(function.this, exp.Distinct):
                continue
            aliases = dict.fromkeys(sides.alias(column) for column in function.find_all(exp.Column))
            several = [(alias, sides.repeats(alias) if alias is not None else None) for alias in aliases]
            # A row of the joined table itself is taken once, whatever else the aggregate looks at.
            for alias, many in several if all(many is not None for _, many in several) else ():
                if alias is not None and many is not None and many not in aliases:
                    yield (
                        f"{look.sql(function)} takes a row of {sides.shown(alias)} once for each row of "
                        f"{sides.shown(many)} that matches it: the join repeats it (fan-out)."
                    )


def duplicates(look: Look) -> Iterator[str]:
    """The same row several times, because of a table of which nothing is shown."""
    for select in look.selects():
        is_once = select.args.get("distinct") is not None or select.args.get("group") is not None
        if is_once or not select.args.get("joins") or has_aggregates(select) or _is_member(select):
            continue
        if _is_one_row(select) or _finds_the_unmatched(select):
            continue
        sides = Sides(select, look)
        shown = {sides.alias(column) for one in select.expressions for column in one.find_all(exp.Column)}
        for alias in sorted(one for one in shown if one is not None):
            many = sides.repeats(alias)
            if many is not None and many not in shown and not any(one.is_star for one in select.expressions):
                yield (
                    f"The same row of {sides.shown(alias)} may be returned several times, once for each row of "
                    f"{sides.shown(many)} that matches it; DISTINCT or EXISTS would prevent that."
                )


def repeated_by_union(look: Look) -> Iterator[str]:
    """UNION ALL over the same table, where the same row may come from both sides."""
    for union in look.statement.find_all(exp.Union):
        if union.args.get("distinct") or _is_recursive(union):
            continue
        sides = [
            {look.names.tables[id(t)].name for t in side.find_all(exp.Table) if id(t) in look.names.tables}
            for side in (union.this, union.expression)
        ]
        for name in sorted(sides[0] & sides[1]):
            yield (
                f"Both sides of the UNION ALL read {shown_name(name)}: a row that meets both conditions is returned "
                f"twice. UNION returns it once."
            )


def _is_recursive(union: exp.Expr) -> bool:
    cte = union.find_ancestor(exp.CTE)
    return cte is not None and any(table.name.lower() == cte.alias.lower() for table in union.find_all(exp.Table))


def outer_join_undone(look: Look) -> Iterator[str]:
    """A condition on the columns that an outer join fills with NULL."""
    for select in look.selects():
        where = select.args.get("where")
        if where is None or not select.args.get("joins"):
            continue
        sides = Sides(select, look)
        optional = {
            join.this.alias_or_name.lower()
            for join in select.args["joins"]
            if str(join.args.get("side") or "").upper() == "LEFT"
        }
        for part in conjuncts(where.this):
            inner = part.this if isinstance(part, exp.Not) else part
            if isinstance(inner, _COMPARISONS) and sides.alias(inner.this) in optional:
                yield (
                    f"The condition {look.sql(part)} drops the rows that the LEFT JOIN kept without a match: "
                    f"the join works as an inner one. Put the condition into ON to keep them."
                )


def counts_the_unmatched(look: Look) -> Iterator[str]:
    """COUNT(*) of a LEFT JOIN is 1 where nothing matches."""
    for select in look.selects():
        joins = select.args.get("joins") or ()
        is_outer = any(str(join.args.get("side") or "").upper() == "LEFT" for join in joins)
        if not is_outer or select.args.get("group") is None or _finds_the_unmatched(select):
            continue
        for function in own_aggregates(select):
            if isinstance(function, exp.Count) and isinstance(function.this, exp.Star | exp.Literal):
                yield (
                    f"{look.sql(function)} counts 1 where the LEFT JOIN finds no match; "
                    f"count a column of the joined table to get 0."
                )


def cross_join(look: Look) -> Iterator[str]:
    """Sources that no condition connects."""
    for select in look.selects():
        joins = [join for join in select.args.get("joins") or () if _is_bare(join)]
        if not joins or select.args.get("from_") is None:
            continue
        linked = _linked(select, Sides(select, look))
        for join in joins:
            alias = join.this.alias_or_name.lower()
            if alias and alias not in linked:
                yield f"Nothing connects {shown_name(alias)} with the other tables: every row meets every row."


def ungrouped(look: Look) -> Iterator[str]:
    """A column beside aggregates that the groups do not determine."""
    for select in look.selects():
        group = select.args.get("group")
        if group is None and not has_aggregates(select):
            continue
        if group is not None and (len(group.args) > 1 and any(v for k, v in group.args.items() if k != "expressions")):
            continue
        if any(isinstance(one, _SUBTOTALS) for one in (group.expressions if group else ())):
            continue
        keys = [one if look.of(one) else in_place(one, select) for one in (group.expressions if group else ())]
        texts = {key.sql(comments=False).lower() for key in keys}
        columns = {_identity(key, look) for key in keys}
        whole = _determined(keys, look)
        for one in select.expressions:
            for column in _loose(one, texts):
                known = look.of(column)
                is_of_key = known is not None and known[0].name in whole
                if _identity(column, look) not in columns and not is_of_key and id(column) not in look.names.made:
                    yield (
                        f"{look.sql(column)} is neither grouped nor aggregated: many databases refuse that, "
                        f"others take it from any row of the group."
                    )


def _identity(node: exp.Expr, look: Look) -> str:
    known = look.of(node)
    if known is not None and isinstance(node, exp.Column):
        return f"{node.table.lower() or known[0].name.lower()}.{known[1].name.lower()}"
    return node.sql(comments=False).lower()


def _loose(node: exp.Expr, texts: set[str]) -> Iterator[exp.Column]:
    """The columns of an expression outside aggregates, subqueries and what is grouped."""
    bare = node.this if isinstance(node, exp.Alias) else node
    if bare.sql(comments=False).lower() in texts or isinstance(
        bare, exp.AggFunc | exp.Filter | exp.WithinGroup | exp.Query | exp.Window | exp.Anonymous
    ):
        return
    if isinstance(bare, exp.Column):
        if not isinstance(bare.this, exp.Star):
            yield bare
        return
    for child in bare.iter_expressions():
        yield from _loose(child, texts)


def _determined(keys: list[exp.Expr], look: Look) -> set[str]:
    """The tables whose primary key is grouped by: their other columns have one value in each group."""
    grouped: dict[str, set[str]] = {}
    tables = {}
    for key in keys:
        known = look.of(key)
        if known is not None:
            grouped.setdefault(known[0].name, set()).add(known[1].name.lower())
            tables[known[0].name] = known[0]
    return {
        name
        for name, columns in grouped.items()
        if tables[name].primary_key and {part.lower() for part in tables[name].primary_key} <= columns
    }


def _is_bare(join: exp.Join) -> bool:
    has_link = join.args.get("on") is not None or join.args.get("using") or join.args.get("method")
    return not has_link and isinstance(join.this, exp.Table | exp.Subquery)


def _linked(select: exp.Select, sides: Sides) -> set[str]:
    """The sources that a condition connects with another one."""
    linked: set[str] = set()
    for join in select.args.get("joins") or ():
        if join.args.get("on") is not None or join.args.get("using"):
            linked |= {str(column.table).lower() for column in join.find_all(exp.Column) if column.table}
    for pair in pairs(select):
        ends = {sides.alias(pair.this), sides.alias(pair.expression)}
        if len(ends) > 1 or None in ends:
            linked |= {end for end in ends if end is not None}
    where = select.args.get("where")
    unknown = where is not None and any(
        isinstance(node, exp.EQ) and {sides.alias(node.this), sides.alias(node.expression)} == {None}
        for node in where.walk()
    )
    return linked | set(sides.tables) if unknown else linked


def _is_member(select: exp.Select) -> bool:
    """A subquery of IN or EXISTS, or a part of a set operation that removes duplicates itself."""
    parent = select.parent
    parent = parent.parent if isinstance(parent, exp.Subquery) else parent
    if isinstance(parent, exp.SetOperation):
        return bool(parent.args.get("distinct")) or _is_member_of(parent)
    return isinstance(parent, exp.In | exp.Exists)


def _is_member_of(operation: exp.SetOperation) -> bool:
    parent = operation.parent
    parent = parent.parent if isinstance(parent, exp.Subquery) else parent
    return isinstance(parent, exp.In | exp.Exists)


def _is_one_row(select: exp.Select) -> bool:
    limit = select.args.get("limit")
    count = limit.args.get("count" if isinstance(limit, exp.Fetch) else "expression") if limit is not None else None
    return isinstance(count, exp.Literal) and count.name == "1"


def _finds_the_unmatched(select: exp.Select) -> bool:
    """`WHERE other.key IS NULL` looks for the rows without a match."""
    where = select.args.get("where")
    return where is not None and any(
        isinstance(part, exp.Is) and not is_negated(part) for part in conjuncts(where.this)
    )
