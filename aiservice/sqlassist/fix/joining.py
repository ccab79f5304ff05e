"""Joins that are missing, or are over columns that are no keys, made over the keys that there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlglot import exp

from aiservice.sqlassist.fix.model import change
from aiservice.sqlassist.joins import Step, path_between
from aiservice.sqlassist.model import Change
from aiservice.sqlassist.schema import Schema, Table


@dataclass(frozen=True, slots=True)
class Edit:
    """A change that was made to a statement, and how much it is."""

    change: Change
    cost: float


def identifier(name: str) -> exp.Identifier:
    """In quotes where it is more than letters, digits and underscores."""
    return exp.to_identifier(name, quoted=not name.replace("_", "a").isalnum() or name[:1].isdigit())


def present(select: exp.Expr) -> Sequence[exp.Table]:
    """The tables that a SELECT reads from itself, in their order."""
    nodes = [select.args.get("from_"), *(select.args.get("joins") or ())]
    return [node.this for node in nodes if node is not None and isinstance(node.this, exp.Table)]


def sources_of(node: exp.Expr, schema: Schema) -> Mapping[str, Table]:
    """The schema's tables in scope at a node by the names that they go by there, those of outer queries last."""
    found: dict[str, Table] = {}
    select = node.find_ancestor(exp.Select)
    while select is not None:
        for table in present(select):
            known = schema.table(table.name)
            if known is not None:
                found.setdefault(table.alias_or_name, known)
        select = select.find_ancestor(exp.Select)
    return found


def _own_sources(select: exp.Expr, schema: Schema) -> Mapping[str, Table]:
    tables = ((table.alias_or_name, schema.table(table.name)) for table in present(select))
    return {name: known for name, known in tables if known is not None}


def homes(column: exp.Column, schema: Schema) -> Sequence[Table]:
    """The tables that have the column, the nearest to what is read first."""
    return [home for _, home in homes_by_distance(column, schema)]


def homes_by_distance(column: exp.Column, schema: Schema) -> Sequence[tuple[int, Table]]:
    select = column.find_ancestor(exp.Select)
    if select is None:
        return []
    tables, found = _own_sources(select, schema), []
    for home in schema.tables_with(column.name):
        ways = [path_between(schema, table.name, home.name) for table in tables.values()]
        lengths = [len(way) for way in ways if way]
        if lengths:
            found.append((min(lengths), home))
    return sorted(found, key=lambda pair: pair[0])


def join_in(column: exp.Column, home: Table, schema: Schema) -> Edit | None:
    """The table that has the column is joined over the keys between it and the nearest that is read."""
    select = column.find_ancestor(exp.Select)
    if not isinstance(select, exp.Select):
        return None
    tables = _own_sources(select, schema)
    ways = [(alias, way) for alias, table in tables.items() if (way := path_between(schema, table.name, home.name))]
    if not ways:
        return None
    alias, steps = min(ways, key=lambda pair: len(pair[1]))
    joins, owner = _joins(alias, steps, tables)
    for join in joins:
        select.append("joins", join)
    before = column.sql()
    column.set("table", identifier(owner))
    text = " ".join(one.sql() for one in joins)
    why = f"{column.name} is a column of {home.name}, which was not joined."
    return Edit(
        change("join", before, f"{column.sql()} ... {text}" if text else column.sql(), why=why), 1.0 + 0.25 * len(steps)
    )


def _joins(alias: str, steps: Sequence[Step], tables: Mapping[str, Table]) -> tuple[list[exp.Join], str]:
    """The joins of the steps but for tables that are joined already, and what the last table is called."""
    joins = []
    for step in steps:
        known = next((name for name, table in tables.items() if table.name == step.table.name), None)
        here = known or step.table.name
        if known is None:
            joins.append(exp.Join(this=exp.Table(this=identifier(here)), on=_on(alias, here, step)))
        alias = here
    return joins, alias


def _on(left: str, right: str, step: Step) -> exp.Expr:
    pairs = [
        exp.EQ(
            this=exp.Column(this=identifier(one), table=identifier(left)),
            expression=exp.Column(this=identifier(other), table=identifier(right)),
        )
        for one, other in step.pairs
    ]
    return exp.and_(*pairs)


