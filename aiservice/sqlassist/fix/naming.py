"""Repairs of names that are nobody's: by scope, by likeness, and by the keys between tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz
from sqlglot import exp

from aiservice.sqlassist.fix import joining
from aiservice.sqlassist.fix.joining import Edit, identifier, present, sources_of
from aiservice.sqlassist.fix.model import NAMED, Repair, change, shown
from aiservice.sqlassist.names import Resolution, Unresolved, resolve
from aiservice.sqlassist.schema import Schema, Table
from aiservice.sqlassist.sources import Sources

ROUNDS_MAX = 16
ALIKE = 60.0
ALIKE_TABLE = 55.0
_KINDS = ("table", "alias", "column", "ambiguous")
_RESERVED = frozenset(
    """
    ALL AND AS ASC BY CASE CHECK CREATE DEFAULT DESC DISTINCT ELSE END FOREIGN FROM GROUP HAVING IN INTO IS JOIN NOT
    NULL ON OR ORDER PRIMARY REFERENCES SELECT SET TABLE THEN TO UNION UNIQUE VALUES WHEN WHERE
    """.split()  # noqa: SIM905  # a list of words reads better as text
)
_COMPARISONS = (exp.EQ, exp.NEQ, exp.Like, exp.ILike, exp.In, exp.GT, exp.LT, exp.GTE, exp.LTE, exp.Between)


@dataclass(frozen=True, slots=True)
class _Place:
    """A problem, with what is around it."""

    problem: Unresolved
    statement: exp.Expr
    schema: Schema
    problems: Sequence[Unresolved]


def mended(repair: Repair, schema: Schema) -> tuple[Repair, Resolution]:
    """A copy in which names were put right one after the other, as far as that goes, and what is left."""
    statement = repair.statement.copy()
    repair = Repair(statement, repair.source, repair.changes, repair.cost)
    for edit in [*_unqualified(statement, schema), *_reserved(statement, schema), *_lists(statement, schema)]:
        repair = repair.edited(statement, edit.change, edit.cost)
    for _ in range(ROUNDS_MAX):
        found = resolve(statement, schema, repair.source)
        edit_made = _next_edit(statement, schema, found)
        if edit_made is None:
            return repair, found
        repair = repair.edited(statement, edit_made.change, edit_made.cost)
    return repair, resolve(statement, schema, repair.source)


def _next_edit(statement: exp.Expr, schema: Schema, found: Resolution) -> Edit | None:
    """Tables first, then what is deepest inside: a join further out would catch an inner column."""
    ordered = sorted(found.problems, key=lambda one: (one.kind != "table", -_depth(one.node), _KINDS.index(one.kind)))
    for problem in ordered:
        place = _Place(problem, statement, schema, found.problems)
        edits = sorted(_edits(place), key=lambda pair: pair[0])
        for _, make in edits:
            edit = make()
            if edit is not None:
                return edit
    return None


def _depth(node: exp.Expr) -> int:
    depth, parent = 0, node.parent
    while parent is not None:
        depth += isinstance(parent, exp.Select)
        parent = parent.parent
    return depth


_Option = tuple[float, Callable[[], Edit | None]]


def _edits(place: _Place) -> Iterator[_Option]:
    """What may be done about a problem, each with its cost; nothing is changed until it is called."""
    node = place.problem.node
    match place.problem.kind:
        case "table" if isinstance(node, exp.Table):
            yield 1.0, lambda: _other_table(node, place)
        case "alias" if isinstance(node, exp.Column):
            yield from _alias_edits(node, place)
        case "ambiguous" if isinstance(node, exp.Column):
            yield 0.3, lambda: _qualified(node, place.schema)
        case "column" if isinstance(node, exp.Column):
            yield from _column_edits(node, place)
        case "column" if isinstance(node, exp.Identifier) and place.problem.nearest:
            yield 1.0, lambda: _listed(node, place.problem)


def _unqualified(statement: exp.Expr, schema: Schema) -> Iterator[Edit]:
    """A schema or database that nobody knows before a table that is known, and before columns."""
    for table in statement.find_all(exp.Table):
        if table.db and schema.table(f"{table.db}.{table.name}") is None and schema.table(table.name) is not None:
            before, known = table.sql(), table.name
            table.set("db", None)
            table.set("catalog", None)
            table.set("this", identifier(known))
            why = f"No schema is called {before.rpartition('.')[0] or 'so'}; the table {known} is there without it."
            yield Edit(change("qualifier", before, table.sql(), why=why), 0.1)
    for column in statement.find_all(exp.Column):
        if column.args.get("db") is not None:
            column.set("db", None)
            column.set("catalog", None)


def _lists(statement: exp.Expr, schema: Schema) -> Iterator[Edit]:
    """What was read as a column's new name, without AS, and is a column or the table: a comma or FROM is missing."""
    named = statement.meta.get(NAMED, frozenset())
    for select in list(statement.find_all(exp.Select)):
        last = select.expressions[-1] if select.expressions else None
        if isinstance(last, exp.Alias) and last.alias.lower() not in named:
            edit = joining.table_last(select, schema)
            if edit is not None:
                yield edit
        tables = present(select)
        known = schema.table(tables[0].name) if len(tables) == 1 else None
        for alias in [one for one in select.expressions if isinstance(one, exp.Alias)] if known is not None else ():
            is_column = known is not None and known.column(alias.alias) is not None
            is_other = isinstance(alias.this, exp.Column) and alias.this.name.lower() != alias.alias.lower()
            is_other = is_other or (isinstance(alias.this, exp.AggFunc) and _is_grouped_by(select, alias.alias))
            if is_column and is_other and alias.alias.lower() not in named:
                yield _parted(select, alias)


