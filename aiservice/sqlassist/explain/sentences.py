"""A statement as sentences, one for each clause and join."""

from collections.abc import Iterator

from sqlglot import exp

from aiservice.sqlassist.explain.phrases import Phrases, joined
from aiservice.sqlassist.names import Resolution

_SET_WORDS = {
    exp.Union: "all rows of both",
    exp.Intersect: "the rows that are in both",
    exp.Except: "the rows of the first that are not in the second",
}


def sentences(statement: exp.Expression, names: Resolution, dialect: str) -> Iterator[str]:
    """In the order in which a database works: from, joins, where, groups, having, select, order, limit."""
    phrases = Phrases(names, dialect)
    if isinstance(statement, exp.Query):
        yield from _query(statement, phrases)
    else:
        yield from _other(statement, phrases)


def _query(query: exp.Expression, phrases: Phrases) -> Iterator[str]:
    for cte in query.args.get("with_").expressions if query.args.get("with_") is not None else ():
        inner = " ".join(_query(cte.this, phrases))
        yield f"First the intermediate result {cte.alias} is made: {inner}"
    if isinstance(query, exp.Subquery):
        yield from _query(query.this, phrases)
    elif isinstance(query, exp.SetOperation):
        yield from _set_operation(query, phrases)
    elif isinstance(query, exp.Select):
        yield from _select(query, phrases)
    else:
        yield f"It gives {phrases.of(query)}."


def _set_operation(query: exp.SetOperation, phrases: Phrases) -> Iterator[str]:
    words = next(words for kind, words in _SET_WORDS.items() if isinstance(query, kind))
    kept = "duplicates are removed" if query.args.get("distinct") else "duplicates are kept"
    yield f"Two queries are combined by {query.key.upper()}: {words}; {kept}."
    yield f"The first: {' '.join(_query(query.left, phrases))}"
    yield f"The second: {' '.join(_query(query.right, phrases))}"
    yield from _ending(query, phrases)


def _select(select: exp.Select, phrases: Phrases) -> Iterator[str]:
    start = select.args.get("from_")
    if start is not None:
        yield f"It reads {_source(start.this, phrases)}."
    for join in select.args.get("joins") or ():
        yield _join(join, phrases)
    if select.args.get("where") is not None:
        yield f"It keeps the rows where {phrases.of(select.args['where'].this)}."
    group = select.args.get("group")
    if group is not None:
        yield f"It groups the rows by {phrases.listed([_in_place(one, select) for one in group.expressions])}."
    if select.args.get("having") is not None:
        yield f"It keeps the groups where {phrases.of(select.args['having'].this)}."
    distinct = " without duplicates (DISTINCT)" if select.args.get("distinct") is not None else ""
    unit = "for each group" if group is not None else "in one row" if _is_one_row(select) else "for each row"
    yield f"It returns{distinct}, {unit}, {phrases.listed(select.selects)}."
    yield from _ending(select, phrases)


def _in_place(node: exp.Expression, select: exp.Select) -> exp.Expression:
    """GROUP BY 1 is by the first thing selected."""
    if isinstance(node, exp.Literal) and node.name.isdigit() and 0 < int(node.name) <= len(select.selects):
        return select.selects[int(node.name) - 1].unalias()
    return node


def _ending(query: exp.Expression, phrases: Phrases) -> Iterator[str]:
    if query.args.get("order") is not None:
        yield f"The result is sorted by {phrases.ordering(query.args['order'])}."
    limit, offset = query.args.get("limit"), query.args.get("offset")
    if offset is not None:
        yield f"The first {phrases.of(offset.expression)} rows are skipped."
    if isinstance(limit, exp.Limit):
        yield f"At most {phrases.of(limit.expression)} rows are returned (LIMIT)."
    elif isinstance(limit, exp.Fetch) and limit.args.get("count") is not None:
        yield f"At most {phrases.of(limit.args['count'])} rows are returned (FETCH)."


def _is_one_row(select: exp.Select) -> bool:
    return bool(select.selects) and all(
        isinstance(one.unalias(), exp.AggFunc) or not list(one.find_all(exp.Column)) for one in select.selects
    ) and any(True for _ in select.find_all(exp.AggFunc))  # fmt: skip


def _source(node: exp.Expression, phrases: Phrases) -> str:
    if isinstance(node, exp.Table):
        return phrases.table(node)
    if isinstance(node, exp.Subquery):
        alias = f", called {node.alias}" if node.alias else ""
        return f"{phrases.query(node)}{alias}"
    return phrases.of(node)


def _join(join: exp.Join, phrases: Phrases) -> str:
    source, side = _source(join.this, phrases), str(join.args.get("side") or "").upper()
    using, condition = join.args.get("using"), join.args.get("on")
    if using:
        link = f" where {joined([part.name for part in using])} is the same in both"
    elif condition is not None:
        link = f" where {phrases.of(condition)}"
    elif str(join.args.get("method") or "").upper() == "NATURAL":
        link = " where all columns of the same name are equal"
    else:
        return f"Every row is combined with every row of {source} (a cross join)."
    kept = {
        "LEFT": "; rows without a match stay, with NULL in its columns",
        "RIGHT": f"; rows of {source} without a match stay, with NULL in the others' columns",
        "FULL": "; rows without a match stay on both sides, with NULL in the other's columns",
    }.get(side, "")
    name = f"{side} join" if side else "join"
    return f"It adds {source}{link} ({name}{kept})."


def _other(statement: exp.Expression, phrases: Phrases) -> Iterator[str]:
    """What would write is described, and never run."""
    kind = statement.key.upper()
    target = statement.find(exp.Table)
    name = phrases.table(target) if target is not None else "the database"
    if isinstance(statement, exp.Insert):
        yield f"This statement would insert rows into {name}."
        if isinstance(statement.expression, exp.Query):
            yield f"The rows come from a query: {' '.join(_query(statement.expression, phrases))}"
    elif isinstance(statement, exp.Delete):
        yield f"This statement would delete rows of {name}."
    elif isinstance(statement, exp.Update):
        changed = joined([phrases.of(one) for one in statement.expressions])
        yield f"This statement would change rows of {name}: {changed}."
    elif isinstance(statement, exp.Create | exp.Drop | exp.Alter | exp.TruncateTable):
        what = str(statement.args.get("kind") or "table").lower()
        words = {"CREATE": "make", "DROP": "remove", "ALTER": "change", "TRUNCATETABLE": "empty"}[kind]
        yield f"This statement would {words} the {what} {name}."
    elif isinstance(statement, exp.Command):
        yield f"This is the command {str(statement.this).upper()}."
    else:
        yield f"This is a statement of the kind {kind}."
    where = statement.args.get("where")
    if where is not None:
        yield f"It concerns the rows where {phrases.of(where.this)}."
    elif isinstance(statement, exp.Delete | exp.Update):
        yield "It has no condition: all rows are concerned."
    yield "It is not run."