def rejoined(column: exp.Column, schema: Schema) -> Edit | None:
    """A join over a column that one of its tables does not have is made over the keys between the tables."""
    join, pair = column.find_ancestor(exp.Join, exp.Select), column.parent
    if not isinstance(join, exp.Join) or not isinstance(join.this, exp.Table) or not isinstance(pair, exp.EQ):
        return None
    select, target = join.find_ancestor(exp.Select), schema.table(join.this.name)
    other = pair.expression if pair.this is column else pair.this
    if not isinstance(select, exp.Select) or target is None or not isinstance(other, exp.Column):
        return None
    place = next(number for number, one in enumerate(select.args["joins"]) if one is join)
    tables = _own_sources(select, schema)
    earlier = {table.alias_or_name for table in [*present(select)[: place + 1]]} - {join.this.alias_or_name}
    asked = [one.table for one in (column, other) if one.table in earlier]
    starts = [*asked, *(name for name in tables if name in earlier and name not in asked)]
    ways = [
        (name, way)
        for name in starts
        if name in tables and (way := path_between(schema, tables[name].name, target.name))
    ]
    if not ways:
        return None
    # The table that was named, unless another one is nearer.
    start, steps = min(ways, key=lambda one: (len(one[1]), one[0] not in asked))
    return _replaced(join, select, (start, steps), schema=schema, column=column)


def _replaced(
    join: exp.Join, select: exp.Select, way: tuple[str, Sequence[Step]], *, schema: Schema, column: exp.Column
) -> Edit | None:
    start, steps = way
    before, own = join.sql(), join.this.alias_or_name
    tables = {name: table for name, table in _own_sources(select, schema).items() if name != own}
    middle, alias = _joins(start, steps[:-1], tables)
    rest = [one for one in _conjuncts(join) if column not in list(one.find_all(exp.Column))]
    join.set("on", exp.and_(_on(alias, own, steps[-1]), *[one.copy() for one in rest]))
    # A table in the middle that is joined later on has to be there before.
    order = [*select.args["joins"]]
    place = next(number for number, one in enumerate(order) if one is join)
    later = {one.this.alias_or_name: one for one in order[place + 1 :]}
    if alias in later and alias != start:
        order.remove(later[alias])
        order.insert(place, later[alias])
    else:
        order[place:place] = middle
    select.set("joins", order)
    text = " ".join([*(one.sql() for one in middle), join.sql()])
    why = f"{column.name} is no key between these tables."
    return Edit(change("join", before, text, why=why), 0.9 + 0.25 * len(steps))


def _conjuncts(join: exp.Join) -> Sequence[exp.Expr]:
    on = join.args.get("on")
    return [] if on is None else list(on.flatten() if isinstance(on, exp.And) else [on])


def _own_columns(select: exp.Select) -> Sequence[exp.Column]:
    return [one for one in select.find_all(exp.Column) if one.find_ancestor(exp.Select) is select]


def table_last(select: exp.Select, schema: Schema) -> Edit | None:
    """`SELECT a, b t`: what was read as a name for b is the table, and FROM is missing before it."""
    last = select.expressions[-1] if select.expressions else None
    named = schema.table(last.alias) if isinstance(last, exp.Alias) else None
    if select.args.get("from_") is not None or not isinstance(last, exp.Alias) or named is None:
        return None
    names = [one.name for one in _own_columns(select) if not isinstance(one.this, exp.Star)]
    if not all(named.column(name) is not None for name in names[:1]):
        return None
    before = select.sql()
    last.replace(last.this)
    select.set("from_", exp.From(this=exp.Table(this=identifier(named.name))))
    return Edit(change("from", before, select.sql(), why=f"FROM is missing before the table {named.name}."), 1.0)


def read_from(column: exp.Column, schema: Schema) -> Edit | None:
    """A SELECT that reads from nothing reads from the table that has its columns."""
    select = column.find_ancestor(exp.Select)
    if not isinstance(select, exp.Select) or select.args.get("from_") is not None:
        return None
    names = {one.name for one in _own_columns(select) if not isinstance(one.this, exp.Star)}
    owners = [table for table in schema.tables if all(table.column(name) is not None for name in names)]
    if len(owners) != 1:
        return None
    select.set("from_", exp.From(this=exp.Table(this=identifier(owners[0].name))))
    why = f"Nothing is read from; {owners[0].name} is the one table that has these columns."
    return Edit(change("from", "", f"FROM {owners[0].name}", why=why), 1.2)
