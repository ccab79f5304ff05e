"""Joins that keep less than they seem to, or bring nothing."""

from collections.abc import Iterator
from functools import partial

from sqlglot import exp

from aiservice.sqlassist.optimize.edit import Edit, changing
from aiservice.sqlassist.optimize.ground import Ground, Source, conjuncts, rejects_null, where_of
from aiservice.sqlassist.schema import ForeignKey, Table


def left_to_inner(ground: Ground) -> Iterator[Edit]:
    """A LEFT JOIN whose padded rows WHERE leaves out again."""
    why = "WHERE asks for a value of the joined table, which rows without a match lack: an inner join is the same."
    for select in ground.selects():
        if any(source.side in ("RIGHT", "FULL") for source in ground.sources(select)):
            continue
        parts = conjuncts(where_of(select))
        for source in ground.sources(select):
            if source.side == "LEFT" and any(_asks(part, source, select, ground=ground) for part in parts):
                join = source.join
                assert join is not None
                yield changing(join, partial(_make_inner, join), why)


def _make_inner(join: exp.Join) -> None:
    join.set("side", None)
    join.set("kind", None)


def _asks(part: exp.Expr, source: Source, select: exp.Select, *, ground: Ground) -> bool:
    columns = [column for column in part.find_all(exp.Column) if ground.owner(column, select) == source]
    return any(rejects_null(part, column) for column in columns)


def unused_join(ground: Ground) -> Iterator[Edit]:
    """A join on a key of a table that is asked nothing: it neither adds nor takes a row."""
    why = "Nothing is asked of the joined table, and its key makes it one row for each row at most."
    for select in ground.selects():
        if any(isinstance(one, exp.Star) or one.is_star for one in select.selects):
            continue
        sources = ground.sources(select)
        if any(
            source.side in ("RIGHT", "FULL") or (source.join and source.join.args.get("using")) for source in sources
        ):
            continue
        for source in sources:
            if source.join is not None and source.table is not None and _is_unused(source, select, ground):
                join = source.join
                yield Edit(join, why, partial(_dropped, join, select))


def _dropped(join: exp.Join, select: exp.Select) -> exp.Expr:
    select.set("joins", [one for one in select.args["joins"] if one is not join])
    origin = select.args["from_"]
    assert isinstance(origin, exp.Expr)
    return origin


def _is_unused(source: Source, select: exp.Select, ground: Ground) -> bool:
    join = source.join
    assert join is not None
    assert source.table is not None
    pairs = _key_pairs(join, source, select, ground=ground)
    if not pairs or not any(key <= set(pairs) for key in ground.unique_lists(source.table)):
        return False
    within = {id(column) for column in join.find_all(exp.Column)}
    for column in select.find_all(exp.Column):
        if id(column) not in within and _may_be_of(column, source, select, ground=ground):
            return False
    return source.side == "LEFT" or _always_matches(pairs, source.table, select, ground=ground)


def _may_be_of(column: exp.Column, source: Source, select: exp.Select, *, ground: Ground) -> bool:
    """A column without a table's name may be this one's unless the schema knows it for another's."""
    if column.table:
        return column.table.lower() == source.name
    owner = ground.owner(column, select)
    return owner is None or owner == source


def _key_pairs(join: exp.Join, source: Source, select: exp.Select, *, ground: Ground) -> dict[str, exp.Column]:
    """The joined table's columns and what each is equal to; empty where the condition is more than that."""
    pairs: dict[str, exp.Column] = {}
    for part in conjuncts(join.args.get("on")):
        if not isinstance(part, exp.EQ):
            return {}
        left, right = part.this, part.expression
        if not isinstance(left, exp.Column) or not isinstance(right, exp.Column):
            return {}
        owners = ground.owner(left, select), ground.owner(right, select)
        if owners[0] == source and owners[1] not in (None, source):
            pairs[left.name.lower()] = right
        elif owners[1] == source and owners[0] not in (None, source):
            pairs[right.name.lower()] = left
        else:
            return {}
    return pairs


def _always_matches(pairs: dict[str, exp.Column], table: Table, select: exp.Select, *, ground: Ground) -> bool:
    """A declared foreign key without NULL has a row there for certain."""
    others = list(pairs.values())
    found = [ground.column(column) for column in others]
    homes = {id(one[0]) for one in found if one is not None}
    if None in found or len(homes) != 1 or len({column.table.lower() for column in others}) != 1:
        return False
    home = next(one[0] for one in found if one is not None)
    if not all(ground.is_not_null(column, select) for column in others):
        return False
    wanted = {other.name.lower(): mine for mine, other in pairs.items()}
    return any(_is_key_of(key, table, wanted) for key in home.foreign_keys)


def _is_key_of(key: ForeignKey, table: Table, wanted: dict[str, str]) -> bool:
    have = {name.lower(): other.lower() for name, other in zip(key.columns, key.references, strict=False)}
    return key.is_declared and key.table.lower() == table.name.lower() and have == wanted
