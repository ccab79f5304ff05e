"""What is legal SQL and yet seldom what was meant."""

from collections.abc import Callable, Iterator

from sqlglot import exp

from aiservice.sqlassist.names import Resolution

Trap = Callable[[exp.Expression, Resolution], Iterator[str]]


def traps(statement: exp.Expression, names: Resolution) -> list[str]:
    """Each trap once, in a fixed order."""
    return list(dict.fromkeys(warning for trap in _TRAPS for warning in trap(statement, names)))


def _null_comparison(statement: exp.Expression, names: Resolution) -> Iterator[str]:
    for node in statement.find_all(exp.EQ, exp.NEQ):
        if isinstance(node.this, exp.Null) or isinstance(node.expression, exp.Null):
            yield f"`{node.sql()}` is never true: NULL equals nothing. Use IS NULL or IS NOT NULL."


def _not_in_nullable(statement: exp.Expression, names: Resolution) -> Iterator[str]:
    for node in statement.find_all(exp.Not):
        query = node.this.args.get("query") if isinstance(node.this, exp.In) else None
        select = query.unnest() if isinstance(query, exp.Subquery) else query
        if not isinstance(select, exp.Select) or not select.selects:
            continue
        column = select.selects[0].unalias()
        known = names.of(column) if isinstance(column, exp.Column) else None
        if known is None or known[1].is_nullable:
            yield (
                f"NOT IN gives no row at all once `{column.sql()}` is NULL in one row of the subquery; "
                f"NOT EXISTS does not have this trap."
            )


def _fan_out(statement: exp.Expression, names: Resolution) -> Iterator[str]:
    for select in statement.find_all(exp.Select):
        joins = select.args.get("joins") or []
        if not joins:
            continue
        many = _many_sides(select, names)
        for function in select.find_all(exp.Sum, exp.Avg, exp.Count):
            if function.parent_select is not select or isinstance(function.this, exp.Distinct | exp.Star):
                continue
            for column in function.find_all(exp.Column):
                known = names.of(column)
                if known is not None and many and known[0].name not in many:
                    yield (
                        f"`{function.sql()}` counts a row of {known[0].name} once for each matching row of "
                        f"{next(iter(many))}: the join repeats it."
                    )


def _many_sides(select: exp.Select, names: Resolution) -> dict[str, None]:
    """The tables of which a join finds several rows for one: they hold the foreign key."""
    many: dict[str, None] = {}
    for join in select.args.get("joins") or ():
        condition = join.args.get("on")
        for pair in condition.find_all(exp.EQ) if condition is not None else ():
            if not (isinstance(pair.this, exp.Column) and isinstance(pair.expression, exp.Column)):
                continue
            ends = [names.of(pair.this), names.of(pair.expression)]
            for end, other in (ends, ends[::-1]):
                if end is None or other is None or end[0].name == other[0].name:
                    continue
                is_key = (other[1].name,) == other[0].primary_key
                if is_key and (end[1].name,) not in (end[0].primary_key, *end[0].unique):
                    many[end[0].name] = None
    return many


def _integer_division(statement: exp.Expression, names: Resolution) -> Iterator[str]:
    for node in statement.find_all(exp.Div):
        sides = [_is_integer(side, names) for side in (node.this, node.expression)]
        if all(sides):
            yield f"`{node.sql()}` divides whole numbers: in many databases the fraction is cut off. Multiply by 1.0."


def _is_integer(node: exp.Expression, names: Resolution) -> bool:
    if isinstance(node, exp.Paren):
        return _is_integer(node.this, names)
    if isinstance(node, exp.Literal):
        return not node.is_string and node.name.isdigit()
    if isinstance(node, exp.Count):
        return True
    if isinstance(node, exp.Sum):
        return _is_integer(node.this, names)
    if isinstance(node, exp.Column):
        known = names.of(node)
        return known is not None and known[1].kind == "integer"
    return False


