"""From the marks of a question to a plan."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from aiservice.sqlassist.generate.conditions import take_conditions
from aiservice.sqlassist.generate.lexicon import Lexicon, Ref, content
from aiservice.sqlassist.generate.link import Mark
from aiservice.sqlassist.generate.ordering import take_order, take_superlatives, take_top
from aiservice.sqlassist.generate.plan import Item, Order, Query, Without, tables_of
from aiservice.sqlassist.generate.ratios import ratio_of
from aiservice.sqlassist.generate.selection import take_groups, take_select
from aiservice.sqlassist.generate.state import SKIP, State
from aiservice.sqlassist.joins import path_between

TURNS = 4
_LEFT = "CMVNQDSGAKnFB|~^$tHOy"


@dataclass(frozen=True, slots=True)
class Parsed:
    """A reading of the question: what it left over, and what was doubtful about it."""

    query: Query
    missing: tuple[str, ...]
    left: tuple[str, ...]
    doubts: tuple[str, ...]
    turn: int


def parse(lexicon: Lexicon, marks: Sequence[Mark], turn: int) -> Parsed | None:
    """One reading; other turns read what is ambiguous otherwise. None where nothing is asked of any table."""
    marks, guessed = _guessed(_distributed(lexicon, marks))
    state = State(lexicon, _settled(marks, turn), turn)
    state.main = _main(state)
    if guessed:
        state.doubt("guess")
    if not state.main:
        return None
    share = ratio_of(lexicon, state.marks, state.main)
    if share is not None:
        return _parsed(share[0], share[1])
    counted = state.find(f"K{SKIP}X?{SKIP}V*{SKIP}[TM]")
    if counted is not None:
        state.counted = state.marks[counted.end() - 1].tables[0] if state.marks[counted.end() - 1].tables else ""
    take_order(state)
    take_top(state)
    take_superlatives(state)
    groups = take_groups(state)
    take_conditions(state)
    select, groups = take_select(state, groups)
    if not select:
        return None
    return _parsed(_query(state, select, groups), state)


def _parsed(query: Query, state: State) -> Parsed:
    """The plan with what it left over."""
    missing = tuple(mark.text for mark, kind in zip(state.marks, state.kinds, strict=True) if kind == "u")
    for match in list(state.each(f"y{SKIP}[T_]")):
        state.kinds[match.start()] = "_"
    left = tuple(mark.text for mark, kind in zip(state.marks, state.kinds, strict=True) if kind in _LEFT)
    return Parsed(query, missing, left, tuple(state.doubts), state.turn)


def _distributed(lexicon: Lexicon, marks: Sequence[Mark]) -> Sequence[Mark]:
    """`the name and the size of the box`: both are of the box, where columns are called so."""
    found = list(marks)
    for place, mark in enumerate(found):
        if mark.kind != "C" or " " in mark.text:
            continue
        end = place + 1
        while end < len(found) and found[end].kind in "&,wfE":
            end += 1
        while (
            end < len(found) and found[end].kind == "C" and " of " not in found[end].text and found[end - 1].kind != "f"
        ):
            end += 1
            while end < len(found) and found[end].kind in "&,wfE":
                end += 1
        if end >= len(found) or found[end].kind != "C":
            continue
        owner = found[end].text.rpartition(" of ")[2].lower().removeprefix("the ")
        if "f" not in [one.kind for one in found[place + 1 : end]] and " of " not in found[end].text:
            continue
        joint = tuple(one for one in lexicon.columns(content([*owner.split(), mark.text.lower()])) if one[1] >= 1)
        if joint and not any(ref == joint[0][0] and score >= 1 for ref, score in mark.refs):
            found[place] = replace(mark, refs=joint)
            if " of " not in found[end].text and found[end].refs[0][1] < 1:
                found[end] = replace(found[end], kind="w")
    return found


def _guessed(marks: Sequence[Mark]) -> tuple[Sequence[Mark], bool]:
    """The one unknown word of a question that names no table is the table that all its columns are of."""
    unknown = {mark.text.lower().removesuffix("s") for mark in marks if mark.kind == "u"}
    if len(unknown) != 1 or any(mark.kind in "TM" for mark in marks):
        return marks, False
    owners = [
        {ref.table for ref, _ in mark.refs} | {ref.table for ref, _ in mark.values}
        for mark in marks
        if mark.kind in "CV"
    ]
    shared = set.intersection(*owners) if len(owners) > 1 else set()
    if len(shared) != 1:
        return marks, False
    name = shared.pop()
    return [replace(mark, kind="T", tables=(name,)) if mark.kind == "u" else mark for mark in marks], True


def _settled(marks: Sequence[Mark], turn: int) -> list[Mark]:
    """A word that may be a table or a column is one of them, by what else is named."""
    named = {name for mark in marks if mark.kind == "T" for name in mark.tables}
    found = []
    for mark in marks:
        if mark.kind == "M":
            best = mark.refs[0][1] if mark.refs else 0
            whole = [ref for ref, score in mark.refs if score >= 1]
            is_column = any(ref.table in named for ref in whole) or (not named and bool(whole) and best > 1)
            if turn == 3:
                is_column = not is_column
            found.append(replace(mark, kind="C" if is_column else "T"))
        else:
            found.append(mark)
    return found


def _main(state: State) -> str:
    """The table whose rows are asked about: the first that is named, else the one that has most of the columns."""
    for place, mark in enumerate(state.marks):
        owners = {ref.table for ref, score in mark.refs if score > 1.05}
        if mark.kind == "C" and len(owners) == 1 and not (place and state.marks[place - 1].kind == "E"):
            return owners.pop()
        if mark.kind == "T":
            if len(mark.tables) > 1:
                state.doubt("table")
            previous = state.marks[place - 1].kind if place else ""
            if previous == "E" and any(other.kind == "T" for other in state.marks[place + 1 :]):
                continue
            return mark.tables[0]
    counts: dict[str, float] = {}
    for mark in state.marks:
        for name in {ref.table for ref, _ in mark.refs} | {ref.table for ref, _ in mark.values}:
            score = max([s for ref, s in mark.refs if ref.table == name] or [0.9])
            counts[name] = counts.get(name, 0.0) + min(score, 1.2)
    if not counts:
        return ""
    best = max(counts.values())
    names = [name for name, count in counts.items() if count == best]
    if len(names) > 1:
        state.doubt("table")
    return names[-1 if state.turn == 3 else 0]


def _query(state: State, select: Sequence[Item], groups: Sequence[Ref]) -> Query:
    order = list(state.order)
    if any(isinstance(where, Without) for where in state.where):
        state.doubt("without")
    for ordered in order:
        if ordered.item.ref is not None and not ordered.item.aggregate and state.limit:
            shown = {item.ref.table for item in select if item.ref is not None}
            if shown and ordered.item.ref.table not in shown:
                state.doubt("far" if state.limit == 1 else "duplicates")
    root = state.counted if any(item.aggregate == "count" and item.ref is None for item in select) else ""
    root = root or next((item.ref.table for item in select if item.ref is not None), state.main)
    if state.having or any(one.item.aggregate and one.item.ref is None for one in order):
        root = state.counted or root
    is_aggregate = any(item.aggregate for item in select)
    group = tuple(groups)
    if not group and (state.having or state.wants_group or any(one.item.aggregate for one in order)):
        group = _implied(state, select)
    elif not group and is_aggregate and any(not item.aggregate and item.ref for item in select):
        state.doubt("mixed")
        group = tuple(item.ref for item in select if item.ref is not None and not item.aggregate)
    tables = list(state.tables)
    plain = all(not item.aggregate for item in select)
    is_distinct = state.find("X") is not None and plain
    if plain and not group and not order and not is_distinct:
        is_distinct = _is_multiplied(state, select, tables)
    if len({item.ref.table for item in select if item.ref is not None}) == 1 and plain and not group:
        root = next(item.ref.table for item in select if item.ref is not None)
    counts = {item.table for item in select if item.aggregate == "count" and item.ref is None}
    keys = [*(one.item for one in order), *(one.item for one in state.having)]
    counts |= {item.table for item in keys if item.ref is None and item.table}
    return Query(
        root=root,
        select=tuple(select),
        where=tuple(state.where),
        group=group,
        having=tuple(state.having),
        order=tuple(order),
        limit=state.limit,
        is_distinct=is_distinct,
        tables=tuple(dict.fromkeys([*tables, *sorted(counts)])),
        also=tuple(state.also),
    )


def _implied(state: State, select: Sequence[Item]) -> tuple[Ref, ...]:
    """What rows are counted by where the question does not say `each`: the key of the table that is shown."""
    refs = [item.ref for item in select if item.ref is not None and not item.aggregate]
    if not refs:
        return ()
    owner = refs[0].table
    if owner == state.counted or (refs and owner == state.main == state.counted):
        return tuple(refs)
    if state.counted and path_between(state.lexicon.schema, owner, state.counted):
        is_entity = owner == state.main or owner in state.mentioned()
        return (*state.key(owner), *refs) if is_entity else tuple(refs)
    return tuple(refs)


def _is_multiplied(state: State, select: Sequence[Item], tables: Sequence[str]) -> bool:
    """Whether a join may show a row of the selected table more than once."""
    owners = {item.ref.table for item in select if item.ref is not None}
    if len(owners) != 1:
        return False
    owner = owners.pop()
    others = set(tables)
    if not any(isinstance(where, Without) for where in state.where):
        others |= {name for where in state.where for name in tables_of(where)}
    for name in others - {owner}:
        path = path_between(state.lexicon.schema, owner, name)
        if path and any(step.is_to_many for step in path):
            state.doubt("duplicates")
            return True
    return False


__all__ = ["TURNS", "Order", "Parsed", "parse"]
