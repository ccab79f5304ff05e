"""What a parse knows while it goes over the marks of a question."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from aiservice.sqlassist.generate.lexicon import REFS_MAX, Lexicon, Ref
from aiservice.sqlassist.generate.link import Mark
from aiservice.sqlassist.generate.plan import Having, Order, Where
from aiservice.sqlassist.generate.vocabulary import ATTRIBUTES, INVERTED, QUANTITIES
from aiservice.sqlassist.generate.words import meaning, name_words
from aiservice.sqlassist.joins import path_between
from aiservice.sqlassist.schema import Column, Table

# What may stand between two words that belong together.
SKIP = "[wrphf2]*"
USED = "_"
_NUMERIC = frozenset({"integer", "real"})


@dataclass
class State:
    """The marks, which of them are used up, and what was found so far. `doubts` lower the confidence."""

    lexicon: Lexicon
    marks: list[Mark]
    turn: int = 0
    kinds: list[str] = field(default_factory=list)
    main: str = ""
    where: list[Where] = field(default_factory=list)
    also: list[Where] = field(default_factory=list)
    having: list[Having] = field(default_factory=list)
    order: list[Order] = field(default_factory=list)
    limit: int | None = None
    counted: str = ""
    tables: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    wants_group: bool = False

    def __post_init__(self) -> None:
        self.kinds = [mark.kind for mark in self.marks]

    def find(self, pattern: str, start: int = 0) -> re.Match[str] | None:
        """The first place where the kinds of the unused marks read so."""
        return re.compile(pattern).search("".join(self.kinds), start)

    def each(self, pattern: str) -> Iterator[re.Match[str]]:
        yield from re.finditer(pattern, "".join(self.kinds))

    def use(self, start: int, end: int) -> None:
        for place in range(start, end):
            self.kinds[place] = USED

    def doubt(self, why: str) -> None:
        if why not in self.doubts:
            self.doubts.append(why)

    def mentioned(self) -> list[str]:
        """The tables that the question names, used up or not."""
        return list(dict.fromkeys(name for mark in self.marks if mark.kind == "T" for name in mark.tables))

    def ref(self, mark: Mark, near: str = "", numeric: bool = False) -> Ref | None:
        """Which column a mark means: of the table beside it, of the main one, of a named one, of a near one."""
        options = [(self._score(ref, score, near), ref) for ref, score in mark.refs[:REFS_MAX]]
        if numeric:
            options = [one for one in options if self.column(one[1]).kind in _NUMERIC] or options
        options.sort(key=lambda one: -one[0])
        if not options:
            return None
        if len(options) > 1:
            gap = options[0][0] - options[1][0]
            if (gap < 0.15 and options[0][1].table != options[1][1].table) or gap < 0.05:
                self.doubt("column")
            if gap < 0.3 and self.turn == 1:
                return options[1][1]
        if dict(mark.refs)[options[0][1]] < 0.75:
            self.doubt("part")
        return options[0][1]

    def _score(self, ref: Ref, score: float, near: str) -> float:
        score = min(score, 1.1)
        if near and ref.table == near:
            score += 0.6
        if ref.table == self.main:
            score += 0.35
        elif ref.table in self.mentioned():
            score += 0.25
        elif self.main:
            path = path_between(self.lexicon.schema, self.main, ref.table)
            score -= 0.12 * (len(path) if path else 6)
        if self.is_key(ref):
            score -= 0.1
        return score

    def is_key(self, ref: Ref) -> bool:
        """Whether a column holds another table's key."""
        table = self.table(ref.table)
        return any(ref.column in key.columns for key in table.foreign_keys)

    def column(self, ref: Ref) -> Column:
        column = self.table(ref.table).column(ref.column)
        assert column is not None
        return column

    def table(self, name: str) -> Table:
        table = self.lexicon.schema.table(name)
        assert table is not None
        return table

    def value(self, mark: Mark, near: str = "") -> tuple[Ref, str] | None:
        """Which column's value a mark is."""
        options = sorted(mark.values, key=lambda one: -self._score(one[0], 1.0, near))
        if len(options) > 1:
            gap = self._score(options[0][0], 1.0, near) - self._score(options[1][0], 1.0, near)
            if gap < 0.1:
                self.doubt("value")
            if gap < 0.3 and self.turn == 2:
                return options[1]
        return options[0] if options else None

    def attribute(self, name: str, table: str) -> tuple[Ref, bool] | None:
        """The column behind an adjective, and whether more of it is less of the quality."""
        wanted = [meaning(word) for word in ATTRIBUTES.get(name, ())]
        tables = [table, *(one for one in self.mentioned() if one != table)]
        for owner in tables:
            for word in wanted:
                for column in self.table(owner).columns:
                    words = name_words(column.name)
                    if word in words and column.name not in self.table(owner).primary_key:
                        return Ref(owner, column.name), any(part in INVERTED for part in words)
        numbers = [ref for ref in self.numbers(table) if self._may_be(ref, name)]
        if numbers:
            self.doubt("adjective")
            if len(numbers) > 1:
                self.doubt("number")
            return numbers[0], False
        return None

    def _may_be(self, ref: Ref, attribute: str) -> bool:
        """Whether a number that says nothing of the attribute may still be it: its name says nothing else, and the
        question does not speak of it."""
        words = set(name_words(ref.column))
        others = {meaning(word) for name, listed in ATTRIBUTES.items() if name != attribute for word in listed}
        if words & (others | {meaning(word) for word in QUANTITIES}):
            return False
        return not any(known == ref and score >= 1 for mark in self.marks for known, score in mark.refs)

    def numbers(self, name: str) -> list[Ref]:
        """The columns of a table that hold numbers and no keys."""
        table = self.table(name)
        keys = {part for key in table.foreign_keys for part in key.columns} | set(table.primary_key)
        return [
            Ref(name, column.name)
            for column in table.columns
            if column.kind in _NUMERIC and column.name not in keys and name_words(column.name)[-1:] != ("id",)
        ]

    def dates(self, names: Iterable[str]) -> list[Ref]:
        """The columns of tables that hold dates, by type, else by name."""
        found = []
        for name in names:
            typed = [c for c in self.table(name).columns if c.kind in ("date", "datetime")]
            named = [c for c in self.table(name).columns if meaning("date") in name_words(c.name)]
            found += [Ref(name, column.name) for column in typed or named]
        return found

    def years(self, names: Iterable[str]) -> list[Ref]:
        return [
            Ref(name, column.name)
            for name in names
            for column in self.table(name).columns
            if meaning("year") in name_words(column.name)
        ]

    def near(self, place: int) -> str:
        """The table named beside a place: just before it, or after `of`."""
        for step in range(place - 1, max(place - 5, -1), -1):
            if self.marks[step].kind in "TM" and self.marks[step].tables:
                return self.marks[step].tables[0]
            if self.marks[step].kind not in "w'rh":
                break
        for step in range(place + 1, min(place + 11, len(self.marks))):
            mark = self.marks[step]
            if mark.kind in "TM" and mark.tables:
                return mark.tables[0]
            if mark.kind not in "wf&,CpEA":
                break
        return ""

    def display(self, name: str) -> list[Ref]:
        """What a row of a table is called by: its name or title, else its first text, else its key."""
        table = self.table(name)
        named = [c for c in table.columns if meaning("name") in name_words(c.name)]
        texts = [c for c in table.columns if c.kind == "text" and not self.is_key(Ref(name, c.name))]
        whole = [
            c
            for c in named
            if len(name_words(c.name)) == 1 or any(meaning(w) in name_words(c.name) for w in name_words(name))
        ]
        people = [c for c in named if {"first", "last"} & set(name_words(c.name))]
        first = (
            whole[:1]
            or people[:2]
            or named[:1]
            or [c for c in texts if c.name not in table.primary_key][:1]
            or list(table.columns)[:1]
        )
        return [Ref(name, column.name) for column in first]

    def key(self, name: str) -> list[Ref]:
        """The primary key; where none is known, what other tables refer to, else the first column."""
        table = self.table(name)
        if table.primary_key:
            return [Ref(name, part) for part in table.primary_key]
        return [Ref(name, table.columns[0].name)]

    def kinds_left(self, wanted: str) -> Sequence[int]:
        return [place for place, kind in enumerate(self.kinds) if kind in wanted]
