"""Repairs of names that are nobody's, by scope, by likeness and by the keys between tables."""

from collections.abc import Mapping

from rapidfuzz import fuzz
from sqlglot import exp

from aiservice.sqlassist.joins import path_between
from aiservice.sqlassist.model import Change
from aiservice.sqlassist.names import Resolution, Unresolved, nearest, resolve
from aiservice.sqlassist.schema import Schema, Table

ROUNDS_MAX = 12
ALIKE = 78.0


def mended(statement: exp.Expression, schema: Schema) -> tuple[exp.Expression, list[Change], Resolution]:
    """A copy in which names were put right one after the other, as far as that goes."""
    statement = statement.copy()
    changes = _unqualified(statement, schema)
    changes += _split_aliases(statement, schema)
    for _ in range(ROUNDS_MAX):
        found = resolve(statement, schema)
        change = next((one for problem in found.problems if (one := _mend(problem, statement, schema)) is not None), None)
        if change is None:
            return statement, changes, found
        changes.append(change)
    return statement, changes, resolve(statement, schema)


def _unqualified(statement: exp.Expression, schema: Schema) -> list[Change]:
    """A schema or database that nobody knows before a table that is known."""
    changes = []
    for table in statement.find_all(exp.Table):
        if table.db and schema.table(f"{table.db}.{table.name}") is None and schema.table(table.name) is not None:
            before = table.sql()
            for part in ("db", "catalog"):
                table.set(part, None)
            changes.append(Change("qualifier", before, table.sql(), "There is no such schema; the table itself is there."))
    for column in statement.find_all(exp.Column):
        if column.args.get("db") is not None:
            column.set("db", None)
            column.set("catalog", None)
    return changes


def _split_aliases(statement: exp.Expression, schema: Schema) -> list[Change]:
    """`SELECT name country FROM ...`: an alias that is a column's name, without AS, has lost its comma."""
    changes = []
    for select in statement.find_all(exp.Select):
        tables = [known for table in select.find_all(exp.Table) if (known := schema.table(table.name)) is not None]
        for alias in [one for one in select.selects if isinstance(one, exp.Alias)]:
            is_column = any(table.column(alias.alias) is not None for table in tables)
            if not is_column or not isinstance(alias.this, exp.Column | exp.AggFunc):
                continue
            if alias.alias.lower() == alias.this.name.lower() or _has_as(statement, alias):
                continue
            place = select.expressions.index(alias)
            parts = [alias.this.copy(), exp.column(alias.args["alias"].copy())]
            before = alias.sql()
            select.set("expressions", [*select.expressions[:place], *parts, *select.expressions[place + 1 :]])
            changes.append(Change("comma", before, ", ".join(part.sql() for part in parts), "The comma between two columns was missing."))
    return changes


def _has_as(statement: exp.Expression, alias: exp.Alias) -> bool:
    return bool(statement.meta.get("text")) and f" as {alias.alias.lower()}" in str(statement.meta["text"]).lower()


def _mend(problem: Unresolved, statement: exp.Expression, schema: Schema) -> Change | None:
    match problem.kind:
        case "table":
            return _mend_table(problem, schema)
        case "alias":
            return _mend_alias(problem, statement, schema)
        case "ambiguous":
            return _qualify(problem.node, statement, schema)
        case _:
            return _mend_column(problem, statement, schema)


def _mend_table(problem: Unresolved, schema: Schema) -> Change | None:
    table = problem.node
    near = problem.nearest or _plural(problem.name, schema)
    if not isinstance(table, exp.Table) or near is None:
        return None
    before = table.name
    if table.alias == "":
        for column in _siblings(table):
            if column.table.lower() == before.lower():
                column.set("table", exp.to_identifier(near))
    table.set("this", exp.to_identifier(near))
    return Change("table", before, near, f"There is no table {before}; {near} is the nearest.")


def _plural(name: str, schema: Schema) -> str | None:
    lower = name.lower().rstrip("s")
    return next((table.name for table in schema.tables if table.name.lower().rstrip("s") == lower), None)


