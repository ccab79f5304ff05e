"""What a function of a statement means, whatever its dialect calls it: a row of the table, with its arguments."""

from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp

Meaning = tuple[str, Sequence[exp.Expr]]
_Reader = Callable[[exp.Expr, str], Meaning | None]
_NOWS = frozenset({"NOW", "SYSDATETIME", "GETDATE", "SYSDATE", "LOCALTIMESTAMP", "UTC_TIMESTAMP", "GETUTCDATE"})
# Who counts the days of a week from Sunday 1 in EXTRACT and DAYOFWEEK.
_FROM_ONE = frozenset({"mysql", "bigquery", "tsql"})
_SUNDAY_WEEKS = frozenset({"bigquery", "tsql", "mysql"})
_ISO_WEEKS = frozenset({"postgres", "duckdb", "snowflake"})


def meaning_of(node: exp.Expr, source: str) -> Meaning | None:
    """The meaning of one node, children aside; None for what has no row."""
    reader = _READERS.get(type(node))
    return None if reader is None else reader(node, source)


def unit_of(node: exp.Expr | None) -> str:
    """DAY for `day`, `DAYS`, `'day'`; WEEK(MONDAY) is MONDAY."""
    if isinstance(node, exp.WeekStart):
        return str(node.name).upper()
    name = "" if node is None else node.name.upper()
    return name.removesuffix("S") if len(name) > 2 else name


def _now(_node: exp.Expr, _source: str) -> Meaning | None:
    return "now", ()


def _called(node: exp.Expr, source: str) -> Meaning | None:
    """A function that is known by its name alone."""
    name, arguments = node.name.upper(), node.expressions
    if name in _NOWS and not arguments:
        return "now", ()
    if name in ("CURDATE", "TODAY", "UTC_DATE") and not arguments:
        return "today", ()
    if name in ("MAKE_DATE", "DATEFROMPARTS") and len(arguments) == 3:
        return "from_parts", arguments
    if name == "WEEKDAY" and len(arguments) == 1:
        return ("monday_0", arguments) if source == "mysql" else None
    if name == "UNIX_TIMESTAMP" and len(arguments) == 1:
        return "epoch", arguments
    if name == "TOTAL" and len(arguments) == 1:
        return "total", arguments
    return ("age", arguments) if name == "AGE" else None


def _extracted(node: exp.Expr, source: str) -> Meaning | None:
    return _part(node.expression, unit_of(node.this), source)


def _part(moment: exp.Expr, unit: str, source: str) -> Meaning | None:
    if unit in ("DOW", "WEEKDAY", "DAYOFWEEK", "DW"):
        return ("sunday_1" if source in _FROM_ONE and unit != "DOW" else "sunday_0"), (moment,)
    if unit in ("ISODOW", "DAYOFWEEKISO"):
        return "monday_1", (moment,)
    if unit == "ISOWEEK" or (unit == "WEEK" and source in _ISO_WEEKS):
        return "iso_week", (moment,)
    rows = {"QUARTER": "quarter", "EPOCH": "epoch"}
    return (rows[unit], (moment,)) if unit in rows else None


def _weekday(node: exp.Expr, source: str) -> Meaning | None:
    return ("sunday_1" if source in _FROM_ONE else "sunday_0"), (node.this,)


def _truncated(node: exp.Expr, source: str) -> Meaning | None:
    unit = unit_of(node.args.get("unit"))
    if unit == "WEEK":
        unit = "SUNDAY" if source in _SUNDAY_WEEKS else "MONDAY"
    unit = {"ISOWEEK": "MONDAY"}.get(unit, unit)
    return f"begin_{unit.lower()}", (node.this,)


def _difference(node: exp.Expr, source: str) -> Meaning | None:
    """MySQL's TIMESTAMPDIFF counts whole units, the others those that were begun."""
    unit = unit_of(node.args.get("unit")) or "DAY"
    is_whole = source == "mysql" and isinstance(node, exp.TimestampDiff)
    if unit in ("YEAR", "MONTH"):
        return f"{'whole' if is_whole else 'between'}_{unit.lower()}", (node.this, node.expression)
    if unit == "DAY" and not is_whole:
        return "between_day", (node.this, node.expression)
    return ("seconds", (node.this, node.expression)) if unit == "SECOND" else None


def _named(name: str) -> _Reader:
    return lambda node, _source: (name, (node.this,))


def _pair(name: str) -> _Reader:
    return lambda node, _source: (name, (node.this, node.expression))


def _from_parts(node: exp.Expr, _source: str) -> Meaning | None:
    parts = [node.args.get(name) for name in ("year", "month", "day")]
    return ("from_parts", [one for one in parts if one is not None]) if all(parts) else None


def _piece(node: exp.Expr, _source: str) -> Meaning | None:
    parts = [node.this, node.args.get("delimiter"), node.args.get("part_index")]
    return ("piece", [one for one in parts if one is not None]) if all(parts) else None


def _date(node: exp.Expr, _source: str) -> Meaning | None:
    is_plain = node.this is not None and not node.expressions and not node.args.get("zone")
    return ("date_of", (node.this,)) if is_plain else None


_READERS: Mapping[type[exp.Expr], _Reader] = {
    exp.Anonymous: _called,
    exp.CurrentTimestamp: _now,
    exp.CurrentDate: lambda _node, _source: ("today", ()),
    exp.Extract: _extracted,
    exp.DayOfWeek: _weekday,
    exp.DayOfWeekIso: _named("monday_1"),
    exp.Quarter: _named("quarter"),
    exp.TimeToUnix: _named("epoch"),
    exp.DateTrunc: _truncated,
    exp.TimestampTrunc: _truncated,
    exp.DatetimeTrunc: _truncated,
    exp.DateDiff: _difference,
    exp.TimestampDiff: _difference,
    exp.DatetimeDiff: _difference,
    exp.TsOrDsDiff: _difference,
    exp.DateFromParts: _from_parts,
    exp.Date: _date,
    exp.StrToDate: _named("parsed_date"),
    exp.StrToTime: _named("parsed_time"),
    exp.ILike: _pair("ilike"),
    exp.RegexpLike: _pair("matches"),
    exp.SplitPart: _piece,
    exp.CountIf: _named("count_if"),
}
