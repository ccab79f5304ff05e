"""What is certain of a statement by its schema: whose a column is, what is never NULL, what is unique."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from sqlglot import exp

from aiservice.sqlassist.names import resolve
from aiservice.sqlassist.schema import Column, Kind, Schema, Table

# A comparison with NULL is not true, so that a row with NULL there is left out.
STRICT = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Like, exp.ILike, exp.Between, exp.In)


@dataclass(frozen=True, slots=True)
class Source:
    """What stands in FROM or JOIN: `table` is None for a subquery, a CTE and what the schema has not."""

    name: str
    node: exp.Expr
    table: Table | None
    join: exp.Join | None = None

    @property
    def side(self) -> str:
        return "" if self.join is None else str(self.join.args.get("side") or "").upper()


class Ground:
    """One statement and the schema; the statement must not change as long as this is asked."""

    def __init__(self, statement: exp.Expr, schema: Schema, dialect: str) -> None:
        self.statement = statement
        self.schema = schema
        self.dialect = dialect

    @cached_property
    def names(self) -> "Names":
        return Names(self.statement, self.schema)

    def column(self, node: exp.Expr | None) -> tuple[Table, Column] | None:
        """The schema's column that a node is."""
        return self.names.of(node) if isinstance(node, exp.Column) else None

    def kind(self, node: exp.Expr | None) -> Kind | None:
        found = self.column(node)
        return None if found is None else found[1].kind

    def selects(self) -> Iterator[exp.Select]:
        yield from self.statement.find_all(exp.Select)

    def sources(self, select: exp.Select) -> list[Source]:
        """In the order of FROM and JOIN."""
        found = []
        origin = select.args.get("from_")
        if isinstance(origin, exp.From):
            found.append(self._source(origin.this, None))
        found += [self._source(join.this, join) for join in select.args.get("joins") or ()]
        return found

    def _source(self, node: exp.Expr, join: exp.Join | None) -> Source:
        table = self.names.table(node) if isinstance(node, exp.Table) else None
        return Source(node.alias_or_name.lower(), node, table, join)

    def owner(self, column: exp.Column, select: exp.Select) -> Source | None:
        """The source of this very SELECT that a column is of; None where it is of one around it, or not known."""
        sources = self.sources(select)
        if column.table:
            return next((source for source in sources if source.name == column.table.lower()), None)
        found = self.column(column)
        if found is None or (any(source.table is None for source in sources) and len(sources) > 1):
            return None
        return next((source for source in sources if source.table is found[0]), None)

    def is_not_null(self, column: exp.Expr, select: exp.Select) -> bool:
        """Whether a column is never NULL in the rows of this SELECT."""
        found = self.column(column)
        if found is None or not isinstance(column, exp.Column):
            return False
        source = self.owner(column, select)
        if source is None or self._may_be_padded(source, select):
            return False
        return not found[1].is_nullable or self.is_key(found[0], found[1]) or self._is_tested(column, select)

    def is_key(self, table: Table, column: Column) -> bool:
        """Of the primary key, and so never NULL. SQLite holds to that for integers only."""
        is_primary = column.name.lower() in map(str.lower, table.primary_key)
        return is_primary and (self.dialect != "sqlite" or column.kind == "integer")

    def _may_be_padded(self, source: Source, select: exp.Select) -> bool:
        """An outer join fills its other side with NULL."""
        if source.side in ("LEFT", "FULL"):
            return True
        joins = select.args.get("joins") or ()
        return any(str(join.args.get("side") or "").upper() in ("RIGHT", "FULL") for join in joins)

    def _is_tested(self, column: exp.Column, select: exp.Select) -> bool:
        return any(rejects_null(part, column) for part in conjuncts(where_of(select)))

    def unique_keys(self, table: Table) -> list[frozenset[str]]:
        """Column sets, in lower case, that no two rows share, NULL not among them."""
        keys = []
        for key in (table.primary_key, *table.unique):
            columns = [table.column(name) for name in key]
            if key and all(one is not None and (not one.is_nullable or self.is_key(table, one)) for one in columns):
                keys.append(frozenset(map(str.lower, key)))
        return keys

    def unique_lists(self, table: Table) -> list[frozenset[str]]:
        """Column sets of which no two rows share the values, NULL apart."""
        return [frozenset(map(str.lower, key)) for key in (table.primary_key, *table.unique) if key]