def _siblings(table: exp.Table) -> list[exp.Column]:
    select = table.parent_select
    return [] if select is None else list(select.find_all(exp.Column))


def _sources(node: exp.Expression, schema: Schema) -> Mapping[str, Table]:
    """The tables that are in scope at a node, by the names they go by there; outer queries' last."""
    found: dict[str, Table] = {}
    select = node.find_ancestor(exp.Select)
    while select is not None:
        for table in _tables_of(select):
            known = schema.table(table.name)
            if known is not None:
                found.setdefault(table.alias_or_name, known)
        select = select.find_ancestor(exp.Select)
    return found


def _tables_of(select: exp.Expression) -> list[exp.Table]:
    nodes = [select.args.get("from_"), *(select.args.get("joins") or ())]
    return [node.this for node in nodes if node is not None and isinstance(node.this, exp.Table)]


def _mend_alias(problem: Unresolved, statement: exp.Expression, schema: Schema) -> Change | None:
    column = problem.node
    if not isinstance(column, exp.Column):
        return None
    before, sources = column.sql(), _sources(column, schema)
    owners = [name for name, table in sources.items() if table.column(column.name) is not None]
    named = [name for name, table in sources.items() if table.name.lower() == column.table.lower()]
    chosen = next(iter([name for name in named if name in owners] or (owners if len(owners) == 1 else [])), None)
    if chosen is None and len(owners) > 1:
        near = nearest(column.table, owners)
        chosen = near or owners[0]
    if chosen is not None:
        column.set("table", exp.to_identifier(chosen))
        return Change("alias", before, column.sql(), f"Nothing here is called {problem.name}; the column is one of {chosen}.")
    known = schema.table(column.table)
    if known is not None and known.column(column.name) is not None:
        return _join_in(column, known, schema)
    near_alias = nearest(column.table, list(sources))
    if near_alias is not None:
        column.set("table", exp.to_identifier(near_alias))
        return Change("alias", before, column.sql(), f"Nothing here is called {problem.name}; {near_alias} is the nearest.")
    if sources:
        column.set("table", None)
        return Change("alias", before, column.sql(), f"Nothing here is called {problem.name}.")
    return None


def _mend_column(problem: Unresolved, statement: exp.Expression, schema: Schema) -> Change | None:
    column = problem.node
    if not isinstance(column, exp.Column):
        return None
    sources = _sources(column, schema)
    others = [name for name, table in sources.items() if table.column(column.name) is not None]
    if others and column.table:
        before = column.sql()
        column.set("table", exp.to_identifier(others[0]))
        return Change("column", before, column.sql(), f"{problem.name} is a column of {others[0]}.")
    if _is_text(column, schema):
        before, literal = column.sql(), exp.Literal.string(column.name)
        column.replace(literal)
        return Change("quote", before, literal.sql(), "No column is called so: it is a text, which takes single quotes.")
    change = _rejoined(column, schema)
    if change is not None:
        return change
    homes = _by_distance(schema, sources, column.name)
    likeness = fuzz.ratio(problem.name.lower(), problem.nearest.lower()) if problem.nearest else 0.0
    if homes and likeness < 90:
        change = _join_in(column, homes[0], schema)
        if change is not None:
            return change
    if problem.nearest is not None and likeness >= 60:
        return _renamed(column, problem, sources, schema)
    return None


def _renamed(column: exp.Column, problem: Unresolved, sources: Mapping[str, Table], schema: Schema) -> Change:
    before = column.sql()
    assert problem.nearest is not None
    column.set("this", exp.to_identifier(problem.nearest, quoted=not problem.nearest.replace("_", "").isalnum()))
    if column.table and column.table in sources and sources[column.table].column(problem.nearest) is None:
        column.set("table", None)
    return Change("column", before, column.sql(), f"There is no column {problem.name}; {problem.nearest} is the nearest.")


