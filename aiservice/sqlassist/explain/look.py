"""What the traps need to know of a statement."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp

from aiservice.sqlassist.explain.facts import is_aggregate, is_key_pair
from aiservice.sqlassist.explain.showing import shown_name, shown_sql
from aiservice.sqlassist.names import Resolution
from aiservice.sqlassist.schema import Column, Kind, Table


@dataclass(frozen=True, slots=True)
class Look:
    """A statement, whose names are resolved, in its dialect."""

    statement: exp.Expr
    names: Resolution
    dialect: str

    def sql(self, node: exp.Expr) -> str:
        """A piece of it, on one line and cut."""
        return shown_sql(node, self.dialect)

    def of(self, node: exp.Expr) -> tuple[Table, Column] | None:
        """The table and column that a node names."""
        return self.names.of(node)

    def kind(self, node: exp.Expr) -> Kind:
        """The kind of a column; unknown for what is none."""
        known = self.of(node)
        return "unknown" if known is None else known[1].kind

    def selects(self) -> Iterator[exp.Select]:
        """Every SELECT of it."""
        yield from self.statement.find_all(exp.Select)


@dataclass(frozen=True, slots=True)
class Edge:
    """A join of two sources by a key: each row of `many` has one of `one` at most."""

    one: str
    many: str


class Sides:
    """The sources of one SELECT by their aliases, and which rows its joins repeat."""

    def __init__(self, select: exp.Select, look: Look) -> None:
        self._look = look
        self.tables: Mapping[str, Table | None] = dict(_tables(select, look))
        self._edges = tuple(self._found(select))

    def alias(self, column: exp.Expr) -> str | None:
        """Of which source a column is."""
        if not isinstance(column, exp.Column):
            return None
        if column.table:
            return str(column.table).lower()
        known = self._look.of(column)
        if known is None:
            return None
        aliases = [alias for alias, table in self.tables.items() if table is not None and table.name == known[0].name]
        return aliases[0] if len(aliases) == 1 else None

    def repeats(self, alias: str) -> str | None:
        """The source that makes rows of this one appear several times; None where none does."""
        seen, queue = {alias}, [alias]
        while queue:
            here = queue.pop(0)
            for edge in self._edges:
                if edge.one == here and edge.many not in seen:
                    return edge.many
                if edge.many == here and edge.one not in seen:
                    seen.add(edge.one)
                    queue.append(edge.one)
        return None

    def shown(self, alias: str) -> str:
        """A source's name for people: its table's."""
        table = self.tables.get(alias)
        return shown_name(table.name if table is not None else alias)

    def _found(self, select: exp.Select) -> Iterator[Edge]:
        for pair in pairs(select):
            ends = [(self.alias(end), self._look.of(end)) for end in (pair.this, pair.expression)]
            (left, left_of), (right, right_of) = ends
            if left is None or right is None or left == right or left_of is None or right_of is None:
                continue
            if is_unique(*left_of) and not is_unique(*right_of):
                yield Edge(left, right)
            elif is_unique(*right_of) and not is_unique(*left_of):
                yield Edge(right, left)


def pairs(select: exp.Select) -> Iterator[exp.EQ]:
    """The equalities of two columns that join the sources of a SELECT, in ON or WHERE."""
    conditions = [join.args.get("on") for join in select.args.get("joins") or ()]
    where = select.args.get("where")
    for condition in [*conditions, where.this if where is not None else None]:
        for part in conjuncts(condition):
            if is_key_pair(part) and isinstance(part, exp.EQ):
                yield part


def conjuncts(condition: exp.Expr | None) -> Iterator[exp.Expr]:
    """The parts of a condition that all have to hold."""
    if isinstance(condition, exp.And):
        yield from conjuncts(condition.this)
        yield from conjuncts(condition.expression)
    elif isinstance(condition, exp.Paren):
        yield from conjuncts(condition.this)
    elif condition is not None:
        yield condition


def is_unique(table: Table, column: Column) -> bool:
    """Whether no two rows have the same value in it."""
    keys = (table.primary_key, *table.unique)
    return any(len(key) == 1 and key[0].lower() == column.name.lower() for key in keys)


def own_aggregates(select: exp.Select) -> Iterator[exp.Expr]:
    """The aggregates of a SELECT over its own rows: not of its subqueries, and not over windows."""
    for node in select.walk():
        is_own = is_aggregate(node) and node.find_ancestor(exp.Select) is select
        if is_own and not isinstance(node.find_ancestor(exp.Window, exp.Select), exp.Window):
            yield node


def has_aggregates(select: exp.Select) -> bool:
    """Whether a SELECT has aggregates over its own rows."""
    return next(own_aggregates(select), None) is not None


def _tables(select: exp.Select, look: Look) -> Iterator[tuple[str, Table | None]]:
    start = select.args.get("from_")
    nodes = [start.this] if start is not None else []
    nodes += [join.this for join in select.args.get("joins") or ()]
    for node in nodes:
        yield node.alias_or_name.lower(), look.names.tables.get(id(node))
