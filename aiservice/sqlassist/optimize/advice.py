"""What makes a statement dear and cannot be changed without knowing more: said, not done."""

from collections.abc import Iterator

from sqlglot import exp

from aiservice.sqlassist.optimize.ground import Ground, conjuncts, select_of, where_of
from aiservice.sqlassist.schema import Schema

OFFSET_DEEP = 1_000


def advice(statement: exp.Expr, schema: Schema | None, dialect: str) -> tuple[str, ...]:
    """Sentences, each once."""
    ground = Ground(statement, schema or Schema(()), dialect)
    found = (
        *_deep_offset(statement),
        *_leading_wildcard(statement, dialect),
        *_random_order(statement),
        *_hidden_columns(ground),
        *(_nullable_not_in(ground) if schema is not None else ()),
        *_other_kinds(ground),
        *_unjoined(ground),
        *_star(statement),
    )
    return tuple(dict.fromkeys(found))


def _deep_offset(statement: exp.Expr) -> Iterator[str]:
    offset = statement.args.get("offset")
    number = offset.expression if isinstance(offset, exp.Offset) else None
    if not isinstance(number, exp.Literal) or not number.name.isdigit() or int(number.name) < OFFSET_DEEP:
        return
    order = statement.args.get("order")
    keys = ", ".join(one.this.sql() for one in order.expressions) if isinstance(order, exp.Order) else ""
    after = (
        f"keep the last row's {keys} and ask for the rows after it"
        if keys
        else "sort by a key and ask for what is after it"
    )
    yield f"OFFSET {number.name} reads and throws away {number.name} rows: {after} instead (keyset pagination)."


def _leading_wildcard(statement: exp.Expr, dialect: str) -> Iterator[str]:
    for node in statement.find_all(exp.Like, exp.ILike):
        pattern = node.expression
        if isinstance(pattern, exp.Literal) and pattern.name.startswith(("%", "_")):
            help_ = {
                "postgres": "an index with pg_trgm (USING gin (column gin_trgm_ops))",
                "mysql": "a FULLTEXT index",
                "sqlite": "an FTS5 table with the trigram tokenizer",
            }.get(dialect, "a text index")
            begins = f"{node.this.sql()} LIKE {pattern.sql()} begins with a wildcard"
            yield f"{begins}, which no ordinary index helps: {help_} does."


def _random_order(statement: exp.Expr) -> Iterator[str]:
    if any(isinstance(node.this, exp.Rand) for node in statement.find_all(exp.Ordered)):
        yield "ORDER BY a random number sorts every row to give a few: pick random keys instead."


def _hidden_columns(ground: Ground) -> Iterator[str]:
    for select in ground.selects():
        for part in conjuncts(where_of(select)):
            for call in part.find_all(exp.Lower, exp.Upper):
                if isinstance(call.this, exp.Column) and isinstance(part, exp.EQ):
                    yield f"{call.sql()} keeps an index on {call.this.sql()} from being used: index the expression."


def _nullable_not_in(ground: Ground) -> Iterator[str]:
    for node in ground.statement.find_all(exp.Not):
        membership = node.this.unnest()
        query = membership.args.get("query") if isinstance(membership, exp.In) else None
        inner = query.unnest() if isinstance(query, exp.Expr) else None
        if not isinstance(inner, exp.Select) or len(inner.selects) != 1:
            continue
        what = inner.selects[0].unalias()
        if isinstance(what, exp.Column) and not ground.is_not_null(what, inner):
            yield (
                f"NOT IN gives no row at all when {what.sql()} is NULL in one row of the subquery; "
                "NOT EXISTS, which passes over NULL, may be what is meant."
            )


def _other_kinds(ground: Ground) -> Iterator[str]:
    """A text column compared with a number is cast row by row."""
    for node in ground.statement.find_all(exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE):
        for left, right in ((node.this, node.expression), (node.expression, node.this)):
            if ground.kind(left) == "text" and isinstance(right, exp.Literal) and not right.is_string:
                yield f"{left.sql()} is text, compared with the number {right.name}: quote it, or every row is cast."


def _unjoined(ground: Ground) -> Iterator[str]:
    """Two tables without a condition between them."""
    for select in ground.selects():
        sources = ground.sources(select)
        if len(sources) != 2 or sources[1].join is None or where_of(select) is not None:
            continue
        join = sources[1].join
        if not any(join.args.get(name) for name in ("on", "using", "method")) and join.kind != "CROSS":
            yield f"Nothing joins {sources[0].name} and {sources[1].name}: each row of one meets each row of the other."


def _star(statement: exp.Expr) -> Iterator[str]:
    if isinstance(statement, exp.Select) and select_of(statement) is None and statement.is_star:
        yield "SELECT * reads and sends every column, and changes with the table: name those that are needed."
