"""Which table's column each name of a statement is, and which names are nobody's."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rapidfuzz import fuzz, process
from sqlglot import exp

from aiservice.sqlassist.schema import Column, Schema, Table
from aiservice.sqlassist.sources import READERS, Source, Sources, cte_of

NEAR = 60.0
# Names that databases have without anyone's declaring them.
_PSEUDO = frozenset({"rowid", "oid", "_rowid_", "ctid", "rownum", "level", "sysdate", "current_user", "user"})
# Where the names that a SELECT gives may be used in the same SELECT.
_NAMED_EVERYWHERE = frozenset({"", "duckdb", "snowflake", "redshift", "databricks", "spark", "teradata", "clickhouse"})
_NAMED_IN = frozenset({"order", "group", "having", "qualify", "distinct"})


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A name that is nobody's, or more than one's: the node, what is wrong, and the nearest name that would be right.

    `alias` is the qualifier of a column that nothing in the statement is called by.
    """

    node: exp.Expr
    kind: Literal["table", "column", "alias", "ambiguous"]
    name: str
    nearest: str | None = None


@dataclass(slots=True)
class Resolution:
    """By the identity of its node: the table and the column of each column of the statement that is a table's.

    `made` are the columns that name what the statement itself makes: an alias, or a column of a subquery. `texts` are
    no names at all: SQLite takes what stands in double quotes and is no column for text.
    """

    columns: dict[int, tuple[Table, Column]] = field(default_factory=dict)
    tables: dict[int, Table] = field(default_factory=dict)
    problems: list[Unresolved] = field(default_factory=list)
    made: set[int] = field(default_factory=set)
    texts: set[int] = field(default_factory=set)

    def of(self, column: exp.Expr) -> tuple[Table, Column] | None:
        """The table and the column that a node names; None for one that was made on the way, or is nobody's."""
        return self.columns.get(id(column))

    @property
    def is_whole(self) -> bool:
        """Whether every name is somebody's."""
        return not self.problems


def resolve(statement: exp.Expr, schema: Schema | None, dialect: str = "") -> Resolution:
    """Resolves every table and column by scope. A source whose columns cannot be told has every column.

    Without a schema only what is made in the statement is known, and nothing is a problem.
    """
    resolver = _Resolver(schema or Schema(()), dialect)
    made = statement.this.find(exp.Table) if isinstance(statement, exp.Create) else None
    for table in statement.find_all(exp.Table):
        if table is not made and not isinstance(table.parent, exp.Into):
            resolver.table(table)
    if not isinstance(statement, exp.Create) or isinstance(statement.expression, exp.Query):
        for column in statement.find_all(exp.Column):
            resolver.column(column)
    for join in statement.find_all(exp.Join):
        resolver.using(join)
    for insert in statement.find_all(exp.Insert):
        resolver.listed(insert)
    if schema is None:
        resolver.found.problems.clear()
    return resolver.found


def nearest(name: str, among: Iterable[str]) -> str | None:
    """The name most like it, whatever the case; None where none is near."""
    choices = list(among)
    match = process.extractOne(
        name.lower(), [choice.lower() for choice in choices], scorer=fuzz.ratio, score_cutoff=NEAR
    )
    return None if match is None else choices[match[2]]


