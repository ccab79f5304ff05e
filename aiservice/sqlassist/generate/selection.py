"""What a question asks to see, and by what it groups."""

import re
from collections.abc import Sequence

from aiservice.sqlassist.generate.lexicon import Ref
from aiservice.sqlassist.generate.plan import Item
from aiservice.sqlassist.generate.state import SKIP, State

_RETURNS = frozenset({"return", "give", "list", "show", "find", "display", "provide"})
# What makes of such a sentence one that asks for more than the first did.
_MORE = frozenset({"well", "also", "too", "include", "additionally"})
_OVER = "[wrphf2_]*"


def take_groups(state: State) -> list[Ref]:
    """`each X`, `per X`, and `by X` where something is counted or summed up."""
    groups: list[Ref] = []
    is_summary = bool(state.find("[KA]")) or bool(state.having)
    while (match := state.find(f"E{SKIP}([CMTV])(?:{SKIP}f{SKIP}T)?")) is not None:
        place = match.start(1)
        mark = state.marks[place]
        if mark.kind == "V" or not is_summary:
            state.kinds[match.start()] = "_"
            continue
        if mark.kind in "CM" and mark.refs:
            near = state.marks[match.end() - 1].tables[0] if match.end() - 1 > place else state.near(place)
            ref = state.ref(mark, near)
            if ref is not None:
                groups.append(ref)
                state.use(match.start(), place + 1)
                continue
        if mark.tables:
            groups += _entity(state, mark.tables[0])
        state.use(match.start(), place + 1)
    by = state.find(f"y{SKIP}([CM])") if is_summary and not groups else None
    if by is not None:
        ref = state.ref(state.marks[by.start(1)], state.near(by.start(1)))
        if ref is not None:
            groups.append(ref)
            state.use(*by.span())
    return groups


def _entity(state: State, name: str) -> list[Ref]:
    """A row of a table is known by its key, and shown by its name."""
    state.tables.append(name)
    if name not in (state.counted,):
        state.doubt("shown")
    return [*state.key(name)]


def take_select(state: State, groups: list[Ref]) -> tuple[list[Item], list[Ref]]:
    """The items in their order, and the groups."""
    items: list[Item] = []
    _measures(state, items)
    if state.find("[*]") is not None:
        for place in state.kinds_left("*"):
            state.kinds[place] = "_"
        if not state.find("[CK]"):
            _tables(state)
            return [Item(None, table=state.main)], groups
    place = _projection(state)
    if place and (state.wants_group or any(one.item.aggregate for one in state.order)) and not groups:
        earlier = [step for step in range(place) if state.kinds[step] == "C"]
        for step in earlier:
            ref = state.ref(state.marks[step], state.near(step))
            if ref is not None:
                groups.append(ref)
                state.kinds[step] = "_"
    for step in range(place):
        if state.kinds[step] in "CKAX":
            state.kinds[step] = "_"
    while place < len(state.kinds):
        place = _item(state, items, place)
    _tables(state)
    _grouped(state, items, groups)
    if not items:
        items = [Item(ref) for ref in state.display(state.main)]
        if state.wants_group or state.order or state.where or state.having or state.limit:
            state.doubt("shown")
        else:
            state.doubt("bare")
    return list(dict.fromkeys(items)), groups


def _projection(state: State) -> int:
    """Where a sentence begins that says what to return; 0 where none does after the first."""
    for place, mark in enumerate(state.marks):
        is_first = bool(place) and state.marks[place - 1].kind == "."
        is_return = mark.kind == "w" and is_first and mark.text.lower() in _RETURNS
        is_more = any(one.text.lower() in _MORE for one in state.marks[place:])
        if is_return and not is_more and re.search("[CKAF]", "".join(state.kinds[place:])):
            return place
    return 0


def _measures(state: State, items: list[Item]) -> None:
    for place in state.kinds_left("a"):
        known = state.attribute(state.marks[place].attribute, state.main)
        if known is not None:
            items.append(Item(known[0]))
            state.kinds[place] = "_"


