"""What a question orders by, and the most or least of something."""

from dataclasses import replace

from sqlglot import exp

from aiservice.sqlassist.generate.lexicon import Ref
from aiservice.sqlassist.generate.link import Mark
from aiservice.sqlassist.generate.plan import Best, Given, Item, Order
from aiservice.sqlassist.generate.state import SKIP, State

_KEY = f"(?:K{SKIP}X?{SKIP}[TM]|A{SKIP}[CM]|[CM])"


def take_order(state: State) -> None:
    """ORDER BY that is asked for in so many words."""
    pairs = f"(?:[pw,]*S{SKIP}S|[pw,]*d{SKIP}O?|{SKIP}S[wpC]*S)?"
    for pattern in (
        f"d{SKIP}O?{SKIP}y?{SKIP}({_KEY})",
        f"O{SKIP}y{SKIP}({_KEY}){pairs}",
        f"O(?:[^.O]*?)(y{SKIP}{_KEY}){pairs}",
        f"O{SKIP}S{SKIP}({_KEY})[wp]*S?",
        f"O{SKIP}f{SKIP}({_KEY}){pairs}",
    ):
        match = state.find(pattern)
        if match is None:
            continue
        key_start, key_end = match.span(1)
        item = _key(state, key_start, key_end)
        if item is None:
            continue
        state.order.append(Order(item, _direction(state, match.start(), match.end())))
        for place in range(match.start(), match.end()):
            if place >= key_start or state.kinds[place] in "OdywpfS":
                state.kinds[place] = "_"
        for place in state.kinds_left("Od"):
            state.kinds[place] = "_"
        return


def _direction(state: State, start: int, end: int) -> bool:
    for place in range(start, end):
        mark = state.marks[place]
        if mark.kind == "d":
            return mark.word == "desc"
        if mark.kind == "S":
            known = state.attribute(mark.attribute, state.main) if mark.attribute and state.main else None
            return (mark.word == "desc") != bool(known and known[1])
    return False


def _key(state: State, start: int, end: int) -> Item | None:
    """The thing that is counted, an aggregate of a column, or a column."""
    places = [place for place in range(start, end) if state.marks[place].kind in "KATMC"]
    kinds = "".join(state.marks[place].kind for place in places)
    last = state.marks[places[-1]]
    if kinds.startswith("K"):
        if not last.tables:
            return None
        state.counted = last.tables[0]
        return Item(None, "count", table=last.tables[0])
    ref = state.ref(last, state.near(places[-1]))
    if ref is None:
        return None
    if kinds.startswith("A"):
        return Item(ref, state.marks[places[0]].word)
    return Item(ref)


def take_top(state: State) -> None:
    """`top 5 X by Y`: a limit, an order, and what the rows are of."""
    match = state.find(f"H{SKIP}N")
    if match is not None:
        state.limit = int(state.marks[match.end() - 1].text)
        state.use(*match.span())
        by = state.find(f"y{SKIP}({_KEY})", match.end())
        if by is not None:
            item = _key(state, *by.span(1))
            if item is not None:
                state.order.append(Order(item, is_descending=True))
                state.wants_group = bool(item.aggregate)
                state.use(*by.span())


def take_superlatives(state: State) -> None:
    """`the oldest X`, `the highest C`, `the most X`, `C is the largest`."""
    for place in state.kinds_left("F"):
        _defined(state, place)
    for match in list(state.each("S")):
        place = match.start()
        if state.kinds[place] == "S":
            _superlative(state, place)


def _defined(state: State, place: int) -> None:
    """A formula that is the most or least of a column, where it is a row that is asked for."""
    definition = state.marks[place].definition
    if definition is None or _is_focus(state, place):
        return
    if isinstance(definition.expression, exp.Min | exp.Max) and definition.refs:
        ref = state.ref(state.marks[place]) or definition.refs[0]
        item = Item(None, table=ref.table, formula=definition.expression.this)
        state.order.append(Order(item, isinstance(definition.expression, exp.Max)))
        state.limit = state.limit or 1
        state.kinds[place] = "_"
        return
    if definition.aggregate not in ("min", "max"):
        return
    ref = state.ref(state.marks[place]) or definition.refs[0]
    if definition.where is not None:
        state.where.append(Given(ref.table, definition.where))
    state.order.append(Order(Item(ref), definition.aggregate == "max"))
    state.limit = state.limit or 1
    state.kinds[place] = "_"