def _is_grouped_by(select: exp.Select, name: str) -> bool:
    """No group is made by an aggregate, so that the name is a column's."""
    group = select.args.get("group")
    listed = group.expressions if isinstance(group, exp.Group) else ()
    return any(isinstance(one, exp.Column) and one.name.lower() == name.lower() for one in listed)


def _parted(select: exp.Select, alias: exp.Alias) -> Edit:
    before, place = alias.sql(), next(number for number, one in enumerate(select.expressions) if one is alias)
    parts = [alias.this.copy(), exp.Column(this=identifier(alias.alias))]
    select.set("expressions", [*select.expressions[:place], *parts, *select.expressions[place + 1 :]])
    after = ", ".join(part.sql() for part in parts)
    why = f"{alias.alias} is a column of the table: a comma is missing before it."
    return Edit(change("comma", before, after, why=why), 1.0)


def _reserved(statement: exp.Expr, schema: Schema) -> Iterator[Edit]:
    """A name that is a keyword everywhere takes quotes, though some parsers do without."""
    for node in list(statement.find_all(exp.Column, exp.Table)):
        name = node.this
        if not isinstance(name, exp.Identifier) or name.quoted or name.this.upper() not in _RESERVED:
            continue
        is_known = schema.tables_with(name.this) or schema.table(name.this) is not None
        if is_known:
            name.set("quoted", True)
            why = f"{name.this} is a keyword too; as a name it takes quotes."
            yield Edit(change("quoted_name", name.this, node.sql(), why=why), 0.5)


def _other_table(table: exp.Table, place: _Place) -> Edit | None:
    """The table that is most like it in name, and has the columns that are asked of it."""
    name, asked = table.name, _asked_of(table)
    best, best_points, best_ratio = None, 0.0, 0.0
    for known in place.schema.tables:
        ratio = likeness(name, known.name)
        share = sum(known.column(one) is not None for one in asked) / len(asked) if asked else 0.0
        points = ratio + 25 * share
        if (ratio >= ALIKE_TABLE or (asked and share == 1 and ratio >= 40)) and points > best_points:
            best, best_points, best_ratio = known, points, ratio
    chosen = best.name if best is not None else ""
    for cte in place.statement.find_all(exp.CTE):
        if (ratio := likeness(name, cte.alias)) >= ALIKE_TABLE and ratio > best_points and not _is_inside(table, cte):
            chosen, best_points, best_ratio = cte.alias, ratio, ratio
    if not chosen:
        return None
    for other in place.problems:
        if isinstance(other.node, exp.Table) and other.name.lower() == name.lower():
            _rename_table(other.node, chosen)
    why = f"There is no table {name}; {chosen} is the nearest."
    return Edit(change("table", name, chosen, why=why), 0.6 + (100 - best_ratio) / 25)


def _is_inside(node: exp.Expr, other: exp.Expr) -> bool:
    parent = node.parent
    while parent is not None and parent is not other:
        parent = parent.parent
    return parent is other