class Names:
    """The names of a statement, resolved once; CTEs hide tables of their name."""

    def __init__(self, statement: exp.Expr, schema: Schema) -> None:
        self._found = resolve(statement, schema)

    def of(self, column: exp.Column) -> tuple[Table, Column] | None:
        return self._found.of(column)

    def table(self, node: exp.Table) -> Table | None:
        return self._found.tables.get(id(node))


def conjuncts(condition: exp.Expr | None) -> list[exp.Expr]:
    """The parts of a condition that all have to be true."""
    if condition is None:
        return []
    bare = condition.unnest()
    return (
        [part for side in (bare.this, bare.expression) for part in conjuncts(side)]
        if isinstance(bare, exp.And)
        else [bare]
    )


def where_of(select: exp.Expr) -> exp.Expr | None:
    where = select.args.get("where")
    return where.this if isinstance(where, exp.Where) else None


def rejects_null(condition: exp.Expr, column: exp.Column) -> bool:
    """Whether a condition is not true where the column is NULL."""
    if isinstance(condition, exp.Not):
        inner = condition.this.unnest()
        if isinstance(inner, exp.Is) and isinstance(inner.expression, exp.Null):
            return same_column(inner.this, column)
        return isinstance(inner, exp.Like | exp.ILike | exp.Between) and same_column(inner.this, column)
    if not isinstance(condition, STRICT):
        return False
    if isinstance(condition, exp.In | exp.Between | exp.Like | exp.ILike):
        return same_column(condition.this, column)
    return same_column(condition.this, column) or same_column(condition.expression, column)


def same_column(node: exp.Expr | None, column: exp.Column) -> bool:
    return (
        isinstance(node, exp.Column)
        and node.name.lower() == column.name.lower()
        and node.table.lower() == column.table.lower()
    )


def set_where(select: exp.Select, parts: list[exp.Expr]) -> None:
    """Replaces the condition by these parts joined by AND; none takes WHERE away."""
    if parts:
        select.set("where", exp.Where(this=exp.and_(*[part.copy() for part in parts], copy=False)))
    else:
        select.set("where", None)


def is_grouped(select: exp.Select) -> bool:
    """GROUP BY, or an aggregate that makes one row of all."""
    return bool(select.args.get("group") or select.args.get("having")) or any(has_aggregate(e) for e in select.selects)


def has_aggregate(node: exp.Expr) -> bool:
    """An aggregate of this SELECT, not of one in it, and no window."""
    for found in node.find_all(exp.AggFunc, exp.Anonymous):
        is_known = isinstance(found, exp.AggFunc) or found.name.lower() in ("total", "string_agg", "json_group_array")
        if not is_known or isinstance(found.parent, exp.Window):
            continue
        above = found.parent
        while above is not None and above is not node and not isinstance(above, exp.Select):
            above = above.parent
        if found is node or above is node:
            return True
    return False


def is_plain(select: exp.Expr) -> bool:
    """A SELECT of rows as they are: no groups, aggregates, windows, DISTINCT, limit or set operation."""
    if not isinstance(select, exp.Select) or is_grouped(select):
        return False
    if any(
        select.args.get(name) for name in ("distinct", "limit", "offset", "qualify", "windows", "laterals", "fetch")
    ):
        return False
    return not any(select_of(window) is select for window in select.find_all(exp.Window))


def select_of(node: exp.Expr) -> exp.Select | None:
    """The SELECT that a node is in, itself not counted."""
    return node.find_ancestor(exp.Select)


def add_join(select: exp.Select, source: exp.Expr, on: exp.Expr, *, side: str | None = None) -> exp.Join:
    """Joins one more source; beside a list with commas, whose parts ON cannot name, as one more of the list."""
    listed = [join for join in select.args.get("joins") or () if _is_comma(join)]
    if listed and side is None:
        join = exp.Join(this=source)
        set_where(select, [*conjuncts(where_of(select)), *conjuncts(on)])
    else:
        for one in listed:
            one.set("on", exp.EQ(this=exp.convert(1), expression=exp.convert(1)))
        join = exp.Join(this=source, on=on, side=side)
    select.append("joins", join)
    return join


def _is_comma(join: exp.Join) -> bool:
    return not any(join.args.get(name) for name in ("on", "using", "kind", "side", "method"))