def _item(state: State, items: list[Item], place: int) -> int:
    """One item that begins at a place; the place after it."""
    kinds = "".join(state.kinds)
    counted = re.compile(f"K{_OVER}X?{_OVER}([CMT])").match(kinds, place)
    if counted is not None:
        return _count(state, items, place, target=counted.end() - 1)
    if re.compile("K[wrphf2_]*([.]|$)").match(kinds, place) and state.main:
        items.append(Item(None, "count", table=state.counted or state.main))
        state.kinds[place] = "_"
        return place + 1
    listed = re.compile(f"A(?:[,&w_]*A)*{SKIP}([CM])(?:[,&w_]+A(?![,&wf_]*[CM]))*").match(kinds, place)
    if listed is not None:
        target = listed.start(1)
        ref = state.ref(state.marks[target], state.near(target), numeric=True)
        if ref is not None:
            if "A" in kinds[target : listed.end()]:
                state.doubt("shared")
            for step in range(listed.start(), listed.end()):
                if kinds[step] == "A":
                    items.append(Item(ref, state.marks[step].word))
            state.use(*listed.span())
            return _spread(state, items, listed.end(), kinds=kinds)
    rows = re.compile(f"A{SKIP}T").match(kinds, place)
    if rows is not None and state.marks[place].word == "sum":
        return _total(state, items, place, end=rows.end())
    if kinds[place] == "C":
        _column(state, items, place)
    if kinds[place] == "F":
        _formula(state, items, place)
    return place + 1


def _spread(state: State, items: list[Item], place: int, *, kinds: str) -> int:
    """`the highest price and weight of each X`: the second number is meant alike."""
    match = re.compile(f"&{_OVER}(C)").match(kinds, place)
    is_grouped = any(mark.kind == "E" for mark in state.marks)
    if match is None or not is_grouped or "A" in kinds[match.end() : match.end() + 1]:
        return place
    ref = state.ref(state.marks[match.start(1)], state.near(match.start(1)))
    if ref is None or ref not in state.numbers(ref.table):
        return place
    items.append(Item(ref, items[-1].aggregate))
    state.doubt("shared")
    state.use(place, match.end())
    return match.end()


def _total(state: State, items: list[Item], place: int, *, end: int) -> int:
    """The total of a table is how many rows it has."""
    state.counted = state.marks[end - 1].tables[0]
    items.append(Item(None, "count", table=state.counted))
    state.doubt("count")
    state.use(place, end)
    return end


def _column(state: State, items: list[Item], place: int) -> None:
    if place and state.kinds[place - 1] == "_" and state.marks[place - 1].kind == "C" and items:
        # `region name` where no column is called so: the first word says which.
        state.kinds[place] = "_"
        return
    ref = state.ref(state.marks[place], state.near(place))
    definition = state.marks[place].definition
    if definition is not None and definition.is_columns:
        known = [one for one in definition.refs if one.table == (ref.table if ref else "")]
        items += [Item(one) for one in known or definition.refs]
        state.kinds[place] = "_"
    elif ref is not None:
        items.append(Item(ref))
        state.kinds[place] = "_"


def _formula(state: State, items: list[Item], place: int) -> None:
    definition = state.marks[place].definition
    if definition is None:
        return
    ref = state.ref(state.marks[place]) or definition.refs[0]
    if definition.aggregate:
        items.append(Item(ref, definition.aggregate))
        state.kinds[place] = "_"
    elif definition.expression is not None:
        items.append(Item(None, table=ref.table, formula=definition.expression))
        state.kinds[place] = "_"


def _count(state: State, items: list[Item], place: int, *, target: int) -> int:
    mark = state.marks[target]
    is_distinct = "X" in state.kinds[place:target]
    if mark.kind == "C" and mark.refs:
        ref = state.ref(mark, state.near(target))
        if ref is not None:
            is_sum = "total" in state.marks[place].text.lower() and ref in state.numbers(ref.table) and not is_distinct
            items.append(Item(ref, "sum" if is_sum else "count", is_distinct=is_distinct))
    elif mark.tables:
        name = mark.tables[0]
        following = "".join(state.kinds[target + 1 : target + 2])
        if is_distinct and following == "C":
            return place + 1
        state.counted = name
        if is_distinct:
            items.append(Item(state.key(name)[0], "count", is_distinct=True))
        else:
            items.append(Item(None, "count", table=name))
    state.use(place, target + 1)
    return target + 1


def _tables(state: State) -> None:
    """Tables that are named and not otherwise used have to be joined."""
    for place, kind in enumerate(state.kinds):
        if kind == "T":
            name = state.marks[place].tables[0]
            if name not in state.tables:
                state.tables.append(name)
            state.kinds[place] = "_"


def _grouped(state: State, items: list[Item], groups: Sequence[Ref]) -> None:
    """Groups are shown: their columns, or what their entity is called by."""
    if not groups:
        return
    shown = {item.ref for item in items if item.ref is not None and not item.aggregate}
    keys = {ref for name in state.tables for ref in state.key(name)}
    for ref in groups:
        if ref in shown:
            continue
        if ref in keys and ref.table in state.tables:
            if not any(one.table == ref.table for one in shown):
                items += [Item(one) for one in state.display(ref.table)]
                shown |= set(state.display(ref.table))
        else:
            items.append(Item(ref))