def _rename_table(table: exp.Table, known: str) -> None:
    before, select = table.name, table.find_ancestor(exp.Select)
    if not table.alias and select is not None:
        for column in select.find_all(exp.Column):
            if column.table.lower() == before.lower():
                column.set("table", identifier(known))
    table.set("this", identifier(known))
    table.set("db", None)
    table.set("catalog", None)


def _asked_of(table: exp.Table) -> Sequence[str]:
    """The columns that are asked of a table by its name."""
    select = table.find_ancestor(exp.Select)
    if select is None:
        return ()
    owner, is_only = table.alias_or_name.lower(), len(present(select)) == 1
    columns = (column for column in select.find_all(exp.Column) if not isinstance(column.this, exp.Star))
    return [one.name for one in columns if one.table.lower() == owner or (is_only and not one.table)]


def likeness(one: str, other: str) -> float:
    """0 to 100, whatever the case and the underscores."""
    a, b = one.lower(), other.lower()
    bare = fuzz.ratio(a.replace("_", ""), b.replace("_", "")) - 2
    return max(fuzz.ratio(a, b), bare)


def _alias_edits(column: exp.Column, place: _Place) -> Iterator[_Option]:
    sources = sources_of(column, place.schema)
    owners = [name for name, table in sources.items() if table.column(column.name) is not None]
    beside = _other_side(column)
    owners = [name for name in owners if beside is None or name.lower() != beside] or owners
    for rank, name in enumerate(sorted(owners, key=lambda one: -_own(one, sources[one], column.table))):
        yield 0.5 + 0.1 * rank, lambda name=name: _owned(column, name, place.problem.name)  # type: ignore[misc]
    select = column.find_ancestor(exp.Select)
    for made in Sources(place.schema).of(select) if select is not None else ():
        if made.table is None and made.has(column.name.lower()):
            yield 0.7, lambda made=made: _owned(column, made.alias, place.problem.name)  # type: ignore[misc]
    near = place.problem.nearest
    if near is not None and near not in sources:
        # What a subquery or a WITH is called.
        yield 0.6 + (100 - likeness(near, column.table)) / 50, lambda: _owned(column, near, place.problem.name)
    known = place.schema.table(column.table)
    if known is not None and known.column(column.name) is not None:
        yield 0.4, lambda: joining.join_in(column, known, place.schema)
    for name, table in sources.items():
        alike = max((likeness(column.name, one.name) for one in table.columns), default=0.0)
        if not owners and alike >= ALIKE:
            yield 1.5 + (100 - alike) / 25, lambda name=name: _owned(column, name, place.problem.name)  # type: ignore[misc]
    for home in joining.homes(column, place.schema):
        yield 1.6, lambda home=home: joining.join_in(column, home, place.schema)  # type: ignore[misc]


def _own(alias: str, table: Table, name: str) -> float:
    """How much a qualifier looks like a source's alias or its table's name."""
    return max(likeness(alias, name), likeness(table.name, name))


def _other_side(column: exp.Column) -> str | None:
    """Whose column it is compared with."""
    pair = column.parent
    if not isinstance(pair, exp.EQ):
        return None
    other = pair.expression if pair.this is column else pair.this
    return other.table.lower() if isinstance(other, exp.Column) and other.table else None


def _owned(column: exp.Column, name: str, before_name: str) -> Edit:
    before = column.sql()
    column.set("table", identifier(name))
    why = f"Nothing here is called {before_name}; the column is one of {name}."
    return Edit(change("alias", before, column.sql(), why=why), 0.8)


def _qualified(column: exp.Column, schema: Schema) -> Edit | None:
    owners = [name for name, table in sources_of(column, schema).items() if table.column(column.name) is not None]
    if not owners:
        return None
    before = column.sql()
    column.set("table", identifier(owners[0]))
    why = f"{' and '.join(owners)} have a column of this name; {owners[0]}'s is meant."
    return Edit(change("ambiguous", before, column.sql(), why=why), 0.5)


