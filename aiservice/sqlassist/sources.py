"""What each part of a statement reads from: tables of the schema, and results made on the way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from aiservice.sqlassist.schema import Schema, Table

# The nodes that have sources, with the arguments that hold them.
READERS = (exp.Select, exp.Update, exp.Delete, exp.Insert, exp.Merge)
_HOLDERS = ("this", "from_", "using")


@dataclass(frozen=True, slots=True)
class Source:
    """One thing that is read: a table of the schema, or a result with these columns; `names` None cannot be told."""

    alias: str
    table: Table | None = None
    names: frozenset[str] | None = None

    def has(self, name: str) -> bool:
        """Whether it has a column of this name, given in lower case."""
        if self.table is not None:
            return self.table.column(name) is not None
        return self.names is not None and name in self.names

    @property
    def is_open(self) -> bool:
        return self.table is None and self.names is None


@dataclass(slots=True)
class Sources:
    """The sources of the parts of one statement, each worked out once."""

    schema: Schema
    _of: dict[int, Sequence[Source]] = field(default_factory=dict)
    _selected: dict[int, frozenset[str] | None] = field(default_factory=dict)

    def of(self, reader: exp.Expr) -> Sequence[Source]:
        """What a SELECT, UPDATE, DELETE, INSERT or MERGE reads."""
        known = self._of.get(id(reader))
        if known is None:
            known = self._of[id(reader)] = tuple(self._read(reader))
        return known

    def selected(self, query: exp.Expr) -> frozenset[str] | None:
        """The names of a query's columns in lower case; None where a star hides them."""
        if id(query) not in self._selected:
            # A recursive query meets itself here.
            self._selected[id(query)] = None
            self._selected[id(query)] = self._names_of(query)
        return self._selected[id(query)]

    def table(self, node: exp.Table) -> Table | None:
        """The schema's table of this node; None for a CTE, a function and an unknown one."""
        if not isinstance(node.this, exp.Identifier) or cte_of(node) is not None:
            return None
        return (self.schema.table(f"{node.db}.{node.name}") if node.db else None) or self.schema.table(node.name)

    def _read(self, reader: exp.Expr) -> Iterator[Source]:
        if isinstance(reader, exp.Insert):
            target = reader.find(exp.Table)
            if target is not None and isinstance(reader.this, exp.Table | exp.Schema):
                yield from self._entry(target)
                yield Source("excluded", self.table(target))
            return
        holders = ("from_",) if isinstance(reader, exp.Select) else _HOLDERS
        for name in holders:
            held = reader.args.get(name)
            for node in held if isinstance(held, list) else [held]:
                if isinstance(node, exp.Expr):
                    yield from self._entry(node.this if isinstance(node, exp.From) else node)
        for name in ("joins", "laterals"):
            for node in reader.args.get(name) or ():
                yield from self._entry(node.this if isinstance(node, exp.Join) else node)

    def _entry(self, node: exp.Expr) -> Iterator[Source]:
        alias = node.args.get("alias")
        listed = frozenset(part.name.lower() for part in alias.columns) if isinstance(alias, exp.TableAlias) else None
        if node.args.get("pivots"):
            yield Source(node.alias_or_name.lower())
        elif isinstance(node, exp.Table):
            yield self._table(node, listed or None)
        elif isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table):
            yield from self._entry(node.this)
        else:
            inner = node.this if isinstance(node, exp.Lateral) else node
            inner = inner.unnest() if isinstance(inner, exp.Subquery) else inner
            names = listed or (self.selected(inner) if isinstance(inner, exp.Query) else None)
            yield Source(node.alias_or_name.lower(), None, names)
        for join in node.args.get("joins") or ():
            yield from self._entry(join.this)

    def _table(self, node: exp.Table, listed: frozenset[str] | None) -> Source:
        name = node.alias_or_name.lower()
        cte = cte_of(node)
        if cte is not None:
            alias = cte.args.get("alias")
            columns = alias.columns if isinstance(alias, exp.TableAlias) else ()
            names = frozenset(column.name.lower() for column in columns)
            return Source(name, None, listed or names or self.selected(cte.this))
        table = self.table(node)
        return Source(name, None, listed) if listed is not None else Source(name, table)

    def _names_of(self, query: exp.Expr) -> frozenset[str] | None:
        query = query.unnest() if isinstance(query, exp.Subquery) else query
        if isinstance(query, exp.SetOperation):
            return self.selected(query.this)
        if not isinstance(query, exp.Select):
            return None
        names: set[str] = set()
        for one in query.expressions:
            if isinstance(one, exp.Star) or (isinstance(one, exp.Column) and isinstance(one.this, exp.Star)):
                wide = self._star(query, one)
                if wide is None:
                    return None
                names |= wide
            else:
                names.add(one.alias_or_name.lower())
        return frozenset(names)

    def _star(self, query: exp.Select, star: exp.Expr) -> set[str] | None:
        owner = star.table.lower() if isinstance(star, exp.Column) else ""
        names: set[str] = set()
        for source in self.of(query):
            if owner and source.alias != owner:
                continue
            if source.is_open:
                return None
            columns = source.table.columns if source.table is not None else ()
            names |= {column.name.lower() for column in columns} | (source.names or frozenset())
        return names


def cte_of(table: exp.Table) -> exp.CTE | None:
    """The intermediate result that a table's name stands for."""
    if table.args.get("db") is not None:
        return None
    name = table.name.lower()
    node: exp.Expr | None = table
    while node is not None:
        with_ = node.args.get("with_")
        for cte in with_.expressions if isinstance(with_, exp.With) else ():
            if cte.alias.lower() == name:
                found: exp.CTE = cte
                return found
        node = node.parent
    return None