def _superlative(state: State, place: int) -> None:
    mark = state.marks[place]
    is_descending = mark.word == "desc"
    limit = _limit(state, place)
    if mark.attribute:
        table = _after(state, place) or state.main
        known = state.attribute(mark.attribute, table) if table else None
        if known is not None:
            state.kinds[place] = "_"
            _ordered(state, known[0], is_descending != known[1], limit=limit)
        return
    counted = state.find(f"^.{{{place}}}S{SKIP}(?:K{SKIP})?X?{SKIP}T")
    if counted is not None:
        name = state.marks[counted.end() - 1].tables[0]
        if name == state.main and not state.find("C"):
            return
        state.counted = name
        state.order.append(Order(Item(None, "count", table=name), is_descending))
        state.limit, state.wants_group = limit, True
        state.use(place, counted.end())
        return
    aggregate = state.find(f"^.{{{place}}}S{SKIP}A?{SKIP}[CM]")
    if aggregate is not None:
        column = state.marks[aggregate.end() - 1]
        ref = state.ref(column, state.near(aggregate.end() - 1), numeric=True)
        if ref is None:
            return
        middle = [state.marks[step].word for step in range(place, aggregate.end()) if state.kinds[step] == "A"]
        if _is_focus(state, place) and not middle:
            state.kinds[place] = "A"
            state.marks[place] = _as_aggregate(state, place, "max" if is_descending else "min")
            return
        state.use(place, aggregate.end())
        if middle:
            state.order.append(Order(Item(ref, middle[0]), is_descending))
            state.limit, state.wants_group = limit, True
        else:
            _ordered(state, ref, is_descending, limit=limit)
        return
    before = next((m for m in state.each(f"[CM]{SKIP}S") if m.end() == place + 1), None)
    if before is not None:
        ref = state.ref(state.marks[before.start()], state.near(before.start()), numeric=True)
        if ref is not None:
            state.use(*before.span())
            _ordered(state, ref, is_descending, limit=limit)


def _as_aggregate(state: State, place: int, word: str) -> Mark:
    return replace(state.marks[place], kind="A", word=word)


def _limit(state: State, place: int) -> int:
    if state.limit is not None:
        return state.limit
    for step in (place + 1, place - 1):
        if 0 <= step < len(state.kinds) and state.kinds[step] == "N":
            state.kinds[step] = "_"
            return int(float(state.marks[step].text))
    return 1


def _is_focus(state: State, place: int) -> bool:
    """Whether nothing is asked for before, and no row is asked for by it: the most is the answer itself."""
    before = [kind for kind in state.kinds[:place] if kind not in "wpfh_"]
    return not [kind for kind in before if kind in "CMTKAVrS"]


def _after(state: State, place: int) -> str:
    """The table that comes right after, or that the value which comes after is of."""
    for step in range(place + 1, min(place + 4, len(state.marks))):
        mark = state.marks[step]
        if mark.kind in "TM" and mark.tables:
            return mark.tables[0]
        if mark.kind == "V":
            found = state.value(mark)
            return found[0].table if found else ""
    return ""


def _ordered(state: State, ref: Ref, is_descending: bool, *, limit: int) -> None:
    """Rows of the counted or other table belong to the best one, else the rows themselves are ordered."""
    if state.counted and ref.table != state.counted and len(state.key(ref.table)) == 1:
        state.where.append(Best(ref, state.key(ref.table)[0], is_descending))
        return
    state.order.append(Order(Item(ref), is_descending))
    state.limit = limit