def _column_edits(column: exp.Column, place: _Place) -> Iterator[_Option]:
    schema, sources = place.schema, sources_of(column, place.schema)
    if _is_text(column, schema):
        yield 0.1, lambda: _text(column)
        return
    likely, points = _nearest(column, sources, schema)
    near = place.problem.nearest
    if near is not None and likeness(column.name, near) > points:
        likely, points = near, likeness(column.name, near)
    if likely is not None:
        yield 0.6 + (100 - points) / 25, lambda: _renamed(column, likely, place)
    for name, table in sources.items() if column.table else ():
        if table.column(column.name) is not None:
            yield 1.0, lambda name=name: _moved(column, name)  # type: ignore[misc]
    yield 0.9, lambda: joining.rejoined(column, schema)
    select = column.find_ancestor(exp.Select)
    if select is not None and select.args.get("from_") is None:
        yield 0.5, lambda: joining.read_from(column, schema)
    for rank, (steps, home) in enumerate(joining.homes_by_distance(column, schema)[:3]):
        yield 1.2 + 0.2 * steps + 0.05 * rank, lambda home=home: joining.join_in(column, home, schema)  # type: ignore[misc]


def _nearest(column: exp.Column, sources: Mapping[str, Table], schema: Schema) -> tuple[str | None, float]:
    """The likeliest column of the source that is named, or of all; a name of the statement's own counts too."""
    named = [table for name, table in sources.items() if name.lower() == column.table.lower()]
    choices = [one.name for table in (named or sources.values()) for one in table.columns]
    select = column.find_ancestor(exp.Select)
    if not column.table and select is not None:
        choices += [one.alias for one in select.expressions if isinstance(one, exp.Alias) and one.alias]
    choices = [one for one in choices if one.lower() != column.name.lower()]
    best = max(choices, key=lambda one: likeness(column.name, one), default=None)
    points = likeness(column.name, best) if best is not None else 0.0
    return (best, points) if points >= ALIKE else (None, 0.0)


def _renamed(column: exp.Column, name: str, place: _Place) -> Edit:
    """All of the same name at once, where they are nobody's either and the new one is somebody's there."""
    before = column.sql()
    points = likeness(column.name, name)
    old = column.name.lower()
    for other in place.problems:
        node = other.node
        if isinstance(node, exp.Column) and other.kind == "column" and node.name.lower() == old:
            tables = sources_of(node, place.schema)
            owner = tables.get(node.table) if node.table else None
            if (
                node is column
                or (owner is not None and owner.column(name))
                or (not node.table and any(table.column(name) for table in tables.values()))
            ):
                node.set("this", identifier(name))
    why = f"There is no column {place.problem.name} here; {name} is the nearest."
    return Edit(change("column", before, column.sql(), why=why), 0.6 + (100 - points) / 25)


def _moved(column: exp.Column, name: str) -> Edit:
    before = column.sql()
    column.set("table", identifier(name))
    return Edit(change("column", before, column.sql(), why=f"{column.name} is a column of {name}."), 0.8)


def _is_text(column: exp.Column, schema: Schema) -> bool:
    """`country = "France"`, or `status = paid` where that is one of its values: a text, and nobody's name."""
    is_compared = isinstance(column.parent, _COMPARISONS) and column.arg_key in (
        "expression",
        "expressions",
        "low",
        "high",
    )
    if not is_compared or column.table or schema.tables_with(column.name):
        return False
    quoted = isinstance(column.this, exp.Identifier) and column.this.quoted
    return quoted or column.name.lower() in _values_beside(column, schema)


def _values_beside(column: exp.Column, schema: Schema) -> set[str]:
    """The known values of the column that it is compared with, in lower case."""
    other = column.parent.this if column.parent is not None else None
    if not isinstance(other, exp.Column):
        return set()
    found = [known for table in sources_of(column, schema).values() if (known := table.column(other.name)) is not None]
    return {value.lower() for known in found for value in known.values}


def _text(column: exp.Column) -> Edit:
    before, literal = column.sql(), exp.Literal.string(column.name)
    column.replace(literal)
    return Edit(change("quote", before, literal.sql(), why="It is a text, not a name, and takes single quotes."), 0.5)


def _listed(node: exp.Identifier, problem: Unresolved) -> Edit | None:
    """A column of an INSERT's list or of USING."""
    assert problem.nearest is not None
    node.set("this", problem.nearest)
    why = f"There is no column {problem.name}; {problem.nearest} is the nearest."
    return Edit(change("column", problem.name, shown(problem.nearest), why=why), 1.0)
