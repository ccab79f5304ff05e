"""Conditions in a question: comparisons, values, spans of time, what is not there."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from aiservice.sqlassist.generate.dates import Window, year_of
from aiservice.sqlassist.generate.lexicon import Ref, content
from aiservice.sqlassist.generate.link import Mark
from aiservice.sqlassist.generate.plan import Condition, Either, Given, Having, Item, Versus, Where, Without
from aiservice.sqlassist.generate.state import SKIP, State

_OPPOSITE: Mapping[str, str] = {">": "<", "<": ">", ">=": "<=", "<=": ">="}
_NEGATED: Mapping[str, str] = {"=": "!=", ">": "<=", "<": ">=", ">=": "<", "<=": ">", "like": "not like"}


def take_conditions(state: State) -> None:
    """All conditions, those of negated parts first."""
    _negations(state)
    state.where += _conditions(state, 0, len(state.marks))


def _negations(state: State) -> None:
    while (match := state.find("n")) is not None:
        start = match.start()
        end = _clause_end(state, start)
        if not _negated(state, start, end):
            return


def _clause_end(state: State, start: int) -> int:
    """The end of the sentence, or an `and` or a comma after which something is asked for."""
    for place in range(start + 1, len(state.marks)):
        if state.kinds[place] in ".E" or (state.kinds[place] == "O"):
            return place
        if state.kinds[place] in "&," and place > start + 2:
            return place
    return len(state.marks)


def _negated(state: State, start: int, end: int) -> bool:
    if state.kinds[start + 1 : start + 2] == ["V"] and any(
        ref.table == state.main for ref, _ in state.marks[start + 1].values
    ):
        # `non-red`: only the one word.
        end = start + 2
    part = "".join(state.kinds[start:end])
    tables = [place for place in range(start, end) if state.kinds[place] in "TM" and state.marks[place].tables]
    tables = [place for place in tables if state.marks[place].tables[0] != state.main]
    if not any(kind in "TMVQN" for kind in part):
        return False
    found = _conditions(state, start + 1, end)
    others = [one for one in found if _table_of(one) != state.main]
    if tables or others:
        name = state.marks[tables[0]].tables[0] if tables else _table_of(others[0])
        state.where.append(Without(name, tuple(others)))
        for place in tables:
            state.kinds[place] = "_"
        for place in range(start, end):
            if state.kinds[place] in "TM" and state.main in state.marks[place].tables:
                state.kinds[place] = "_"
    elif found:
        for one in found:
            if isinstance(one, Condition):
                state.where.append(Condition(one.ref, _NEGATED.get(one.operator, "!="), one.values, one.window))
    else:
        return False
    state.kinds[start] = "_"
    return True


def _table_of(where: Where) -> str:
    match where:
        case Either():
            return where.conditions[0].ref.table
        case Condition() | Versus():
            return where.ref.table
        case Given() | Without():
            return where.table
        case _:
            return where.key.table


def _conditions(state: State, start: int, end: int) -> list[Where]:
    found: list[tuple[int, Where]] = []
    for take in (_formulas, _between, _averages, _texts, _comparisons, _dates, _values, _years, _equals):
        found += take(state, start, end)
    found.sort(key=lambda one: one[0])
    return _joined(state, found)


def _joined(state: State, found: Sequence[tuple[int, Where]]) -> list[Where]:
    """Conditions tied by `or` are one; two values of one column with `and` are both asked for, or either."""
    result: list[Where] = []
    places: list[int] = []
    for place, one in found:
        between = [state.marks[step].kind for step in range(places[-1] + 1 if places else 0, place)]
        previous = result[-1] if result else None
        if (
            previous is not None
            and "|" in between
            and isinstance(one, Condition)
            and isinstance(previous, Condition | Either)
        ):
            earlier = (previous,) if isinstance(previous, Condition) else previous.conditions
            result[-1] = _either((*earlier, one))
            _use_between(state, places[-1], place)
        elif isinstance(one, Condition) and isinstance(previous, Condition) and _contradict(previous, one):
            if any(mark.kind == "2" for mark in state.marks) or "&" in between:
                if one.operator == "=" and not any(mark.kind == "2" for mark in state.marks):
                    state.doubt("both")
                result.pop()
                shared = [*state.where, *result]
                state.also = [*shared, one]
                result.append(previous)
                _use_between(state, places[-1], place)
                for step in state.kinds_left("2"):
                    state.kinds[step] = "_"
            else:
                result[-1] = _either((previous, one))
        else:
            result.append(one)
        places.append(place)
    return result


def _use_between(state: State, start: int, end: int) -> None:
    for step in range(start, end):
        if state.kinds[step] in "|&,T":
            state.kinds[step] = "_"


def _either(conditions: tuple[Condition, ...]) -> Where:
    first = conditions[0]
    if all(one.ref == first.ref and one.operator == "=" and one.window is None for one in conditions):
        return Condition(first.ref, "=", tuple(value for one in conditions for value in one.values))
    return Either(conditions)


def _contradict(one: Condition, other: Condition) -> bool:
    if one.ref != other.ref or one.window is not None or other.window is not None:
        return False
    if one.operator == "=" and other.operator == "=":
        return one.values != other.values
    if {one.operator[0], other.operator[0]} == {"<", ">"}:
        low, high = (one, other) if one.operator[0] == "<" else (other, one)
        return float(low.values[0]) <= float(high.values[0])
    return False


def _formulas(state: State, start: int, end: int) -> list[tuple[int, Where]]:
    found: list[tuple[int, Where]] = []
    for place in range(start, end):
        definition = state.marks[place].definition
        if state.kinds[place] == "F" and definition is not None and definition.where is not None and definition.refs:
            ref = state.ref(state.marks[place]) or definition.refs[0]
            found.append((place, Given(ref.table, definition.where)))
            if not definition.aggregate and definition.expression is None:
                state.kinds[place] = "_"
    return found


def _spans(state: State, pattern: str, start: int, *, end: int) -> list[tuple[int, int]]:
    return [(m.start(), m.end()) for m in state.each(pattern) if m.start() >= start and m.end() <= end]


def _between(state: State, start: int, end: int) -> list[tuple[int, Where]]:
    found: list[tuple[int, Where]] = []
    for first, last in _spans(state, f"([CM]{SKIP})?B{SKIP}[ND]{SKIP}[&w]{SKIP}[ND]", start, end=end):
        marks = [state.marks[place] for place in range(first, last) if state.kinds[place] in "ND"]
        column = state.marks[first] if state.kinds[first] in "CM" else None
        if marks[0].kind == "D" and marks[-1].window is not None and marks[0].window is not None:
            ref = _date_ref(state, first, column)
            if ref is not None:
                window = Window("", 0, marks[0].window.start, marks[-1].window.end)
                found.append((first, Condition(ref, "between", window=window)))
                state.use(first, last)
            continue
        numeric = state.ref(column, state.near(first), numeric=True) if column else _only_number(state)
        if numeric is not None:
            found.append((first, Condition(numeric, "between", (marks[0].text, marks[-1].text))))
            state.use(first, last)
    return found


def _only_number(state: State) -> Ref | None:
    numbers = state.numbers(state.main) if state.main else []
    return numbers[0] if len(numbers) == 1 else None


def _averages(state: State, start: int, end: int) -> list[tuple[int, Where]]:
    found: list[tuple[int, Where]] = []
    pattern = f"([CM]{SKIP})?G{SKIP}A{SKIP}(f?{SKIP}[CM])?"
    for first, last in _spans(state, pattern, start, end=end):
        columns = [place for place in range(first, last) if state.kinds[place] in "CM"]
        compared = next(place for place in range(first, last) if state.kinds[place] == "G")
        aggregate = next(place for place in range(first, last) if state.kinds[place] == "A")
        ref: Ref | None = None
        if columns:
            ref = state.ref(state.marks[columns[-1]], state.near(columns[-1]), numeric=True)
        elif state.marks[compared].attribute and state.main:
            known = state.attribute(state.marks[compared].attribute, state.main)
            ref = known[0] if known else None
        elif state.main:
            ref = _only_number(state)
        if ref is not None:
            found.append((first, Versus(ref, state.marks[compared].word, state.marks[aggregate].word)))
            state.use(first, last)
    return found


def _texts(state: State, start: int, end: int) -> list[tuple[int, Where]]:
    """Parts of texts: starts with, ends with, contains."""
    found: list[tuple[int, Where]] = []
    for first, last in _spans(state, "(C[wrphf~]*)?[~]?[QV]pw[CM]", start, end=end):
        mark = state.marks[last - 1]
        if state.kinds[first] == "C":
            said = content(f"{state.marks[first].text} {mark.text}".lower().split())
            joint = tuple(one for one in state.lexicon.columns(said) if one[1] >= 1)
            mark = replace(mark, refs=joint) if joint else mark
        ref = state.ref(mark, state.near(last - 1))
        if ref is not None and state.marks[last - 2].text in ("its", "their", "the"):
            text = next(state.marks[place].text for place in range(first, last) if state.kinds[place] in "QV")
            found.append((first, Condition(ref, "like", (f"%{text}%",))))
            state.use(first, last)
    for first, last in _spans(state, f"([CM]{SKIP})?[~^$]+{SKIP}[QVuN]({SKIP}p{SKIP}[CM])?", start, end=end):
        columns = [place for place in range(first, last) if state.kinds[place] in "CM"]
        place = next(one for one in range(first, last) if state.kinds[one] in "~^$")
        target = next((one for one in range(place + 1, last) if state.kinds[one] in "QVuN"), None)
        if target is None:
            continue
        if not columns:
            columns = [one for one in range(first) if state.marks[one].kind in "CM"][-1:]
        if not columns:
            continue
        ref = state.ref(state.marks[columns[0]], state.near(columns[0]))
        if ref is not None:
            text = state.marks[target].text
            pattern = {"~": f"%{text}%", "^": f"{text}%", "$": f"%{text}"}[state.kinds[place]]
            found.append((place, Condition(ref, "like", (pattern,))))
            state.use(first, last)
    return found


def _comparisons(state: State, start: int, end: int) -> list[tuple[int, Where]]:
    found: list[tuple[int, Where]] = []
    patterns = (
        f"G{SKIP}N[CM]", f"[CM]{SKIP}G{SKIP}N", f"G{SKIP}[CM]{SKIP}G?{SKIP}N", f"G{SKIP}N{SKIP}[CM]",
        f"G{SKIP}N{SKIP}T", f"G{SKIP}N", f"[CM]{SKIP}N{SKIP}G", f"p?N{SKIP}G",
    )  # fmt: skip
    for pattern in patterns:
        for first, last in _spans(state, pattern, start, end=end):
            where = _comparison(state, first, last)
            if where is not None:
                found.append((first, where))
    return found


def _comparison(state: State, first: int, last: int) -> Where | None:
    places = range(first, last)
    compared = state.marks[next(place for place in places if state.kinds[place] == "G")]
    number = state.marks[next(place for place in places if state.kinds[place] == "N")]
    column = next((place for place in places if state.kinds[place] in "CM" and state.marks[place].refs), None)
    table = next((place for place in places if state.kinds[place] == "T"), None)
    ref: Ref | None = None
    operator = compared.word
    if column is not None:
        ref = state.ref(state.marks[column], state.near(column), numeric=True)
    elif table is not None and not compared.attribute:
        name = state.marks[table].tables[0]
        if name != state.main:
            state.having.append(Having(Item(None, "count", table=name), operator, number.text))
            state.counted = name
        else:
            state.having.append(Having(Item(None, "count", table=name), operator, number.text))
            state.wants_group = True
        state.use(first, last)
        return None
    elif (year := year_of(number.text)) is not None and compared.attribute in ("date", ""):
        return _year(state, year, operator, first=first, last=last)
    elif compared.attribute:
        known = state.attribute(compared.attribute, _beside(state, first) or state.main)
        if known is not None:
            ref = known[0]
            if known[1]:
                return None
    else:
        ref = _only_number(state)
        state.doubt("number")
    if ref is None or not _is_comparable(state, ref, number.text):
        return None
    state.use(first, last)
    return Condition(ref, operator, (number.text,))


def _is_comparable(state: State, ref: Ref, number: str) -> bool:
    """Texts are not more or less than a number, unless they are years."""
    if state.column(ref).kind != "text":
        return True
    is_year = any(ref == known for mark in state.marks if mark.kind == "N" for known, _ in mark.values)
    return year_of(number) is not None and (is_year or ref in state.years([ref.table]))


def _beside(state: State, place: int) -> str:
    """The table that was named last before a place."""
    for step in range(place - 1, -1, -1):
        if state.marks[step].kind == "T":
            return state.marks[step].tables[0]
    return ""


def _dates(state: State, start: int, end: int) -> list[tuple[int, Where]]:
    found: list[tuple[int, Where]] = []
    for begin, last in _spans(state, f"([CM]{SKIP})?[pG]*{SKIP}D({SKIP}[&w]{SKIP}D)?", start, end=end):
        first = begin
        windows = [place for place in range(first, last) if state.kinds[place] == "D"]
        window = state.marks[windows[0]].window
        column = state.marks[first] if state.kinds[first] in "CM" else None
        ref = _date_ref(state, first, column)
        if ref is None or window is None:
            continue
        if column is not None and ref not in [one for one, _ in column.refs]:
            first += 1
        compared = next((state.marks[place].word for place in range(first, last) if state.kinds[place] == "G"), "=")
        other = state.marks[windows[-1]].window
        if len(windows) > 1 and other is not None:
            window = Window("", 0, window.start, other.end)
        found.append((windows[0], Condition(ref, compared, window=window)))
        state.use(first, last)
    return found


def _date_ref(state: State, place: int, column: Mark | None) -> Ref | None:
    """The date that is meant: the column beside, else the one of the main table, else of another that is named."""
    if column is not None:
        dated = [ref for ref, _ in column.refs if ref in state.dates([ref.table])]
        if dated:
            return dated[0]
    names = [name for name in (_beside(state, place), state.main, *state.mentioned()) if name]
    options = state.dates(dict.fromkeys(names))
    if len(options) > 1 and options[0].table == options[1].table:
        state.doubt("date")
    return options[0] if options else None


def _years(state: State, start: int, end: int) -> list[tuple[int, Where]]:
    found: list[tuple[int, Where]] = []
    for begin, last in _spans(state, f"([CM]{SKIP})?p?{SKIP}N", start, end=end):
        first = begin
        year = year_of(state.marks[last - 1].text)
        if year is None:
            continue
        if state.kinds[first] in "CM" and not _is_year_column(state, first):
            first = last - 1
        where = _year(state, year, "=", first=first, last=last)
        if where is not None:
            found.append((last - 1, where))
    return found


def _is_year_column(state: State, place: int) -> bool:
    refs = [ref for ref, _ in state.marks[place].refs]
    if any(ref in state.years([ref.table]) or ref in state.dates([ref.table]) for ref in refs):
        return True
    return any(ref in refs for mark in state.marks if mark.kind == "N" for ref, _ in mark.values)


def _year(state: State, year: Window, operator: str, *, first: int, last: int) -> Condition | None:
    if state.kinds[first] in "CM" and (ref := state.ref(state.marks[first], state.near(first))) is not None:
        state.use(first, last)
        if ref in state.dates([ref.table]) and ref not in state.years([ref.table]):
            return Condition(ref, operator, window=year)
        return Condition(ref, operator, (str(year.year),))
    names = list(dict.fromkeys(name for name in (_beside(state, first), state.main, *state.mentioned()) if name))
    numbered = state.years(names)
    options = numbered or state.dates(names)
    if not options:
        numbered = options = [
            ref for mark in state.marks if mark.kind == "N" for ref, _ in mark.values if ref.table in state.mentioned()
        ][:1]
    if not options:
        return None
    if len(options) > 1:
        state.doubt("year")
    state.use(first, last)
    if numbered:
        return Condition(options[0], operator, (str(year.year),))
    return Condition(options[0], operator, window=year)


def _values(state: State, start: int, end: int) -> list[tuple[int, Where]]:
    found: list[tuple[int, Where]] = []
    for first, last in _spans(state, f"(?:[CM]{SKIP}[G(]?)?V", start, end=end):
        place = last - 1
        mark = state.marks[place]
        column = first if state.kinds[first] in "CM" else None
        owners = [ref for ref, _ in mark.values]
        if column is not None:
            shared = [ref for ref, _ in state.marks[column].refs if ref in owners]
            if shared:
                chosen = next(one for one in mark.values if one[0] == shared[0])
                state.use(first, last)
                found.append((place, Condition(chosen[0], "=", (chosen[1],))))
                continue
        if column is not None and mark.word == "quoted" and state.kinds[column + 1 : place].count("V") == 0:
            ref = state.ref(state.marks[column], state.near(column))
            if ref is not None and mark.values[0][1].lower() == mark.text.lower() and state.column(ref).kind == "text":
                state.use(first, last)
                found.append((place, Condition(ref, "=", (mark.text,))))
                continue
        following = place + 1 if place + 1 < len(state.kinds) and state.kinds[place + 1] in "CM" else None
        near = state.near(place)
        value = state.value(mark, near)
        if value is None:
            continue
        if following is not None:
            shared = [ref for ref, _ in state.marks[following].refs if ref in owners]
            if shared:
                value = next(one for one in mark.values if one[0] == shared[0])
                state.kinds[following] = "_"
        state.kinds[place] = "_"
        if mark.word == "told" and len({one.table for one in owners}) == 1 < len(owners) and " " in value[1]:
            found += _parted(mark.values, place)
        else:
            found.append((place, Condition(value[0], "=", (value[1],))))
    return found


def _parted(values: Sequence[tuple[Ref, str]], place: int) -> list[tuple[int, Where]]:
    """A full name over two columns."""
    words = values[0][1].split()
    refs = [ref for ref, _ in values][: len(words)]
    return [(place, Condition(ref, "=", (word,))) for ref, word in zip(refs, words, strict=False)]


def _equals(state: State, start: int, end: int) -> list[tuple[int, Where]]:
    """`C is N` and `C Q`."""
    found: list[tuple[int, Where]] = []
    for first, last in _spans(state, f"[CM]{SKIP}G?{SKIP}[NQ]", start, end=end):
        ref = state.ref(state.marks[first], state.near(first))
        if ref is None:
            continue
        compared = next((state.marks[place].word for place in range(first, last) if state.kinds[place] == "G"), "=")
        found.append((first, Condition(ref, compared, (state.marks[last - 1].text,))))
        state.use(first, last)
    return found
