"""Spans of days: what a function of a date says about the date itself."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta

from sqlglot import exp

_DATED = (exp.Date, exp.TsOrDsToDate)
_READ = (exp.TsOrDsToTimestamp, exp.TimeStrToTime, exp.Paren)
_FORMS: Mapping[str, str] = {"%Y": "YEAR", "%Y-%m": "MONTH", "%Y-%m-%d": "DAY"}
_LENGTHS: Mapping[str, int] = {"%Y": 4, "%Y-%m": 7, "%Y-%m-%d": 10}


def bare(node: exp.Expr) -> exp.Expr:
    """Without conversions that leave the day as it is."""
    while True:
        is_cast = isinstance(node, exp.Cast) and node.is_type("date", "timestamp", "datetime", "datetime2")
        is_dated = isinstance(node, _DATED) and not node.args.get("expressions") and isinstance(node.this, exp.Expr)
        if not (is_cast or is_dated or isinstance(node, _READ)):
            return node
        node = node.this


def unit_of(node: exp.Expr) -> tuple[str, exp.Column] | None:
    """`YEAR`, `MONTH` or `DAY` and the column that a function cuts down to it."""
    unit, inner = _cut(node)
    column = bare(inner) if unit and inner is not None else None
    return (unit, column) if isinstance(column, exp.Column) else None


def _cut(node: exp.Expr) -> tuple[str, exp.Expr | None]:
    match node:
        case exp.Extract() if node.this.name.upper() == "YEAR":
            return "YEAR", node.expression
        case exp.Year():
            return "YEAR", node.this
        case exp.Cast() if node.is_type("int", "bigint", "smallint") and isinstance(node.this, exp.TimeToStr):
            return ("YEAR" if _form(node.this) == "%Y" else ""), node.this.this
        case exp.TimeToStr():
            return _FORMS.get(_form(node), ""), node.this
        case exp.TimestampTrunc() | exp.DateTrunc() | exp.DatetimeTrunc():
            unit = node.args["unit"].name.upper()
            return (unit if unit in _FORMS.values() else ""), node.this
        case exp.Cast() if node.is_type("date"):
            return "DAY", node.this
        case exp.Date() | exp.TsOrDsToDate() if not node.args.get("expressions"):
            return "DAY", node.this
    return "", None


def _form(node: exp.TimeToStr) -> str:
    form = node.args.get("format")
    return form.name if isinstance(form, exp.Literal) else ""


def day_of(node: exp.Expr | None, cut: exp.Expr, unit: str) -> date | None:
    """The first day of what a constant names that is compared with this function of a date: 2023, '2023-05-17' ...

    None where it is no such day, or where the two are of different kinds and so never equal.
    """
    inner = bare(node) if node is not None else None
    if not isinstance(inner, exp.Literal) or (isinstance(cut, exp.TimeToStr) and not inner.is_string):
        return None
    form = _form(cut) if isinstance(cut, exp.TimeToStr) else "%Y" if _is_number(cut) else "%Y-%m-%d"
    text = inner.name if isinstance(cut, exp.TimeToStr) else inner.name.removesuffix(" 00:00:00")
    if len(text) != _LENGTHS.get(form):
        return None
    try:
        day = datetime.strptime(text, form).date()  # noqa: DTZ007  # a day has no zone
    except ValueError:
        return None
    return day if is_start(day, unit) and 1 < day.year < 9_999 else None


def _is_number(cut: exp.Expr) -> bool:
    return isinstance(cut, exp.Extract | exp.Year) or (isinstance(cut, exp.Cast) and not cut.is_type("date"))


def is_start(day: date, unit: str) -> bool:
    return unit == "DAY" or (day.day == 1 and (unit == "MONTH" or day.month == 1))


def next_start(day: date, unit: str) -> date:
    """The first day after the year, month or day that begins here."""
    if unit == "DAY":
        return day + timedelta(days=1)
    if unit == "MONTH":
        return date(day.year + day.month // 12, day.month % 12 + 1, 1)
    return date(day.year + 1, 1, 1)


def literal(day: date, dialect: str) -> exp.Expr:
    """A day as the dialect compares it with a date: as text, which all but Oracle read."""
    text = exp.Literal.string(day.isoformat())
    return exp.cast(text, "DATE") if dialect == "oracle" else text
