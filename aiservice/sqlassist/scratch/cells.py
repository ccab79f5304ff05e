"""Makes the cells of rows: the constants that statements compare with, what only just is not them, and plain ones."""

import random
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

from aiservice.sqlassist.schema import Column
from aiservice.sqlassist.scratch.constants import Constant

PLANTED_SHARE = 0.45
EXACT_SHARE = 0.6
LEAN_DAYS = 10
_DAYS_AGO = (0, 1, 5, 20, 40, 200, 400, 800)
_AROUND = (-1, 1, -31, 31, -366, 366)
_YEARS = range(1900, 2200)
_TIMES = ("00:00:00", "00:00:00", "12:30:00", "23:59:59")
_WORDS = (
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven", "iris", "juniper", "knoll", "lotus",
)  # fmt: skip

_TEXTS = (*_WORDS, "", *_WORDS[:3])


class CellMaker:
    """Cells that fit a column's kind; `today` is where dates without a constant are near."""

    def __init__(self, chance: random.Random, today: date) -> None:
        self._chance = chance
        self._today = today
        self._days = [today - timedelta(days=days) for days in _DAYS_AGO]

    def identity(self, column: Column, number: int, planted: Sequence[Constant]) -> Any:
        """A cell that no other number gives."""
        values = list(dict.fromkeys(constant.value for constant in planted))
        if number < len(values):
            return self.fit(values[number], column)
        match column.kind:
            case "text" | "json" | "unknown" | "binary":
                return f"k{number:04}"
            case "date" | "datetime" | "time":
                return self._moment(column, self._today - timedelta(days=number))
            case _:
                return number + 1 + len(values)

    def cell(self, column: Column, planted: Sequence[Constant]) -> Any:
        """A constant, near one, one of the column's known values, or a plain one."""
        if planted and self._chance.random() < PLANTED_SHARE:
            value = self._chance.choice(planted).value
            return self.fit(value, column) if self._chance.random() < EXACT_SHARE else self._near(value, column)
        if column.values and self._chance.random() < 0.9:
            return self._chance.choice(column.values)
        return self._plain(column)

    def meeting(self, constant: Constant, column: Column) -> Any:
        """A cell with which the comparison is true, likely."""
        value, lean = constant.value, constant.lean
        if lean and column.kind in ("date", "datetime"):
            number = _number(value)
            if isinstance(value, str) or not isinstance(number, int | float):
                return self._moment(column, _shifted(self._day(value), lean * LEAN_DAYS))
            # A year, or days ago: more of these is earlier.
            return self.fit(number + (lean if number in _YEARS else -lean * min(LEAN_DAYS, number)), column)
        if lean and not isinstance(value, str):
            return self.fit(value + lean, column)
        return self.fit(value, column)

    def fit(self, value: str | float, column: Column) -> Any:
        """The constant as a cell of this column: a year is a day of that year."""
        match column.kind:
            case "date" | "datetime":
                return self._moment(column, self._day(value), self._time_of(value))
            case "text" | "json":
                return value if isinstance(value, str) else f"{value:g}"
            case "integer" | "real" if isinstance(value, str):
                number = _number(value)
                return self._plain(column) if isinstance(number, str) else number
            case "boolean":
                return int(str(value).lower() in ("1", "t", "true", "yes", "y"))
        return value

    def _near(self, value: str | float, column: Column) -> Any:
        match column.kind:
            case "date" | "datetime":
                return self._moment(column, _shifted(self._day(value), self._chance.choice(_AROUND)))
            case "integer" | "real":
                number = _number(value)
                return self._plain(column) if isinstance(number, str) else number + self._chance.choice((-1, 1))
            case "boolean":
                return self._chance.randint(0, 1)
        if isinstance(value, str):
            return self._chance.choice((value.upper(), value[:-1], f"{value}x", f"x{value}", value.swapcase()))
        return value + self._chance.choice((-1, 1))

    def _day(self, value: str | float) -> date:
        """The day that a constant stands for: a date, a month, a year, or a number of days or months from now."""
        text = value if isinstance(value, str) else f"{value:g}"
        for length, form in ((10, "%Y-%m-%d"), (7, "%Y-%m"), (4, "%Y")):
            try:
                start = datetime.strptime(text[:length], form).date()  # noqa: DTZ007  # a day has no zone
            except ValueError:
                continue
            if length == 10 or len(text) == length:
                span = {10: 0, 7: 27, 4: 364}[length]
                return _shifted(start, self._chance.choice((0, span, self._chance.randint(0, span))))
        number = _number(value)
        if isinstance(number, int | float) and 1 <= number <= 12:
            return date(self._today.year - self._chance.randint(0, 2), int(number), self._chance.randint(1, 28))
        days = int(number) if isinstance(number, int | float) and abs(number) < 20_000 else 0
        return _shifted(self._today, -days + self._chance.choice((-1, 0, 1)))

    def _time_of(self, value: str | float) -> str:
        text = str(value)[11:19]
        try:
            return time.fromisoformat(text).isoformat() if text else self._chance.choice(_TIMES)
        except ValueError:
            return self._chance.choice(_TIMES)

    def _moment(self, column: Column, day: date, at: str | None = None) -> str:
        """Always in one form, so that texts compare as the moments do."""
        if column.kind == "date":
            return day.isoformat()
        if at is None:
            at = self._chance.choice(_TIMES)
        return at if column.kind == "time" else f"{day.isoformat()} {at}"

    def _plain(self, column: Column) -> Any:
        chance = self._chance.random
        match column.kind:
            case "integer":
                turn = chance()
                return int(turn * 60) if turn < 0.2 else int(turn * 100) if turn < 0.7 else int(turn * 7) - 5
            case "real":
                turn = chance()
                return 0.0 if turn < 0.3 else -1.5 if turn < 0.6 else round(turn * 100, 2)
            case "boolean":
                return int(chance() < 0.5)
            case "date" | "datetime" | "time":
                return self._moment(column, self._days[int(chance() * len(self._days))])
            case "json":
                return "{}"
            case "binary":
                return b"\x00"
            case _:
                return _TEXTS[int(chance() * len(_TEXTS))]


def _number(value: str | float) -> Any:
    """The text itself where it is no number."""
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() and abs(number) < 2**62 else number


def _shifted(day: date, days: int) -> date:
    try:
        return day + timedelta(days=days)
    except OverflowError:
        return day
