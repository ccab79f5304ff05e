"""Conditions that hide a column in a function, so that no index on it helps: said of the column itself."""

from collections.abc import Iterator, Mapping

from sqlglot import exp

from aiservice.sqlassist.optimize.edit import Edit, replacing
from aiservice.sqlassist.optimize.ground import Ground, conjuncts, where_of
from aiservice.sqlassist.optimize.rules.spans import bare, day_of, literal, next_start, unit_of

COMPARISONS: tuple[type[exp.Binary], ...] = (exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
_TURNED: Mapping[type[exp.Expr], type[exp.Binary]] = {
    exp.EQ: exp.EQ, exp.GT: exp.LT, exp.GTE: exp.LTE, exp.LT: exp.GT, exp.LTE: exp.GTE,
}  # fmt: skip
_RANGE = "A function on the column keeps an index on it from being used; a range of the column itself says the same."
_MOVED = "Arithmetic on the column keeps an index on it from being used; it is done with the constant instead."
_SPECIAL = frozenset("%_\\*?[")
Sides = tuple[type[exp.Binary], exp.Expr, exp.Expr]


def date_range(ground: Ground) -> Iterator[Edit]:
    """`EXTRACT(YEAR FROM d) = 2023`, `DATE_TRUNC('month', d) = ...`, `CAST(d AS DATE) >= ...` become ranges of d."""
    for node in ground.statement.find_all(*COMPARISONS, exp.Between):
        new = _between(node, ground) if isinstance(node, exp.Between) else _compared(node, ground)
        if new is not None:
            yield replacing(node, new, _RANGE)


def sides(node: exp.Expr) -> Iterator[Sides]:
    """Both readings of a comparison, the column's side first."""
    operator = _TURNED.get(type(node))
    if operator is not None:
        yield _TURNED[operator], node.this.unnest(), node.expression.unnest()
        yield operator, node.expression.unnest(), node.this.unnest()


def _dated(found: tuple[str, exp.Column] | None, ground: Ground) -> tuple[str, exp.Column] | None:
    return found if found is not None and ground.kind(found[1]) in ("date", "datetime") else None


def _compared(node: exp.Expr, ground: Ground) -> exp.Expr | None:
    for operator, left, right in sides(node):
        found = _dated(unit_of(left), ground)
        if found is None:
            continue
        unit, column = found
        if unit == "DAY" and ground.kind(column) == "date" and not right.find(exp.Column) and not _is_text(left):
            return operator(this=column.copy(), expression=right.copy())
        start = day_of(right, left, unit)
        if start is not None:
            return _range(
                operator, column, (literal(start, ground.dialect), literal(next_start(start, unit), ground.dialect))
            )
        if unit == "DAY" and operator in (exp.GTE, exp.LT) and _is_day(right) and not _is_text(left):
            return operator(this=column.copy(), expression=right.copy())
    return None


def _is_text(node: exp.Expr) -> bool:
    return isinstance(node, exp.TimeToStr)


def _is_day(node: exp.Expr) -> bool:
    """A day without a time: today, or a cast to a date, and whole days from there."""
    if isinstance(node, exp.CurrentDate):
        return True
    if isinstance(node, exp.Add | exp.Sub):
        interval = node.expression
        unit = interval.args.get("unit") if isinstance(interval, exp.Interval) else None
        is_whole = unit is not None and unit.name.upper().rstrip("S") in ("DAY", "WEEK", "MONTH", "YEAR")
        return is_whole and _is_day(node.this)
    return isinstance(node, exp.Cast) and node.is_type("date") and not node.find(exp.Column)


def _range(operator: type[exp.Binary], column: exp.Column, span: tuple[exp.Expr, exp.Expr]) -> exp.Expr:
    start, end = span
    after = exp.GTE(this=column.copy(), expression=start)
    before = exp.LT(this=column.copy(), expression=end)
    if operator is exp.EQ:
        return exp.Paren(this=exp.And(this=after, expression=before))
    if operator in (exp.GT, exp.GTE):
        return exp.GTE(this=column.copy(), expression=end if operator is exp.GT else start)
    return exp.LT(this=column.copy(), expression=start if operator is exp.LT else end)


def _between(node: exp.Expr, ground: Ground) -> exp.Expr | None:
    found = _dated(unit_of(node.this), ground)
    if found is None:
        return None
    unit, column = found
    low, high = node.args["low"], node.args["high"]
    if unit == "DAY" and ground.kind(column) == "date" and not _is_text(node.this):
        return exp.Between(this=column.copy(), low=low.copy(), high=high.copy())
    start, end = day_of(low, node.this, unit), day_of(high, node.this, unit)
    if start is None or end is None:
        return None
    return _range(exp.EQ, column, (literal(start, ground.dialect), literal(next_start(end, unit), ground.dialect)))


def moved_arithmetic(ground: Ground) -> Iterator[Edit]:
    """`n + 5 > 10` becomes `n > 5`; `d + INTERVAL '30 days' < x` becomes `d < x - INTERVAL '30 days'`."""
    for node in ground.statement.find_all(*COMPARISONS):
        for operator, left, right in sides(node):
            new = _moved(left, right, ground)
            if new is not None:
                yield replacing(node, operator(this=new[0], expression=new[1]), _MOVED)
                break


def _moved(left: exp.Expr, right: exp.Expr, ground: Ground) -> tuple[exp.Expr, exp.Expr] | None:
    if right.find(exp.Column, exp.Query):
        return None
    if isinstance(left, exp.DateDiff):
        return None
    if isinstance(left, exp.Add | exp.Sub):
        column, amount = left.this.unnest(), left.expression.unnest()
        other = exp.Sub if isinstance(left, exp.Add) else exp.Add
        if ground.kind(column) == "integer" and _whole(amount) is not None and _whole(right) is not None:
            sign = 1 if isinstance(left, exp.Sub) else -1
            return column.copy(), exp.convert((_whole(right) or 0) + sign * (_whole(amount) or 0))
        if _is_plain_date(column, ground) and _is_days(amount):
            return column.copy(), other(this=right.copy(), expression=amount.copy())
    if isinstance(left, exp.DateAdd | exp.DateSub) and _is_plain_date(bare(left.this), ground) and _unit(left) == "DAY":
        opposite = exp.DateSub if isinstance(left, exp.DateAdd) else exp.DateAdd
        shifted = opposite(this=right.copy(), expression=left.expression.copy(), unit=left.args["unit"].copy())
        return bare(left.this).copy(), shifted
    return None


def _is_plain_date(node: exp.Expr, ground: Ground) -> bool:
    found = ground.column(node)
    return found is not None and found[1].kind in ("date", "datetime") and "TZ" not in found[1].type.upper()


def _unit(node: exp.Expr) -> str:
    unit = node.args.get("unit")
    return "" if unit is None else str(unit.name).upper().removesuffix("S")


def _is_days(node: exp.Expr) -> bool:
    return isinstance(node, exp.Interval) and _unit(node) in ("DAY", "WEEK") and not node.find(exp.Column)


def _whole(node: exp.Expr) -> int | None:
    if isinstance(node, exp.Neg):
        inner = _whole(node.this)
        return None if inner is None else -inner
    is_whole = isinstance(node, exp.Literal) and not node.is_string and node.name.isdigit()
    return int(node.name) if is_whole else None


def days_between(ground: Ground) -> Iterator[Edit]:
    """`DATEDIFF(CURDATE(), d) <= 30` and `CURRENT_DATE - d <= 30` become `d >= CURRENT_DATE - 30 days`."""
    for node in ground.statement.find_all(*COMPARISONS):
        for operator, left, right in sides(node):
            days = _whole(right)
            column = _since(left, ground)
            if days is None or column is None or operator is exp.EQ:
                continue
            # More days ago is earlier: at most n days ago is on or after today less n.
            is_recent = operator in (exp.LT, exp.LTE)
            back = days - 1 if operator in (exp.LT, exp.GTE) else days
            new = (exp.GTE if is_recent else exp.LT)(this=column.copy(), expression=_today_less(back, ground.dialect))
            yield replacing(node, new, _MOVED)
            break


def _since(node: exp.Expr, ground: Ground) -> exp.Column | None:
    """The column whose days until today are counted."""
    if isinstance(node, exp.DateDiff) and _unit(node) in ("", "DAY") and ground.dialect in ("mysql", "tsql"):
        later, earlier = bare(node.this), bare(node.expression)
        kinds: tuple[str, ...] = ("date", "datetime")
    elif isinstance(node, exp.Sub):
        later, earlier, kinds = node.this, node.expression, ("date",)
    else:
        return None
    is_today = isinstance(later, exp.CurrentDate | exp.CurrentTimestamp)
    if isinstance(node, exp.Sub) and not isinstance(later, exp.CurrentDate):
        return None
    return earlier if is_today and isinstance(earlier, exp.Column) and ground.kind(earlier) in kinds else None


def _today_less(days: int, dialect: str) -> exp.Expr:
    if dialect == "tsql":
        today = exp.cast(exp.CurrentTimestamp(), "DATE")
        return exp.DateAdd(this=today, expression=exp.convert(-days), unit=exp.var("DAY"))
    if dialect == "mysql":
        return exp.DateSub(this=exp.CurrentDate(), expression=exp.convert(days), unit=exp.var("DAY"))
    return exp.Sub(this=exp.CurrentDate(), expression=exp.convert(days))


def uncast(ground: Ground) -> Iterator[Edit]:
    """`CAST(id AS TEXT) = '7'` becomes `id = 7` where id is a whole number."""
    why = "The cast keeps an index on the column from being used; a number is compared with a number."
    for node in ground.statement.find_all(exp.EQ):
        for operator, left, right in sides(node):
            is_text = isinstance(left, exp.Cast) and left.is_type("text", "varchar", "char", "nvarchar")
            if not is_text or ground.kind(left.this) != "integer" or not isinstance(right, exp.Literal):
                continue
            if right.is_string and right.name.isdigit() and str(int(right.name)) == right.name:
                yield replacing(node, operator(this=left.this.copy(), expression=exp.convert(int(right.name))), why)
                break


def prefix(ground: Ground) -> Iterator[Edit]:
    """`SUBSTR(name, 1, 3) = 'abc'` becomes `name LIKE 'abc%'`, in SQLite GLOB."""
    why = "A function on the column keeps an index on it from being used; a prefix pattern can use one."
    for node in ground.statement.find_all(exp.EQ):
        for _, left, right in sides(node):
            found = _start(left)
            if found is None or ground.kind(found[0]) != "text" or not isinstance(right, exp.Literal):
                continue
            text = right.name
            if not right.is_string or len(text) != found[1] or _SPECIAL.intersection(text):
                continue
            is_glob = ground.dialect == "sqlite"
            pattern = exp.Literal.string(f"{text}{'*' if is_glob else '%'}")
            yield replacing(node, (exp.Glob if is_glob else exp.Like)(this=found[0].copy(), expression=pattern), why)
            break


def _start(node: exp.Expr) -> tuple[exp.Column, int] | None:
    if isinstance(node, exp.Left):
        column, length = node.this, _whole(node.expression)
    elif isinstance(node, exp.Substring) and node.args.get("start") is not None and _whole(node.args["start"]) == 1:
        column, length = node.this, _whole(node.args["length"]) if node.args.get("length") is not None else None
    else:
        return None
    return (column, length) if isinstance(column, exp.Column) and length else None


def uncoalesced(ground: Ground) -> Iterator[Edit]:
    """`COALESCE(n, 0) > 5` becomes `n > 5` in WHERE: what stands for NULL does not pass either."""
    why = (
        "What stands for NULL does not meet the condition, and NULL does not either; the bare column can use an index."
    )
    for select in ground.selects():
        for node in conjuncts(where_of(select)):
            for operator, left, right in sides(node):
                if not isinstance(left, exp.Coalesce) or len(left.expressions) != 1:
                    continue
                stand_in, value = _constant(left.expressions[0]), _constant(right)
                if stand_in is None or value is None or isinstance(stand_in, str) != isinstance(value, str):
                    continue
                if isinstance(left.this, exp.Column) and not _holds(operator, stand_in, value):
                    yield replacing(node, operator(this=left.this.copy(), expression=right.copy()), why)
                    break


def _constant(node: exp.Expr) -> str | float | None:
    if not isinstance(node, exp.Literal):
        return None
    return node.name if node.is_string else float(node.name)


def _holds(operator: type[exp.Binary], left: str | float, right: str | float) -> bool:
    """Texts are only compared for being the same: their order is the database's."""
    if operator is exp.EQ:
        return left == right or str(left).lower() == str(right).lower()
    if isinstance(left, str) or isinstance(right, str):
        return True
    return {exp.GT: left > right, exp.GTE: left >= right, exp.LT: left < right, exp.LTE: left <= right}[operator]