def _is_text(column: exp.Column, schema: Schema) -> bool:
    """`WHERE country = "France"`: a name in double quotes that is compared with a column, and nobody's."""
    identifier, parent = column.this, column.parent
    if not isinstance(identifier, exp.Identifier) or not identifier.quoted or column.table:
        return False
    is_compared = isinstance(parent, exp.EQ | exp.NEQ | exp.Like | exp.In | exp.GT | exp.LT | exp.GTE | exp.LTE)
    return is_compared and not schema.tables_with(column.name)


def _qualify(node: exp.Expression, statement: exp.Expression, schema: Schema) -> Change | None:
    if not isinstance(node, exp.Column):
        return None
    owners = [name for name, table in _sources(node, schema).items() if table.column(node.name) is not None]
    if not owners:
        return None
    before = node.sql()
    node.set("table", exp.to_identifier(owners[0]))
    return Change("ambiguous", before, node.sql(), f"More than one table has this column; {owners[0]}'s is meant.")


def _by_distance(schema: Schema, sources: Mapping[str, Table], name: str) -> list[Table]:
    """The tables that have the column, those with the shortest way to one that is in scope first."""
    found = []
    for home in schema.tables_with(name):
        ways = [path_between(schema, table.name, home.name) for table in sources.values()]
        lengths = [len(way) for way in ways if way is not None]
        if lengths:
            found.append((min(lengths), home))
    return [home for _, home in sorted(found, key=lambda pair: pair[0])]


def _rejoined(column: exp.Column, schema: Schema) -> Change | None:
    """A join over a key that is not there is made over the keys that are."""
    join = column.find_ancestor(exp.Join, exp.Select)
    pair = column.parent
    if not isinstance(join, exp.Join) or not isinstance(pair, exp.EQ) or not isinstance(join.this, exp.Table):
        return None
    other = pair.expression if pair.this is column else pair.this
    select = join.find_ancestor(exp.Select)
    if not isinstance(other, exp.Column) or not isinstance(select, exp.Select):
        return None
    target = schema.table(join.this.name)
    names = {one.table.lower() for one in (column, other)} - {join.this.alias_or_name.lower()}
    start = next((table for table in _tables_of(select) if table.alias_or_name.lower() in names), None)
    known = None if start is None else schema.table(start.name)
    steps = None if known is None or target is None else path_between(schema, known.name, target.name)
    if not steps or start is None:
        return None
    before, alias, joins = join.sql(), start.alias_or_name, []
    for step in steps:
        source = join.this.copy() if step is steps[-1] else exp.to_table(step.table.name)
        here = source.alias_or_name
        pairs = [
            exp.EQ(this=exp.column(left, table=alias), expression=exp.column(right, table=here))
            for left, right in step.pairs
        ]
        joins.append(exp.Join(this=source, on=exp.and_(*pairs), side=join.args.get("side")))
        alias = here
    present = {table.alias_or_name.lower() for table in _tables_of(select)} - {join.this.alias_or_name.lower()}
    if any(one.this.alias_or_name.lower() in present for one in joins):
        return None
    place = select.args["joins"].index(join)
    select.set("joins", [*select.args["joins"][:place], *joins, *select.args["joins"][place + 1 :]])
    return Change("join", before, " ".join(one.sql() for one in joins), f"{column.name} is no key of these tables.")


def _join_in(column: exp.Column, home: Table, schema: Schema) -> Change | None:
    """The table that has the column is joined over the keys between it and one that is there."""
    select = column.find_ancestor(exp.Select)
    if not isinstance(select, exp.Select):
        return None
    for table in _tables_of(select):
        known = schema.table(table.name)
        steps = None if known is None else path_between(schema, known.name, home.name)
        if not steps:
            continue
        alias = table.alias_or_name
        for step in steps:
            other = step.table.name
            pairs = [
                exp.EQ(this=exp.column(left, table=alias), expression=exp.column(right, table=other))
                for left, right in step.pairs
            ]
            select.append("joins", exp.Join(this=exp.to_table(other), on=exp.and_(*pairs)))
            alias = other
        before = column.sql()
        column.set("table", exp.to_identifier(home.name))
        return Change("join", before, column.sql(), f"The column is one of {home.name}, which was not joined.")
    return None