class _Resolver:
    def __init__(self, schema: Schema, dialect: str) -> None:
        self.found = Resolution()
        self._schema = schema
        self._dialect = dialect
        self._sources = Sources(schema)

    def table(self, node: exp.Table) -> None:
        if not node.name or not isinstance(node.this, exp.Identifier) or cte_of(node) is not None:
            return
        known = self._sources.table(node)
        if known is not None:
            self.found.tables[id(node)] = known
        elif not (isinstance(node.parent, exp.Delete) and self._is_alias(node)):
            near = nearest(node.name, (one.name for one in self._schema.tables))
            self.found.problems.append(Unresolved(node, "table", node.name, near))

    def column(self, node: exp.Column) -> None:
        if node.name.lower() in _PSEUDO and not node.table:
            return
        scopes = list(self._scopes(node))
        if node.table:
            self._qualified(node, scopes)
        elif not isinstance(node.this, exp.Star):
            self._bare(node, scopes)

    def using(self, join: exp.Join) -> None:
        """The columns that both sides of a join are to have."""
        target = self.found.tables.get(id(join.this))
        for part in join.args.get("using") or ():
            if target is not None and target.column(part.name) is None:
                near = nearest(part.name, (column.name for column in target.columns))
                self.found.problems.append(Unresolved(part, "column", part.name, near))

    def listed(self, insert: exp.Insert) -> None:
        """The columns that an INSERT fills."""
        target = insert.this
        table = self.found.tables.get(id(target.this)) if isinstance(target, exp.Schema) else None
        for part in target.expressions if table is not None else ():
            known = table.column(part.name) if table is not None else None
            if known is not None and table is not None:
                self.found.columns[id(part)] = (table, known)
            elif table is not None:
                near = nearest(part.name, (column.name for column in table.columns))
                self.found.problems.append(Unresolved(part, "column", part.name, near))

    def _is_alias(self, node: exp.Table) -> bool:
        """MySQL deletes from what an alias stands for."""
        return node.parent is not None and any(
            source.alias == node.name.lower() and source.table is not None for source in self._sources.of(node.parent)
        )

    def _scopes(self, column: exp.Column) -> Iterator[tuple[exp.Expr, str, Sequence[Source]]]:
        """From the inside out: the part of the statement, the clause of it that the column is in, what it reads."""
        node: exp.Expr = column
        is_nested = is_lateral = False
        while node.parent is not None:
            parent, clause = node.parent, str(node.arg_key)
            if isinstance(parent, READERS):
                is_apart = clause in ("from_", "joins") and is_nested and not is_lateral
                is_apart = is_apart or (isinstance(parent, exp.Insert) and clause == "expression")
                if not is_apart and clause != "with_":
                    yield parent, clause, self._sources.of(parent)
                is_nested, is_lateral = True, False
            elif isinstance(parent, exp.SetOperation):
                if clause not in ("this", "expression", "with_"):
                    yield parent, clause, ()
                is_nested = True
            elif isinstance(parent, exp.Lateral | exp.Unnest) or (isinstance(parent, exp.Join) and clause == "on"):
                is_lateral = True
            node = parent

    def _qualified(self, node: exp.Column, scopes: Sequence[tuple[exp.Expr, str, Sequence[Source]]]) -> None:
        owner = node.table.lower()
        for _, _, sources in scopes:
            source = next((one for one in sources if one.alias == owner), None)
            if source is None:
                continue
            known = source.table.column(node.name) if source.table is not None else None
            if known is not None and source.table is not None:
                self.found.columns[id(node)] = (source.table, known)
            elif source.has(node.name.lower()):
                self.found.made.add(id(node))
            elif not (isinstance(node.this, exp.Star) or source.is_open):
                self.found.problems.append(Unresolved(node, "column", node.name, nearest(node.name, _names([source]))))
            return
        everything = [source for _, _, sources in scopes for source in sources]
        if any(source.has(owner) for source in everything):
            return
        hidden = (source.alias for source in everything if source.table and source.table.name.lower() == owner)
        near = next(hidden, None) or nearest(node.table, (source.alias for source in everything))
        self.found.problems.append(Unresolved(node, "alias", node.table, near))

    def _bare(self, node: exp.Column, scopes: Sequence[tuple[exp.Expr, str, Sequence[Source]]]) -> None:
        name = node.name.lower()
        for part, clause, sources in scopes:
            is_given = self._is_given(node, part, clause)
            if is_given and clause == "order":
                self.found.made.add(id(node))
                return
            homes = [source for source in sources if source.has(name)]
            if homes:
                if len(homes) > 1 and isinstance(part, exp.Select) and not _is_shared(node, part):
                    self.found.problems.append(Unresolved(node, "ambiguous", node.name))
                elif homes[0].table is not None:
                    known = homes[0].table.column(name)
                    assert known is not None
                    self.found.columns[id(node)] = (homes[0].table, known)
                else:
                    self.found.made.add(id(node))
                return
            if is_given:
                self.found.made.add(id(node))
                return
            if any(source.is_open or source.alias == name for source in sources):
                if any(source.alias == name for source in sources):
                    self.found.made.add(id(node))
                return
        if self._dialect == "sqlite" and isinstance(node.this, exp.Identifier) and node.this.quoted:
            self.found.texts.add(id(node))
            return
        if not scopes:
            return
        near = nearest(node.name, (one for _, _, sources in scopes for one in _names(sources)))
        self.found.problems.append(Unresolved(node, "column", node.name, near))

    def _is_given(self, node: exp.Column, part: exp.Expr, clause: str) -> bool:
        """Whether a name is one that the same SELECT gives to something, and may be used here."""
        name = node.name.lower()
        if isinstance(part, exp.SetOperation):
            names = self._sources.selected(part)
            return names is None or name in names
        if not isinstance(part, exp.Select):
            return False
        is_usable = clause in _NAMED_IN or (clause == "where" and self._dialect == "sqlite")
        if not is_usable and self._dialect not in _NAMED_EVERYWHERE:
            return False
        return any(isinstance(one, exp.Alias) and one.alias.lower() == name for one in part.expressions)


def _is_shared(column: exp.Column, part: exp.Expr) -> bool:
    """A column of a USING or NATURAL join is both tables'."""
    name = column.name.lower()
    return any(
        str(join.args.get("method") or "").upper() == "NATURAL"
        or any(one.name.lower() == name for one in join.args.get("using") or ())
        for join in part.args.get("joins") or ()
    )


def _names(sources: Iterable[Source]) -> Iterator[str]:
    for source in sources:
        if source.table is not None:
            yield from (column.name for column in source.table.columns)
        else:
            yield from source.names or ()
