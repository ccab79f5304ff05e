"""A plan as a statement: joins over keys, names quoted where they have to be, dates in PostgreSQL's words."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta

from sqlglot import exp

from aiservice.sqlassist.generate.dates import Window
from aiservice.sqlassist.generate.lexicon import Ref
from aiservice.sqlassist.generate.plan import (
    Best,
    Condition,
    Either,
    Given,
    Item,
    Query,
    Versus,
    Where,
    Without,
    tables_of,
)
from aiservice.sqlassist.generate.words import name_words
from aiservice.sqlassist.joins import Step, path_between
from aiservice.sqlassist.schema import Schema

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMPARISONS: Mapping[str, type[exp.Binary]] = {
    "=": exp.EQ, "!=": exp.NEQ, ">": exp.GT, "<": exp.LT, ">=": exp.GTE, "<=": exp.LTE,
}  # fmt: skip
_AGGREGATES: Mapping[str, type[exp.AggFunc]] = {
    "avg": exp.Avg, "sum": exp.Sum, "min": exp.Min, "max": exp.Max, "count": exp.Count,
}  # fmt: skip


# Names that have to be quoted in one dialect or another.
RESERVED = frozenset(
    """
    ALL AND ANY AS ASC BETWEEN BY CASE CAST CHECK COLUMN CONSTRAINT CREATE CROSS CURRENT DATABASE DEFAULT DELETE DESC
    DISTINCT DROP ELSE END ESCAPE EXCEPT EXISTS FALSE FETCH FOR FOREIGN FROM FULL FUNCTION GRANT GROUP GROUPS HAVING IF
    IN INDEX INNER INSERT INTERSECT INTERVAL INTO IS JOIN KEY LEFT LIKE LIMIT NATURAL NOT NULL OFFSET ON OPTION OR ORDER
    OUTER OVER PARTITION PLAN PRIMARY RANK READ REFERENCES RIGHT ROW ROWS SCHEMA SELECT SET SYSTEM TABLE THEN TO
    TRANSACTION TRIGGER TRUE UNION UNIQUE UPDATE USER USING VALUES VIEW WHEN WHERE WINDOW WITH
    """.split()  # noqa: SIM905  # a list of names reads better as text
)


class Unjoined(Exception):
    """The tables of a plan do not hang together."""


class Printer:
    """Prints plans over one schema; `keeps_case` quotes names that are not lower case."""

    def __init__(self, schema: Schema, *, keeps_case: bool) -> None:
        self._schema = schema
        self._keeps_case = keeps_case

    def print(self, query: Query) -> exp.Query:
        """The statement; raises `Unjoined`."""
        first = self._select(query, query.where)
        if not query.also:
            return first
        return exp.intersect(first, self._select(query, query.also))

    def _select(self, query: Query, where: Sequence[Where]) -> exp.Select:
        needed = [query.root, *_tables(query), *(name for part in where for name in tables_of(part))]
        select = exp.select(*(self._item(query, item) for item in query.select)).from_(self._table(query.root))
        for table, condition in self._joins(query.root, list(dict.fromkeys(needed))):
            select = select.join(table, on=condition)
        for part in where:
            select = select.where(self._where(query, part))
        if query.group:
            plain = [item.ref for item in query.select if item.ref is not None and not item.aggregate]
            refs = dict.fromkeys([*query.group, *plain])
            select = select.group_by(*(self._column(ref) for ref in refs))
        for having in query.having:
            value = exp.Literal.number(having.value)
            select = select.having(_COMPARISONS[having.operator](this=self._item(query, having.item), expression=value))
        for order in query.order:
            select = select.order_by(
                exp.Ordered(this=self._item(query, order.item), desc=order.is_descending, nulls_first=False)
            )
        if query.limit is not None:
            select = select.limit(query.limit)
        return select.distinct() if query.is_distinct else select

    def _joins(self, root: str, needed: Sequence[str]) -> Iterator[tuple[exp.Table, exp.Expr]]:
        there = [root]
        for name in needed:
            if name in there:
                continue
            paths = [(path, start) for start in there if (path := path_between(self._schema, start, name)) is not None]
            paths = paths or [(path, start) for start in there if (path := self._shared(start, name))]
            if not paths:
                raise Unjoined(name)
            path, start = min(paths, key=lambda found: len(found[0]))
            for step in path:
                if step.table.name not in there:
                    there.append(step.table.name)
                    yield self._table(step.table.name), self._on(start, step)
                start = step.table.name

    def _shared(self, start: str, name: str) -> Sequence[Step]:
        """Where no key joins two tables, a column of one name and type that is no bare id may."""
        one, other = self._schema.table(start), self._schema.table(name)
        if one is None or other is None:
            return ()
        for column in one.columns:
            known = other.column(column.name)
            if known is not None and known.kind == column.kind and len(name_words(column.name)) > 1:
                return (Step(other, ((column.name, known.name),), is_to_many=True),)
        return ()

    def _on(self, start: str, step: Step) -> exp.Expr:
        return exp.and_(
            *(
                exp.EQ(this=self._column(Ref(start, left)), expression=self._column(Ref(step.table.name, right)))
                for left, right in step.pairs
            )
        )

    def _item(self, query: Query, item: Item) -> exp.Expr:
        if item.ratio is not None:
            upper, lower = self._counted(query, item.ratio.upper), self._counted(query, item.ratio.lower)
            return exp.Div(
                this=exp.cast(upper, "double"),
                expression=exp.Nullif(this=lower, expression=exp.Literal.number(0)),
                typed=False,
            )
        if item.formula is not None:
            return self._given(item.table, item.formula)
        if item.ref is None:
            return exp.Count(this=exp.Star()) if item.aggregate else exp.Star()
        column: exp.Expr = self._column(item.ref)
        if not item.aggregate:
            return column
        if item.is_distinct:
            column = exp.Distinct(expressions=[column])
        return _AGGREGATES[item.aggregate](this=column)

    def _counted(self, query: Query, where: Sequence[Where]) -> exp.Expr:
        if not where:
            return exp.Count(this=exp.Star())
        case = exp.Case().when(exp.and_(*(self._where(query, one) for one in where)), exp.Literal.number(1))
        return exp.Sum(this=case.else_(exp.Literal.number(0)))

    def _where(self, query: Query, part: Where) -> exp.Expr:
        match part:
            case Condition():
                return self._condition(part)
            case Either():
                return exp.paren(exp.or_(*(self._condition(one) for one in part.conditions)))
            case Versus():
                inner = exp.select(_AGGREGATES[part.aggregate](this=self._bare(part.ref))).from_(
                    self._table(part.ref.table)
                )
                return _COMPARISONS[part.operator](this=self._column(part.ref), expression=inner.subquery())
            case Best():
                ordered = exp.Ordered(this=self._bare(part.ref), desc=part.is_descending, nulls_first=False)
                best = exp.select(self._bare(part.key)).from_(self._table(part.key.table)).order_by(ordered).limit(1)
                return exp.EQ(this=self._column(part.key), expression=best.subquery())
            case Given():
                return self._given(part.table, part.expression)
            case Without():
                return self._without(query, part)

    def _without(self, query: Query, part: Without) -> exp.Expr:
        """NOT IN over the first key of the way there, NULLs left out."""
        path = path_between(self._schema, query.root, part.table)
        if not path or len(path[0].pairs) != 1:
            raise Unjoined(part.table)
        own, other = path[0].pairs[0]
        first = path[0].table.name
        key = Ref(first, other)
        needed = [part.table, *(name for one in part.conditions for name in tables_of(one))]
        steps = [name for name in dict.fromkeys(needed) if name != first]
        inner = exp.select(self._column(key)).from_(self._table(first))
        # The table itself is joined only where its rows are asked for something.
        if len(path) > 1 and not part.conditions:
            steps = []
        for table, condition in self._joins(first, [first, *steps]):
            inner = inner.join(table, on=condition)
        for one in part.conditions:
            inner = inner.where(self._where(query, one))
        inner = inner.where(exp.Not(this=exp.Is(this=self._column(key), expression=exp.Null())))
        return exp.Not(this=exp.In(this=self._column(Ref(query.root, own)), query=inner.subquery()))

    def _condition(self, part: Condition) -> exp.Expr:
        column = self._column(part.ref)
        if part.window is not None:
            return self._window(part.ref, part.operator, part.window)
        if part.operator in ("like", "not like"):
            like = exp.Like(this=column, expression=exp.Literal.string(part.values[0]))
            return exp.Not(this=like) if part.operator == "not like" else like
        values = [self._value(part.ref, value) for value in part.values]
        if part.operator == "between":
            return exp.Between(this=column, low=values[0], high=values[1])
        if len(values) > 1:
            within = exp.In(this=column, expressions=values)
            return exp.Not(this=within) if part.operator == "!=" else within
        return _COMPARISONS[part.operator](this=column, expression=values[0])

    def _window(self, ref: Ref, operator: str, window: Window) -> exp.Expr:
        column = self._column(ref)
        if window.count:
            interval = exp.Interval(this=exp.Literal.string(str(window.count)), unit=exp.var(window.unit.upper()))
            return exp.GTE(this=column, expression=exp.Sub(this=exp.CurrentDate(), expression=interval))
        kind = self._kind(ref)
        start, end = exp.Literal.string(window.start), exp.Literal.string(window.end)
        if operator in (">", "<="):
            if kind == "datetime":
                after = exp.Literal.string(_next(window.end))
                return _COMPARISONS[">=" if operator == ">" else "<"](this=column, expression=after)
            return _COMPARISONS[operator](this=column, expression=end)
        if operator in ("<", ">="):
            return _COMPARISONS[operator](this=column, expression=start)
        if kind == "datetime":
            after = exp.Literal.string(_next(window.end))
            return exp.and_(exp.GTE(this=column, expression=start), exp.LT(this=column.copy(), expression=after))
        if window.is_day:
            return exp.EQ(this=column, expression=start)
        return exp.Between(this=column, low=start, high=end)

    def _value(self, ref: Ref, value: str) -> exp.Expr:
        is_number = re.fullmatch(r"-?\d+(\.\d+)?", value) is not None
        if is_number and self._kind(ref) not in ("text", "date", "datetime", "time"):
            return exp.Literal.number(value)
        return exp.Literal.string(value)

    def _kind(self, ref: Ref) -> str:
        table = self._schema.table(ref.table)
        column = None if table is None else table.column(ref.column)
        return "unknown" if column is None else column.kind

    def _given(self, table: str, expression: exp.Expr) -> exp.Expr:
        copy = expression.copy()
        for column in list(copy.find_all(exp.Column)):
            owner = self._schema.table(table)
            known = None if owner is None else owner.column(column.name)
            if known is None:
                raise Unjoined(column.name)
            new = self._column(Ref(table, known.name))
            if column is copy:
                return new
            column.replace(new)
        for aggregate in list(copy.find_all(exp.AggFunc)):
            if isinstance(copy, exp.Predicate):
                inner = exp.select(aggregate.copy()).from_(self._table(table))
                aggregate.replace(inner.subquery())
        return copy

    def _table(self, name: str) -> exp.Table:
        return exp.table_(self._identifier(name))

    def _column(self, ref: Ref) -> exp.Column:
        return exp.column(self._identifier(ref.column), table=self._identifier(ref.table))

    def _bare(self, ref: Ref) -> exp.Column:
        return exp.column(self._identifier(ref.column))

    def _identifier(self, name: str) -> exp.Identifier:
        is_plain = _PLAIN.fullmatch(name) is not None and name.upper() not in RESERVED
        return exp.to_identifier(name, quoted=not is_plain or (self._keeps_case and name != name.lower()))


def _next(day: str) -> str:
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()


def _tables(query: Query) -> Iterator[str]:
    items = [*query.select, *(order.item for order in query.order), *(having.item for having in query.having)]
    for item in items:
        if item.ref is not None:
            yield item.ref.table
        elif item.table:
            yield item.table
    for ref in query.group:
        yield ref.table
    yield from query.tables
