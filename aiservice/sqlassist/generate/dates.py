"""Spans of time in a question: a day, a month, a quarter, a year, the past N days."""

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from aiservice.sqlassist.generate.vocabulary import MONTHS
from aiservice.sqlassist.generate.words import Word

Unit = Literal["day", "week", "month", "year"]
_UNITS: Mapping[str, Unit] = {
    "day": "day", "days": "day", "week": "week", "weeks": "week", "month": "month", "months": "month", "year": "year",
    "years": "year",
}  # fmt: skip
_PAST = frozenset({"past", "last", "previous"})


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` to `end` inclusive, ISO dates; or the `count` units before now. `length` is in words."""

    text: str
    length: int
    start: str = ""
    end: str = ""
    count: int = 0
    unit: Unit = "day"
    year: int | None = None

    @property
    def is_day(self) -> bool:
        return bool(self.start) and self.start == self.end


def window_at(words: Sequence[Word], place: int) -> Window | None:
    """The span of time that these words begin with; numbers that may be years only where a word says so."""
    texts = [word.lower for word in words[place : place + 6]]
    word = words[place]
    if word.kind == "date":
        return Window(word.text, 1, word.text, word.text)
    if texts[0] in _PAST and len(texts) > 1:
        if texts[1].isdigit() and len(texts) > 2 and texts[2] in _UNITS:
            return Window(" ".join(texts[:3]), 3, count=int(texts[1]), unit=_UNITS[texts[2]])
        if texts[1] in _UNITS:
            return Window(" ".join(texts[:2]), 2, count=1, unit=_UNITS[texts[1]])
    if texts[0] in MONTHS and word.text[0].isupper():
        taken = 2 if len(texts) > 2 and texts[1] == "," else 1
        if len(texts) > taken and _is_year(texts[taken]):
            return _month(int(texts[taken]), MONTHS[texts[0]], texts[: taken + 1])
    return _quarter(texts)


def _is_year(text: str) -> bool:
    return text.isdigit() and 1800 <= int(text) <= 2199


def year_of(text: str) -> Window | None:
    """A number that may be a year, as one."""
    return Window(text, 1, f"{text}-01-01", f"{text}-12-31", year=int(text)) if _is_year(text) else None


def _month(year: int, month: int, texts: Sequence[str]) -> Window:
    last = date(year, month, monthrange(year, month)[1])
    return Window(" ".join(texts), len(texts), date(year, month, 1).isoformat(), last.isoformat())


def _quarter(texts: Sequence[str]) -> Window | None:
    numbers = {"first": 1, "1st": 1, "second": 2, "2nd": 2, "third": 3, "3rd": 3, "fourth": 4, "4th": 4}
    if len(texts) < 3 or texts[0] not in numbers or texts[1] != "quarter":
        return None
    place = 3 if texts[2] == "of" else 2
    if len(texts) <= place or not _is_year(texts[place]):
        return None
    year, first = int(texts[place]), numbers[texts[0]] * 3 - 2
    last = date(year, first + 2, monthrange(year, first + 2)[1])
    return Window(" ".join(texts[: place + 1]), place + 1, date(year, first, 1).isoformat(), last.isoformat())
