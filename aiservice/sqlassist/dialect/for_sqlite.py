"""SQLite's words for the date and string functions of the other dialects.

sqlglot reads each dialect's functions into nodes that have one meaning (a shift by an interval, a truncation, a part of
a date ...); here is how SQLite says each meaning, so that n dialects need n readers and one printer. What is written in
a dialect's own name and means something else there is told apart by the source: a week begins on Sunday in BigQuery and
T-SQL and on Monday in PostgreSQL, days of the week are numbered from 0, 1 or Sunday.
Source of the modifiers: "Date And Time Functions" of SQLite's documentation.
"""

import re
from collections.abc import Callable, Mapping

from sqlglot import exp

Printer = Callable[[exp.Expr, str], exp.Expr]
_UNITS: Mapping[str, tuple[str, float]] = {
    "MICROSECOND": ("second", 0.000001),
    "MILLISECOND": ("second", 0.001),
    "SECOND": ("second", 1),
    "MINUTE": ("minute", 1),
    "HOUR": ("hour", 1),
    "DAY": ("day", 1),
    "WEEK": ("day", 7),
    "MONTH": ("month", 1),
    "QUARTER": ("month", 3),
    "YEAR": ("year", 1),
    "DECADE": ("year", 10),
}
_SHORT: Mapping[str, str] = {
    "D": "DAY", "DD": "DAY", "DY": "DAY", "M": "MONTH", "MM": "MONTH", "MON": "MONTH", "YY": "YEAR", "YYYY": "YEAR",
    "Y": "YEAR", "WK": "WEEK", "WW": "WEEK", "Q": "QUARTER", "QQ": "QUARTER", "HH": "HOUR", "H": "HOUR", "MI": "MINUTE",
    "N": "MINUTE", "S": "SECOND", "SS": "SECOND", "ISOWEEK": "WEEK",
}  # fmt: skip
_TIMES = frozenset({"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR"})
_PARTS: Mapping[str, str] = {
    "YEAR": "%Y", "MONTH": "%m", "DAY": "%d", "HOUR": "%H", "MINUTE": "%M", "SECOND": "%S", "DOY": "%j",
    "DAYOFYEAR": "%j", "DAYOFMONTH": "%d",
}  # fmt: skip
_TRUNCATED: Mapping[str, str] = {
    "SECOND": "%Y-%m-%d %H:%M:%S", "MINUTE": "%Y-%m-%d %H:%M:00", "HOUR": "%Y-%m-%d %H:00:00",
}  # fmt: skip
_SUNDAY_WEEKS = frozenset({"bigquery", "tsql", "mysql"})
_ALTERNATIVES = re.compile(r"^\(?(?P<words>[\w .@+-]+(\|[\w .@+-]+)*)\)?$")
_MOMENTS = tuple(
    getattr(exp.DataType.Type, name)
    for name in ("TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMPLTZ", "TIMESTAMPNTZ", "DATETIME", "DATETIME2", "SMALLDATETIME")
)
_SECONDS_A_DAY = 86_400


def for_sqlite(statement: exp.Expr, source: str) -> exp.Expr:
    """A copy of the statement in SQLite's words; raises `ValueError` where there are none."""

    def spelled(node: exp.Expr) -> exp.Expr:
        printer = _PRINTERS.get(type(node))
        return node if printer is None else printer(node, source)

    # Children first: a shift of a truncation is a shift of what the truncation became.
    return _bottom_up(statement.copy(), spelled)


