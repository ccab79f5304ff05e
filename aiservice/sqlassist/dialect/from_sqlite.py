"""SQLite's date functions read into nodes that every printer knows: modifiers become shifts and beginnings."""

import re
from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp

_SHIFT = re.compile(r"^(?P<sign>[+-]?)(?P<amount>\d+)\s+(?P<unit>second|minute|hour|day|month|year)s?$", re.IGNORECASE)
_BEGIN = re.compile(r"^start of (?P<unit>day|month|year)$", re.IGNORECASE)
_PARTS: Mapping[str, str] = {"%Y": "YEAR", "%m": "MONTH", "%d": "DAY", "%H": "HOUR", "%M": "MINUTE", "%j": "DOY"}


def from_sqlite(node: exp.Expr) -> exp.Expr:
    """The node, or what stands for it elsewhere; raises `ValueError` for what cannot be said."""
    reader = _READERS.get(type(node))
    return node if reader is None else reader(node)


def _called(node: exp.Expr) -> exp.Expr:
    name, arguments = node.name.upper(), node.expressions
    if name in ("DATE", "DATETIME") and arguments:
        return _moment(arguments[0], arguments[1:], is_date=name == "DATE")
    if name == "STRFTIME" and len(arguments) > 2:
        moment = _moment(arguments[1], arguments[2:], is_date=False)
        return _formatted(exp.TimeToStr(this=moment, format=arguments[0]))
    if name in ("JULIANDAY", "UNIXEPOCH") and not isinstance(node.parent, exp.Sub):
        raise ValueError(f"{name} alone")
    return node


def _date(node: exp.Expr) -> exp.Expr:
    return _moment(node.this, (), is_date=True) if node.this is not None and not node.expressions else node


def _moment(base: exp.Expr, modifiers: Sequence[exp.Expr], *, is_date: bool) -> exp.Expr:
    moment: exp.Expr
    if isinstance(base, exp.Literal) and base.name.lower() == "now":
        moment = exp.CurrentDate() if is_date else exp.CurrentTimestamp()
    else:
        moment = exp.cast(base.copy(), "DATE" if is_date else "TIMESTAMP")
    for modifier in modifiers:
        text = modifier.name if isinstance(modifier, exp.Literal) else ""
        shift, begin = _SHIFT.match(text), _BEGIN.match(text)
        if shift is not None:
            interval = exp.Interval(this=exp.Literal.string(shift["amount"]), unit=exp.var(shift["unit"].upper()))
            kind = exp.Sub if shift["sign"] == "-" else exp.Add
            moment = kind(this=moment, expression=interval)
        elif begin is not None:
            moment = exp.TimestampTrunc(this=moment, unit=exp.var(begin["unit"].upper()))
            moment = exp.cast(moment, "DATE") if is_date else moment
        elif text.lower() not in ("localtime", "utc"):
            raise ValueError(f"the modifier {text or modifier.sql('sqlite')!r} of a date")
    if not isinstance(moment, exp.Binary):
        return moment
    return exp.cast(moment, "DATE") if is_date else exp.Paren(this=moment)


def _formatted(node: exp.Expr) -> exp.Expr:
    """STRFTIME gives text also where one part is asked for."""
    form, moment = node.args.get("format"), node.this
    moment = moment.this if isinstance(moment, exp.TsOrDsToTimestamp) else moment
    if isinstance(moment, exp.Literal) and moment.name.lower() == "now":
        moment = exp.CurrentTimestamp()
    text = form.name if isinstance(form, exp.Literal) else ""
    if text == "%w":
        return exp.cast(exp.Extract(this=exp.var("DOW"), expression=moment.copy()), "TEXT")
    if text == "%s":
        return exp.cast(exp.Extract(this=exp.var("EPOCH"), expression=moment.copy()), "TEXT")
    if text in ("%W", "%J", "%f") or not text:
        raise ValueError(f"the date format {text}")
    return exp.TimeToStr(this=exp.cast(moment.copy(), "TIMESTAMP"), format=form)


def _cast(node: exp.Expr) -> exp.Expr:
    """`CAST(STRFTIME('%m', d) AS INTEGER)` is a part of a date, as a number."""
    inner = node.this
    if not node.is_type("int", "bigint"):
        return node
    if isinstance(inner, exp.TimeToStr):
        unit = _PARTS.get(inner.args["format"].name)
        return node if unit is None else exp.Extract(this=exp.var(unit), expression=inner.this.copy())
    is_text = isinstance(inner, exp.Cast) and isinstance(inner.this, exp.Extract)
    return inner.this.copy() if is_text else node


def _difference(node: exp.Expr) -> exp.Expr:
    """`JULIANDAY(a) - JULIANDAY(b)` is a number of days with its fraction."""
    sides = [node.this, node.expression]
    if not all(isinstance(one, exp.Anonymous) and one.name.upper() == "JULIANDAY" for one in sides):
        return node
    later, earlier = (
        _moment(one.expressions[0], one.expressions[1:], is_date=False) if one.expressions else exp.CurrentTimestamp()
        for one in sides
    )
    seconds = exp.TimestampDiff(this=later, expression=earlier, unit=exp.var("SECOND"))
    return exp.Paren(this=exp.Div(this=seconds, expression=exp.Literal.number("86400.0")))


def _glob(node: exp.Expr) -> exp.Expr:
    text = node.expression.name if isinstance(node.expression, exp.Literal) else ""
    if not text or any(sign in text for sign in "[%_"):
        raise ValueError("a GLOB of more than * and ?")
    pattern = exp.Literal.string(text.replace("*", "%").replace("?", "_"))
    return exp.Like(this=node.this.copy(), expression=pattern)


_READERS: Mapping[type[exp.Expr], Callable[[exp.Expr], exp.Expr]] = {
    exp.Anonymous: _called,
    exp.Date: _date,
    exp.TimeToStr: _formatted,
    exp.Cast: _cast,
    exp.Sub: _difference,
    exp.Glob: _glob,
}
