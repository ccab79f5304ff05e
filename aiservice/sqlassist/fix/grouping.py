"""Groups that are not whole: columns that GROUP BY has to name, and conditions on groups that stand in WHERE."""

from collections.abc import Iterator, Sequence

from sqlglot import exp

from aiservice.sqlassist.fix.joining import Edit
from aiservice.sqlassist.fix.model import Repair, change
from aiservice.sqlassist.names import Resolution, resolve
from aiservice.sqlassist.schema import Schema, Table

# Where a column that is neither grouped nor aggregated is some row's.
_LOOSE = frozenset({"sqlite", "mysql"})


def grouped(repair: Repair, schema: Schema, dialect: str) -> Repair:
    """The repair, its groups whole."""
    statement = repair.statement
    for select in list(statement.find_all(exp.Select)):
        for edit in _having(select):
            repair = repair.edited(statement, edit.change, edit.cost)
    if dialect in _LOOSE:
        return repair
    names = resolve(statement, schema, repair.source)
    for select in list(statement.find_all(exp.Select)):
        for edit in _completed(select, names):
            repair = repair.edited(statement, edit.change, edit.cost)
    return repair


def _having(select: exp.Select) -> Iterator[Edit]:
    """`WHERE COUNT(*) > 1` is `HAVING COUNT(*) > 1`."""
    where = select.args.get("where")
    if not isinstance(where, exp.Where):
        return
    parts = list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]
    moved = [part for part in parts if _own_aggregates(part, select)]
    if not moved:
        return
    kept = [part.copy() for part in parts if part not in moved]
    select.set("where", exp.Where(this=exp.and_(*kept)) if kept else None)
    having = select.args.get("having")
    conditions = [part.copy() for part in moved]
    before = [having.this.copy()] if isinstance(having, exp.Having) else []
    select.set("having", exp.Having(this=exp.and_(*before, *conditions)))
    texts = " AND ".join(part.sql() for part in moved)
    why = "WHERE looks at rows; what is asked of a group stands in HAVING."
    yield Edit(change("having", f"WHERE {texts}", f"HAVING {texts}", why=why), 1.0)


def _own_aggregates(node: exp.Expr, select: exp.Select) -> Sequence[exp.Expr]:
    """Aggregates of this SELECT, not of one inside it, and not over windows."""
    return [
        one
        for one in node.find_all(exp.AggFunc)
        if one.find_ancestor(exp.Select) is select and not isinstance(one.parent, exp.Window)
    ]


def _completed(select: exp.Select, names: Resolution) -> Iterator[Edit]:
    """The columns beside the aggregates that are in no group are put into it."""
    group = select.args.get("group")
    outputs = [one.this if isinstance(one, exp.Alias) else one for one in select.expressions]
    has_aggregate = any(_own_aggregates(one, select) for one in outputs)
    if not (has_aggregate or group is not None) or (group is not None and not group.expressions):
        return
    listed = list(group.expressions) if isinstance(group, exp.Group) else []
    aliases = {one.alias.lower(): one.this for one in select.expressions if isinstance(one, exp.Alias)}
    named = {_key(aliases.get(one.name.lower(), one) if isinstance(one, exp.Column) else one, names) for one in listed}
    named |= {_key(outputs[int(one.name) - 1], names) for one in listed if _is_place(one, len(outputs))}
    owners = {id(table) for one in listed if (table := _whole_key(one, listed, names)) is not None}
    missing = [
        one
        for one in outputs
        if not isinstance(one, exp.Star | exp.Literal)
        and any(True for _ in one.find_all(exp.Column))
        and not _own_aggregates(one, select)
        and not one.find(exp.Window, exp.Select)
        and _key(one, names) not in named
        and not all(_is_grouped(column, (named, owners), names) for column in one.find_all(exp.Column))
    ]
    if not missing:
        return
    columns = [one for one in missing if not isinstance(one, exp.Column) or not isinstance(one.this, exp.Star)]
    if len(columns) != len(missing):
        return
    before = group.sql() if isinstance(group, exp.Group) else ""
    grouping = group if isinstance(group, exp.Group) else exp.Group(expressions=[])
    for one in columns:
        grouping.append("expressions", one.copy())
    select.set("group", grouping)
    texts = ", ".join(one.sql() for one in columns)
    why = f"Beside an aggregate every column has to be in the group: {texts}."
    yield Edit(change("group_by", before, grouping.sql(), why=why), 0.9)


def _is_place(node: exp.Expr, count: int) -> bool:
    return isinstance(node, exp.Literal) and node.name.isdigit() and 1 <= int(node.name) <= count


def _key(node: exp.Expr, names: Resolution) -> str:
    """The same for the same column, with and without its table."""
    known = names.of(node) if isinstance(node, exp.Column) else None
    return f"{known[0].name}.{known[1].name}" if known is not None else node.sql().lower()


def _whole_key(node: exp.Expr, listed: Sequence[exp.Expr], names: Resolution) -> Table | None:
    """The table whose whole primary key is grouped by: its other columns follow from it."""
    known = names.of(node) if isinstance(node, exp.Column) else None
    if known is None or not known[0].primary_key:
        return None
    grouped_names = {one[1].name for part in listed if (one := names.of(part)) is not None and one[0] is known[0]}
    return known[0] if set(known[0].primary_key) <= grouped_names else None


def _is_grouped(column: exp.Column, groups: tuple[set[str], set[int]], names: Resolution) -> bool:
    known = names.of(column)
    return _key(column, names) in groups[0] or (known is not None and id(known[0]) in groups[1])