def _bottom_up(root: exp.Expr, change: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    for node in reversed(list(root.walk())):
        changed = change(node)
        if changed is not node:
            if node is root:
                root = changed
            else:
                node.replace(changed)
    return root


def call(name: str, *arguments: exp.Expr | str | int | None) -> exp.Expr:
    """A function of SQLite's; texts become literals."""
    nodes = [exp.convert(one) if isinstance(one, str | int) else one for one in arguments if one is not None]
    return exp.Anonymous(this=name, expressions=nodes)


def _unit(node: exp.Expr | None, default: str = "DAY") -> str:
    name = default if node is None else node.name.upper()
    name = name.removesuffix("S") if name not in ("S", "SS") else name
    return _SHORT.get(name, name)


def _is_instant(node: exp.Expr) -> bool:
    """Whether it has a time of day for certain, so that a day's shift must keep it."""
    if isinstance(node, exp.CurrentTimestamp | exp.CurrentDatetime | exp.Localtimestamp):
        return True
    return isinstance(node, exp.Anonymous) and node.name.upper() == "DATETIME"


def _moment(node: exp.Expr) -> exp.Expr:
    """What stands for now, as SQLite's functions take it."""
    if isinstance(node, exp.CurrentDate | exp.CurrentTimestamp | exp.CurrentDatetime | exp.Localtimestamp):
        return exp.Literal.string("now")
    return node


def shifted(base: exp.Expr, amount: exp.Expr, unit: str, *, sign: int) -> exp.Expr:
    """`DATE(base, '-7 days')`; DATETIME where a time of day is in it."""
    if unit not in _UNITS:
        raise ValueError(f"an interval of {unit}")
    word, times = _UNITS[unit]
    function = "DATETIME" if unit in _TIMES or _is_instant(base) else "DATE"
    number = _number(amount)
    modifier: exp.Expr
    if number is not None:
        total = number * times * sign
        modifier = exp.Literal.string(f"{total:+g} {word}{'' if abs(total) == 1 else 's'}")
    else:
        product = exp.Mul(this=exp.Paren(this=amount.copy()), expression=exp.convert(times * sign))
        modifier = call("PRINTF", f"%+{'d' if times >= 1 else '.6f'} {word}s", product)
    return call(function, _moment(base), modifier)


def _number(node: exp.Expr) -> float | None:
    negative = isinstance(node, exp.Neg)
    inner = node.this if negative else node
    if isinstance(inner, exp.Paren):
        inner = inner.this
    if isinstance(inner, exp.Cast):
        inner = inner.this
    if not isinstance(inner, exp.Literal):
        return None
    try:
        value = float(inner.name)
    except ValueError:
        return None
    return -value if negative else value


def interval_of(node: exp.Expr) -> tuple[exp.Expr, str] | None:
    """Amount and unit of an interval, also of those that are one text: `INTERVAL '6 months'`."""
    if not isinstance(node, exp.Interval):
        return None
    if node.args.get("unit") is not None:
        return node.this, _unit(node.args["unit"])
    match = re.match(r"^\s*(-?\d+)\s*(\w+)\s*$", node.this.name if node.this is not None else "")
    if match is None:
        raise ValueError("an interval of several parts")
    return exp.convert(int(match[1])), _unit(exp.var(match[2]))


def _arithmetic(node: exp.Expr, source: str) -> exp.Expr:
    sign = -1 if isinstance(node, exp.Sub) else 1
    interval = interval_of(node.expression)
    if interval is not None:
        return shifted(node.this.copy(), interval[0], interval[1], sign=sign)
    left = interval_of(node.this) if sign == 1 else None
    if left is not None:
        return shifted(node.expression.copy(), left[0], left[1], sign=1)
    if sign == -1 and _is_date(node.this) and _is_date(node.expression):
        return _days(node.this, node.expression)
    if _is_date(node.this) and isinstance(node.expression, exp.Literal) and not node.expression.is_string:
        return shifted(node.this.copy(), node.expression, "DAY", sign=sign)
    return node


def _is_date(node: exp.Expr) -> bool:
    if isinstance(node, exp.CurrentDate):
        return True
    if isinstance(node, exp.Cast):
        return bool(node.is_type("date"))
    return isinstance(node, exp.Anonymous) and node.name.upper() in ("DATE", "DATETIME")


def _days(later: exp.Expr, earlier: exp.Expr) -> exp.Expr:
    difference = exp.Sub(
        this=call("JULIANDAY", _moment(later.copy())), expression=call("JULIANDAY", _moment(earlier.copy()))
    )
    return exp.Paren(this=difference)


def _add(node: exp.Expr, source: str) -> exp.Expr:
    sign = -1 if "Sub" in type(node).__name__ else 1
    amount, unit = node.expression, node.args.get("unit")
    interval = interval_of(amount)
    if interval is not None:
        return shifted(node.this.copy(), interval[0], interval[1], sign=sign)
    return shifted(node.this.copy(), amount, _unit(unit), sign=sign)


def _add_months(node: exp.Expr, source: str) -> exp.Expr:
    return shifted(node.this.copy(), node.expression, "MONTH", sign=1)


def _difference(node: exp.Expr, source: str) -> exp.Expr:
    later, earlier, unit = node.this, node.expression, _unit(node.args.get("unit"))
    if unit in ("YEAR", "MONTH", "QUARTER"):
        begun = _months_between(later, earlier, unit)
        is_whole = source == "mysql" and isinstance(node, exp.TimestampDiff) and unit != "QUARTER"
        return _gone_by(begun, later, earlier, unit=unit) if is_whole else begun
    days = _days(later, earlier)
    if unit == "DAY" and node.args.get("date_part_boundary", source in ("tsql", "mysql")):
        days = _days(call("DATE", _moment(later)), call("DATE", _moment(earlier)))
    factor = {"DAY": 1, "HOUR": 24, "MINUTE": 1_440, "SECOND": _SECONDS_A_DAY}.get(unit)
    if unit == "WEEK":
        return _whole(exp.Div(this=days, expression=exp.convert(7)))
    if factor is None:
        raise ValueError(f"a difference in {unit}")
    return _whole(days if factor == 1 else exp.Mul(this=days, expression=exp.convert(factor)))


def _months_between(later: exp.Expr, earlier: exp.Expr, unit: str) -> exp.Expr:
    def count(node: exp.Expr) -> exp.Expr:
        year = _part(node.copy(), "%Y")
        if unit == "YEAR":
            return year
        month = exp.Add(this=exp.Mul(this=year, expression=exp.convert(12)), expression=_part(node.copy(), "%m"))
        return exp.Paren(this=month)

    difference: exp.Expr = exp.Sub(this=count(later), expression=count(earlier))
    if unit == "QUARTER":
        difference = _quotient(exp.Paren(this=difference), 3)
    return exp.Paren(this=difference)


def _gone_by(begun: exp.Expr, later: exp.Expr, earlier: exp.Expr, *, unit: str) -> exp.Expr:
    """Whole months or years: one less where the later moment is not as far into its own."""
    form = "%m-%d %H:%M:%S" if unit == "YEAR" else "%d %H:%M:%S"
    sides = [call("STRFTIME", form, _moment(one.copy())) for one in (later, earlier)]
    is_short = exp.Paren(this=exp.LT(this=sides[0], expression=sides[1]))
    return exp.Paren(this=exp.Sub(this=begun, expression=is_short))


def _unsayable(node: exp.Expr, source: str) -> exp.Expr:
    raise ValueError(node.sql(source)[:60])


def _quotient(node: exp.Expr, by: int) -> exp.Expr:
    """Whole numbers by a whole number, without what other dialects' division would add."""
    return exp.Div(this=node, expression=exp.convert(by), typed=True, safe=True)


def _whole(node: exp.Expr) -> exp.Expr:
    return exp.cast(node, "INTEGER")


def _part(node: exp.Expr, form: str) -> exp.Expr:
    return exp.cast(call("STRFTIME", form, _moment(node)), "INTEGER")


def _extract(node: exp.Expr, source: str) -> exp.Expr:
    unit = _SHORT.get(node.this.name.upper(), node.this.name.upper())
    return part_of(node.expression.copy(), unit, source)


def part_of(moment: exp.Expr, unit: str, source: str) -> exp.Expr:
    """A part of a date as a number; days of the week as the source counts them."""
    if unit in _PARTS:
        return _part(moment, _PARTS[unit])
    if unit in ("DOW", "DAYOFWEEK", "WEEKDAY", "DW"):
        is_from_zero = source in ("postgres", "duckdb", "redshift", "sqlite") or unit == "DOW"
        day = _part(moment, "%w")
        return day if is_from_zero else exp.Add(this=day, expression=exp.convert(1))
    if unit == "ISODOW":
        shifted_day = exp.Paren(this=exp.Add(this=_part(moment, "%w"), expression=exp.convert(6)))
        day = exp.Paren(this=exp.Mod(this=shifted_day, expression=exp.convert(7)))
        return exp.Paren(this=exp.Add(this=day, expression=exp.convert(1)))
    if unit == "QUARTER":
        months = exp.Add(this=_part(moment, "%m"), expression=exp.convert(2))
        return exp.Paren(this=_quotient(exp.Paren(this=months), 3))
    if unit == "WEEK":
        return _part(moment, "%W")
    if unit == "EPOCH":
        return _epoch(moment)
    raise ValueError(f"the part {unit} of a date")


def _epoch(moment: exp.Expr) -> exp.Expr:
    """Seconds: of a difference of dates, which became days, or since 1970."""
    inner = moment.this if isinstance(moment, exp.Paren) else moment
    if isinstance(inner, exp.Sub):
        days = _days(inner.this, inner.expression) if not _is_julian(inner.this) else moment
        return exp.Mul(this=days, expression=exp.convert(_SECONDS_A_DAY))
    return _part(moment, "%s")


def _is_julian(node: exp.Expr) -> bool:
    return isinstance(node, exp.Anonymous) and node.name.upper() == "JULIANDAY"


def _named_part(unit: str) -> Printer:
    def printer(node: exp.Expr, source: str) -> exp.Expr:
        return part_of(_undated(node.this).copy(), unit, source)

    return printer


def _undated(node: exp.Expr) -> exp.Expr:
    """YEAR(DATE(x)) is YEAR(x)."""
    is_date = isinstance(node, exp.TsOrDsToDate) or (
        isinstance(node, exp.Anonymous) and node.name.upper() == "DATE" and len(node.expressions) == 1
    )
    if not is_date:
        return node
    inner = node.this if isinstance(node, exp.TsOrDsToDate) else node.expressions[0]
    assert isinstance(inner, exp.Expr)
    return inner


def _truncated(node: exp.Expr, source: str) -> exp.Expr:
    return truncated(node.this.copy(), _unit(node.args.get("unit")), source)


def truncated(moment: exp.Expr, unit: str, source: str) -> exp.Expr:
    """The beginning of the second to year that a moment is in."""
    moment = _moment(moment)
    if unit in _TRUNCATED:
        return call("STRFTIME", _TRUNCATED[unit], moment)
    if unit == "DAY":
        return call("DATE", moment)
    if unit in ("MONTH", "YEAR"):
        return call("DATE", moment, f"start of {unit.lower()}")
    if unit in ("WEEK", "SUNDAY", "MONDAY"):
        is_sunday = unit == "SUNDAY" or (unit == "WEEK" and source in _SUNDAY_WEEKS)
        return call("DATE", moment, "weekday 6" if is_sunday else "weekday 0", "-6 days")
    if unit == "QUARTER":
        month = exp.Sub(this=_part(moment.copy(), "%m"), expression=exp.convert(1))
        back = exp.Mod(this=exp.Paren(this=month), expression=exp.convert(3))
        return call("DATE", moment, "start of month", call("PRINTF", "-%d months", back))
    raise ValueError(f"a truncation to {unit}")


def _to_text(node: exp.Expr, source: str) -> exp.Expr:
    form = node.args.get("format")
    if not isinstance(form, exp.Literal):
        raise ValueError("a date format that is no constant")
    if any(part in form.name for part in ("%B", "%b", "%A", "%a", "%p", "%-")):
        raise ValueError(f"the date format {form.name}")
    return call("STRFTIME", form.name, _moment(_undated(node.this).copy()))


def _to_date(node: exp.Expr, source: str) -> exp.Expr:
    return call("DATE", _moment(node.this.copy()))


def _to_datetime(node: exp.Expr, source: str) -> exp.Expr:
    return call("DATETIME", _moment(node.this.copy()))


def _same(node: exp.Expr, source: str) -> exp.Expr:
    """A conversion that SQLite's functions do themselves."""
    inner = node.this
    assert isinstance(inner, exp.Expr)
    return inner.copy()


def _from_parts(node: exp.Expr, source: str) -> exp.Expr:
    parts = [node.args[name].copy() for name in ("year", "month", "day")]
    return call("DATE", call("PRINTF", "%04d-%02d-%02d", *parts))


def _last_day(node: exp.Expr, source: str) -> exp.Expr:
    return call("DATE", _moment(_undated(node.this).copy()), "start of month", "+1 month", "-1 day")


def _cast(node: exp.Expr, source: str) -> exp.Expr:
    if node.is_type("date"):
        return call("DATE", _moment(node.this.copy()))
    if node.is_type(*_MOMENTS):
        return call("DATETIME", _moment(node.this.copy()))
    if node.is_type("interval"):
        raise ValueError("a cast to an interval")
    return node


def _matches(node: exp.Expr, source: str) -> exp.Expr:
    """A pattern of plain alternatives is LIKE; SQLite has no other regular expressions."""
    pattern = node.expression
    text = pattern.name if isinstance(pattern, exp.Literal) else ""
    is_from, is_to = text.startswith("^"), text.endswith("$")
    match = _ALTERNATIVES.match(text.removeprefix("^").removesuffix("$"))
    if match is None or "." in match["words"]:
        raise ValueError(f"the regular expression {text!r}")
    before, after = ("" if is_from else "%"), ("" if is_to else "%")
    likes = [
        exp.Like(this=node.this.copy(), expression=exp.Literal.string(f"{before}{word}{after}"))
        for word in match["words"].split("|")
    ]
    return likes[0] if len(likes) == 1 else exp.Paren(this=exp.or_(*likes))


def _left(node: exp.Expr, source: str) -> exp.Expr:
    return call("SUBSTR", node.this.copy(), 1, node.expression.copy())


def _right(node: exp.Expr, source: str) -> exp.Expr:
    """From so many characters before the end; SQLite counts back with a minus, and from 0 it would take all."""
    count = _number(node.expression)
    if count is None or count <= 0:
        raise ValueError("RIGHT without a number of characters")
    return call("SUBSTR", node.this.copy(), exp.Neg(this=node.expression.copy()))


def _anonymous(node: exp.Expr, source: str) -> exp.Expr:
    name, arguments = node.name.upper(), node.expressions
    if name in ("NOW", "SYSDATETIME", "SYSUTCDATETIME", "GETUTCDATE", "UTC_TIMESTAMP", "LOCALTIMESTAMP"):
        return call("DATETIME", "now")
    if name in ("CURDATE", "UTC_DATE", "TODAY"):
        return call("DATE", "now")
    if name == "AGE" and arguments:
        later = arguments[0] if len(arguments) == 2 else exp.CurrentDate()
        return _days(later, arguments[-1])
    if name == "WEEKDAY" and len(arguments) == 1:
        day = exp.Add(this=_part(arguments[0].copy(), "%w"), expression=exp.convert(6))
        return exp.Paren(this=exp.Mod(this=exp.Paren(this=day), expression=exp.convert(7)))
    if name == "SYSDATE":
        return call("DATETIME", "now")
    return node


_ADDS = tuple(
    getattr(exp, name)
    for name in (
        "DateAdd", "DateSub", "DatetimeAdd", "DatetimeSub", "TimestampAdd", "TimestampSub", "TsOrDsAdd", "TimeAdd",
        "TimeSub",
    )
)  # fmt: skip
_PRINTERS: Mapping[type[exp.Expr], Printer] = {
    exp.Add: _arithmetic,
    exp.Sub: _arithmetic,
    **dict.fromkeys(_ADDS, _add),
    exp.AddMonths: _add_months,
    exp.DateDiff: _difference,
    exp.DatetimeDiff: _difference,
    exp.TimestampDiff: _difference,
    exp.TsOrDsDiff: _difference,
    exp.DateTrunc: _truncated,
    exp.TimestampTrunc: _truncated,
    exp.DatetimeTrunc: _truncated,
    exp.Extract: _extract,
    exp.Year: _named_part("YEAR"),
    exp.Month: _named_part("MONTH"),
    exp.Day: _named_part("DAY"),
    exp.DayOfMonth: _named_part("DAY"),
    exp.DayOfYear: _named_part("DOY"),
    exp.DayOfWeek: _named_part("DAYOFWEEK"),
    exp.Week: _named_part("WEEK"),
    exp.WeekOfYear: _named_part("WEEK"),
    exp.Quarter: _named_part("QUARTER"),
    exp.TimeToStr: _to_text,
    exp.StrToDate: _to_date,
    exp.StrToTime: _to_datetime,
    exp.Date: _to_date,
    exp.TsOrDsToDate: _to_date,
    exp.TsOrDsToTimestamp: _same,
    exp.TimeStrToTime: _same,
    exp.CurrentDatetime: lambda _node, _source: call("DATETIME", "now"),
    exp.DateFromParts: _from_parts,
    exp.LastDay: _last_day,
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.RegexpLike: _matches,
    exp.Left: _left,
    exp.Right: _right,
    exp.Anonymous: _anonymous,
    exp.SplitPart: _unsayable,
}