def _outer_join_undone(statement: exp.Expression, names: Resolution) -> Iterator[str]:
    for select in statement.find_all(exp.Select):
        where = select.args.get("where")
        for join in select.args.get("joins") or ():
            if str(join.args.get("side") or "").upper() != "LEFT" or where is None:
                continue
            alias = join.this.alias_or_name.lower()
            for node in where.find_all(exp.EQ, exp.GT, exp.LT, exp.GTE, exp.LTE, exp.Like):
                column = node.this
                if isinstance(column, exp.Column) and column.table.lower() == alias and not node.find_ancestor(exp.Or):
                    yield (
                        f"The condition `{node.sql()}` drops the rows that the LEFT JOIN kept: "
                        f"it has the effect of an inner join."
                    )


def _cross_join(statement: exp.Expression, names: Resolution) -> Iterator[str]:
    for select in statement.find_all(exp.Select):
        where = select.args.get("where")
        has_link = where is not None and any(
            isinstance(pair.this, exp.Column) and isinstance(pair.expression, exp.Column)
            for pair in where.find_all(exp.EQ)
        )
        for join in select.args.get("joins") or ():
            bare = not (join.args.get("on") or join.args.get("using") or join.args.get("method"))
            if bare and not has_link and isinstance(join.this, exp.Table):
                yield f"{join.this.name} is joined without a condition: every row meets every row."


def _ungrouped(statement: exp.Expression, names: Resolution) -> Iterator[str]:
    for select in statement.find_all(exp.Select):
        group = select.args.get("group")
        grouped = {one.sql().lower() for one in group.expressions} if group is not None else set()
        has_aggregate = any(isinstance(one.unalias(), exp.AggFunc) for one in select.selects)
        if not (group is not None or has_aggregate):
            continue
        bare = {part.name.lower() for one in (group.expressions if group else ()) for part in one.find_all(exp.Column)}
        is_by_number = any(isinstance(one, exp.Literal) for one in (group.expressions if group else ()))
        for one in select.selects:
            column = one.unalias()
            if isinstance(column, exp.Column) and not isinstance(column.this, exp.Star) and not is_by_number:
                if (
                    column.sql().lower() not in grouped
                    and column.name.lower() not in bare
                    and one.alias.lower() not in bare
                ):
                    yield (
                        f"`{column.sql()}` is neither grouped nor aggregated: many databases refuse this, "
                        f"others take it from any row of the group."
                    )


def _leading_wildcard(statement: exp.Expression, names: Resolution) -> Iterator[str]:
    for node in statement.find_all(exp.Like, exp.ILike):
        if isinstance(node.expression, exp.Literal) and node.expression.name.startswith(("%", "_")):
            yield f"`{node.sql()}` begins with a wildcard: an ordinary index cannot be used."


def _mixed_types(statement: exp.Expression, names: Resolution) -> Iterator[str]:
    for node in statement.find_all(exp.EQ, exp.GT, exp.LT, exp.GTE, exp.LTE):
        column, literal = node.this, node.expression
        if not (isinstance(column, exp.Column) and isinstance(literal, exp.Literal)):
            continue
        known = names.of(column)
        if known is not None and known[1].kind == "text" and not literal.is_string:
            yield f"`{node.sql()}` compares text with a number: what happens differs between databases."


def _midnight(statement: exp.Expression, names: Resolution) -> Iterator[str]:
    for node in statement.find_all(exp.Between):
        known = names.of(node.this) if isinstance(node.this, exp.Column) else None
        high = node.args["high"]
        if known is not None and known[1].kind == "datetime" and isinstance(high, exp.Literal) and len(high.name) == 10:
            yield f"`{node.sql()}` ends at the beginning of {high.name}: the rest of that day is left out."


_TRAPS: tuple[Trap, ...] = (
    _null_comparison,
    _not_in_nullable,
    _fan_out,
    _integer_division,
    _outer_join_undone,
    _cross_join,
    _ungrouped,
    _leading_wildcard,
    _mixed_types,
    _midnight,
)
