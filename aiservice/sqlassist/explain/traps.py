"""What is legal SQL and yet seldom what was meant."""

from collections.abc import Callable, Iterator

from sqlglot import exp

from aiservice.sqlassist.explain import join_traps
from aiservice.sqlassist.explain.facts import is_negated
from aiservice.sqlassist.explain.look import Look, conjuncts, has_aggregates
from aiservice.sqlassist.explain.showing import shown_value
from aiservice.sqlassist.names import Resolution

Trap = Callable[[Look], Iterator[str]]
# Where the division of two whole numbers is a whole number.
_WHOLE_DIVISION = frozenset(
    {
        "postgres",
        "sqlite",
        "tsql",
        "redshift",
        "presto",
        "trino",
        "athena",
        "materialize",
        "risingwave",
        "fabric",
        "exasol",
    }
)
_DATE_CHARACTERS = 10
_WARNINGS_MAX = 40


def traps(statement: exp.Expr, names: Resolution, dialect: str) -> list[str]:
    """Each trap once, in a fixed order."""
    look = Look(statement, names, dialect)
    return list(dict.fromkeys(warning for trap in _TRAPS for warning in trap(look)))[:_WARNINGS_MAX]


def _null_comparison(look: Look) -> Iterator[str]:
    for node in look.statement.find_all(exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE):
        is_assigned = isinstance(node.parent, exp.Update) and node.arg_key == "expressions"
        if not is_assigned and (isinstance(node.this, exp.Null) or isinstance(node.expression, exp.Null)):
            right = "IS NOT NULL" if isinstance(node, exp.NEQ) else "IS NULL"
            yield f"{look.sql(node)} is never true, because nothing equals NULL or differs from it; use {right}."


def _not_in_nullable(look: Look) -> Iterator[str]:
    for node in look.statement.find_all(exp.Not):
        if not isinstance(node.this, exp.In):
            continue
        if any(isinstance(value, exp.Null) for value in node.this.expressions):
            yield f"{look.sql(node)} is never true, because the list has NULL in it."
        query = node.this.args.get("query")
        select = query.unnest() if isinstance(query, exp.Subquery) else query
        if not isinstance(select, exp.Select) or not select.expressions:
            continue
        column = select.expressions[0].unalias()
        known = look.of(column)
        is_sure = known is not None and not known[1].is_nullable and not _is_optional(select)
        if isinstance(column, exp.Column) and not is_sure and not _is_filled(column, select):
            yield (
                f"NOT IN finds no row at all as soon as {look.sql(column)} is NULL in one row of the subquery; "
                f"NOT EXISTS does not have this trap."
            )


def _is_optional(select: exp.Select) -> bool:
    return any(join.args.get("side") for join in select.args.get("joins") or ())


def _is_filled(column: exp.Column, select: exp.Select) -> bool:
    """Whether the subquery leaves the NULLs out, by a condition on the column."""
    where = select.args.get("where")
    for part in conjuncts(where.this if where is not None else None):
        is_wrapped = isinstance(part, exp.Not) and isinstance(part.this, exp.Is)
        is_tested = isinstance(part, exp.EQ | exp.GT | exp.GTE | exp.LT | exp.LTE | exp.Like) or (
            isinstance(part, exp.Is) and is_negated(part)
        )
        tested = part.this.this if is_wrapped else part.this if is_tested else None
        if isinstance(tested, exp.Column) and tested.name.lower() == column.name.lower():
            return True
    return False


def _integer_division(look: Look) -> Iterator[str]:
    if look.dialect not in _WHOLE_DIVISION:
        return
    for node in look.statement.find_all(exp.Div):
        if _is_integer(node.this, look) and _is_integer(node.expression, look):
            yield f"{look.sql(node)} divides whole numbers: the fraction is cut off. Multiply by 1.0 first to keep it."


def _is_integer(node: exp.Expr, look: Look) -> bool:
    if isinstance(node, exp.Paren | exp.Sum | exp.Neg | exp.Max | exp.Min):
        return _is_integer(node.this, look)
    if isinstance(node, exp.Add | exp.Sub | exp.Mul):
        return _is_integer(node.this, look) and _is_integer(node.expression, look)
    if isinstance(node, exp.Literal):
        return not node.is_string and node.name.isdigit()
    if isinstance(node, exp.Case):
        arms = [arm.args["true"] for arm in node.args.get("ifs") or ()]
        return all(_is_integer(arm, look) for arm in [*arms, node.args.get("default") or arms[0]])
    return isinstance(node, exp.Count) or look.kind(node) == "integer"


def _leading_wildcard(look: Look) -> Iterator[str]:
    for node in look.statement.find_all(exp.Like, exp.ILike):
        if isinstance(node.expression, exp.Literal) and node.expression.name.startswith(("%", "_")):
            yield f"{look.sql(node)} begins with a wildcard: an ordinary index is of no use for it."


def _mixed_types(look: Look) -> Iterator[str]:
    for node in look.statement.find_all(exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE):
        for column, literal in ((node.this, node.expression), (node.expression, node.this)):
            if not isinstance(literal, exp.Literal):
                continue
            kind = look.kind(column)
            if kind == "text" and not literal.is_string:
                yield f"{look.sql(node)} compares text with a number: databases differ in what that means."
            elif kind in ("integer", "real") and literal.is_string and not _is_number(literal.name):
                yield f"{look.sql(node)} compares a number with a text that is none."


def _is_number(text: str) -> bool:
    return text.strip().lstrip("+-").replace(".", "", 1).isdigit()


def _midnight(look: Look) -> Iterator[str]:
    """A day as the upper end of moments is its first moment."""
    for node in look.statement.find_all(exp.Between, exp.LTE):
        high = node.args["high"] if isinstance(node, exp.Between) else node.expression
        value = high.this if isinstance(high, exp.Cast) else high
        is_day = isinstance(value, exp.Literal) and value.is_string and _is_day(value.name)
        if is_day and look.kind(node.this) == "datetime":
            yield (
                f"{look.sql(node)} ends at the first moment of {shown_value(value.name)}: the rest of that day is "
                f"left out. Compare with the next day by < to have it in."
            )


def _is_day(text: str) -> bool:
    time = text[_DATE_CHARACTERS:].strip(" T")
    return text[:4].isdigit() and text[4:5] == "-" and time.strip("0:.Z+") == "" and len(text) >= _DATE_CHARACTERS


def _text_as_name(look: Look) -> Iterator[str]:
    for column in look.statement.find_all(exp.Column):
        if id(column) in look.names.texts:
            yield (
                f"{shown_value(column.name)} stands in double quotes, which are for names; there is no such column, "
                f"so that SQLite takes it for text. Use single quotes."
            )


def _unsorted_limit(look: Look) -> Iterator[str]:
    for select in look.selects():
        limit = select.args.get("limit")
        is_single = select.args.get("group") is None and has_aggregates(select)
        if limit is None or select.args.get("order") is not None or is_single or isinstance(select.parent, exp.Exists):
            continue
        if select.args.get("from_") is not None:
            yield "LIMIT without ORDER BY: which rows are returned may differ from time to time."


_TRAPS: tuple[Trap, ...] = (
    _null_comparison,
    _not_in_nullable,
    join_traps.fan_out,
    join_traps.duplicates,
    join_traps.repeated_by_union,
    join_traps.counts_the_unmatched,
    join_traps.outer_join_undone,
    join_traps.cross_join,
    join_traps.ungrouped,
    _integer_division,
    _mixed_types,
    _midnight,
    _leading_wildcard,
    _text_as_name,
    _unsorted_limit,
)
