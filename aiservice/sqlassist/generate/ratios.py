"""The ratio of some rows of a table to others of it."""

from collections.abc import Sequence

from aiservice.sqlassist.generate.conditions import take_conditions
from aiservice.sqlassist.generate.lexicon import Lexicon
from aiservice.sqlassist.generate.link import Mark
from aiservice.sqlassist.generate.plan import Condition, Item, Query, Ratio, Where
from aiservice.sqlassist.generate.state import State

_SHARES = frozenset({"ratio", "ratio of", "proportion of", "fraction of"})
_OF = frozenset({"to", "out"})


def ratio_of(lexicon: Lexicon, marks: Sequence[Mark], main: str) -> tuple[Query, State] | None:
    """`the ratio of X with A to X with B in C`: C holds for both; the state has what was left over."""
    start = next((place for place, mark in enumerate(marks) if mark.kind == "t" and mark.text.lower() in _SHARES), None)
    if start is None:
        return None
    middle = next((place for place in range(start, len(marks)) if marks[place].text.lower() in _OF), None)
    if middle is None or not main:
        return None
    upper, lower = State(lexicon, list(marks[start + 1 : middle])), State(lexicon, list(marks[middle + 1 :]))
    for state in (upper, lower):
        state.main = main
        take_conditions(state)
        for place in state.kinds_left("TKA"):
            if state.marks[place].kind in "KA" or main in state.marks[place].tables:
                state.kinds[place] = "_"
    if not upper.where or upper.also or lower.also or upper.having or lower.having:
        return None
    columns = {where.ref for where in upper.where if isinstance(where, Condition)}
    own: list[Where] = [one for one in lower.where if isinstance(one, Condition) and one.ref in columns]
    both = [one for one in lower.where if one not in own]
    for place in lower.kinds_left("t"):
        lower.kinds[place] = "_"
    query = Query(main, (Item(ratio=Ratio(tuple(upper.where), tuple(own))),), where=tuple(both))
    return query, _joined(upper, lower)


def _joined(upper: State, lower: State) -> State:
    """Both states as one, for what is left over."""
    whole = State(upper.lexicon, [*upper.marks, *lower.marks])
    whole.kinds = [*upper.kinds, *lower.kinds]
    whole.doubts = list(dict.fromkeys([*upper.doubts, *lower.doubts]))
    whole.main = upper.main
    return whole
