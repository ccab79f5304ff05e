"""What the question and the database's values say about a statement: texts as they are spelled, dates as they are kept,
keys that are compared with a name, and conditions that nobody asked for."""

import re
from collections.abc import Iterator, Sequence

from sqlglot import exp

from aiservice.sqlassist.case import Case
from aiservice.sqlassist.fix.joining import Edit, identifier
from aiservice.sqlassist.fix.model import Repair, change
from aiservice.sqlassist.names import Resolution, resolve
from aiservice.sqlassist.runner import RunFailed
from aiservice.sqlassist.schema import Column, ForeignKey, Schema, Table

_QUOTED = re.compile(r"[\"'“‘]([^\"'“”‘’]{2,80})[\"'”’]")
_ISO = re.compile(r"^\d{4}-\d{2}-\d{2}$")
_YEAR_FIRST = re.compile(r"^(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})$")
_YEAR_LAST = re.compile(r"^(?P<month>\d{1,2})[/-](?P<day>\d{1,2})[/-](?P<year>\d{4})$")
_LABELS = ("name", "title", "label", "description")
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In)
CHECKED_MAX = 6
SAMPLED = 5


def witnessed(repair: Repair, case: Case) -> Repair:
    """A repair whose texts are those of the question and of the database, where these tell."""
    if case.schema is None:
        return repair
    statement = repair.statement
    for edit in _spelled(statement, case.task.question or ""):
        repair = repair.edited(statement, edit.change, edit.cost)
    names = resolve(statement, case.schema, repair.source)
    for edit in [*_dates(statement, names, case), *_keys(statement, names, case)]:
        repair = repair.edited(statement, edit.change, edit.cost)
    if case.task.question and case.live is not None:
        for edit in _unasked(statement, case):
            repair = repair.edited(statement, edit.change, edit.cost)
    return repair


def _spelled(statement: exp.Expr, question: str) -> Iterator[Edit]:
    """`'yearly kickoff'` is asked for as "Yearly Kickoff"."""
    spelled = {text.lower(): text for text in _QUOTED.findall(question)}
    for literal in statement.find_all(exp.Literal):
        other = spelled.get(literal.name.lower()) if literal.is_string else None
        if other is not None and other != literal.name:
            before = literal.sql()
            literal.set("this", other)
            yield Edit(change("value", before, literal.sql(), why="The question spells it so."), 0.3)


def _dates(statement: exp.Expr, names: Resolution, case: Case) -> Iterator[Edit]:
    """A date that is written otherwise than the column's own are."""
    for column, literal, known in _compared(statement, names):
        match = _YEAR_FIRST.match(literal.name) or _YEAR_LAST.match(literal.name)
        if match is None or _ISO.match(literal.name) or not _keeps_iso(known, names.of(column), case):
            continue
        month, day = int(match["month"]), int(match["day"])
        if month > 12 >= day:
            month, day = day, month
        if not (1 <= month <= 12 and 1 <= day <= 31):
            continue
        before = literal.sql()
        literal.set("this", f"{match['year']}-{month:02d}-{day:02d}")
        yield Edit(change("value", before, literal.sql(), why=f"{column.name} keeps dates as year-month-day."), 0.3)


def _keeps_iso(known: Column, home: tuple[Table, Column] | None, case: Case) -> bool:
    """Whether a column's dates begin with the year: by its type, by known values, or by some of the database's."""
    if known.kind in ("date", "datetime"):
        return True
    values: Sequence[str] = known.values
    if not values and home is not None and case.live is not None:
        column, table = exp.to_identifier(known.name, quoted=True), exp.to_identifier(home[0].name, quoted=True)
        query = exp.Select(
            expressions=[exp.Column(this=column)],
            from_=exp.From(this=exp.Table(this=table)),
            where=exp.Where(this=exp.Not(this=exp.Is(this=exp.Column(this=column.copy()), expression=exp.Null()))),
            limit=exp.Limit(expression=exp.Literal.number(SAMPLED)),
        )
        try:
            values = [str(row[0]) for row in case.live.run(query, rows_max=SAMPLED).rows]
        except RunFailed:
            return False
    return bool(values) and all(_ISO.match(value[:10]) for value in values)


def _compared(statement: exp.Expr, names: Resolution) -> Iterator[tuple[exp.Column, exp.Literal, Column]]:
    """The texts that a column of a table is compared with."""
    for literal in list(statement.find_all(exp.Literal)):
        pair = literal.parent
        if not literal.is_string or not isinstance(pair, _COMPARISONS):
            continue
        column = pair.this if pair.this is not literal else pair.expression
        known = names.of(column) if isinstance(column, exp.Column) else None
        if known is not None:
            yield column, literal, known[1]


def _keys(statement: exp.Expr, names: Resolution, case: Case) -> Iterator[Edit]:
    """A key that is compared with a text which is the name of what it points to: the name is asked for there."""
    schema, question = case.schema or Schema(()), _plain(case.task.question or "")
    for column, literal, known in list(_compared(statement, names)):
        home = names.of(column)
        pair, select = column.parent, column.find_ancestor(exp.Select)
        if home is None or not isinstance(pair, exp.EQ) or not isinstance(select, exp.Select):
            continue
        key = next((one for one in home[0].foreign_keys if one.columns == (known.name,)), None)
        target = None if key is None else schema.table(key.table)
        label = None if target is None or literal.name in known.values else _label_of(target, literal.name, question)
        if key is None or target is None or label is None or known.kind not in ("text", "integer", "unknown"):
            continue
        before = pair.sql()
        _select_key(pair, key, (target, label, literal))
        why = f"{column.name} holds keys of {target.name}, not names."
        yield Edit(change("key_value", before, pair.sql(), why=why), 1.0)


def _select_key(pair: exp.EQ, key: ForeignKey, named: tuple[Table, Column, exp.Literal]) -> None:
    """`link = 'name'` becomes `link IN (SELECT key FROM target WHERE label = 'name')`."""
    target, label, literal = named
    column = pair.this if isinstance(pair.this, exp.Column) else pair.expression
    query = exp.Select(
        expressions=[exp.Column(this=identifier(key.references[0]))],
        from_=exp.From(this=exp.Table(this=identifier(target.name))),
        where=exp.Where(this=exp.EQ(this=exp.Column(this=identifier(label.name)), expression=literal.copy())),
    )
    pair.replace(exp.In(this=column.copy(), query=exp.Subquery(this=query)))


def _label_of(table: Table, text: str, question: str) -> Column | None:
    """The column that has the text among its values, else the one that is called a name or a title."""
    keys = set(table.primary_key) | {name for key in table.foreign_keys for name in key.columns}
    columns = [one for one in table.columns if one.kind in ("text", "unknown") and one.name not in keys]
    holding = [one for one in columns if text in one.values]
    if holding:
        return holding[0]
    if not re.search(r"[ a-z]", text) or (question and _plain(text) not in question):
        return None
    named = [one for label in _LABELS for one in columns if label in one.name.lower()]
    return named[0] if named else None


def _unasked(statement: exp.Expr, case: Case) -> Iterator[Edit]:
    """A condition whose text is in no row and in no word of the question was made up."""
    assert case.live is not None
    question = _plain(case.task.question or "")
    names = resolve(statement, case.schema, case.task.dialect)
    for checked, (column, literal, known) in enumerate(list(_compared(statement, names))):
        pair, home = column.parent, names.of(column)
        if (
            checked >= CHECKED_MAX
            or home is None
            or not isinstance(pair, exp.EQ)
            or known.kind not in ("text", "unknown")
        ):
            continue
        if _plain(literal.name) in question or not isinstance(pair.parent, exp.And) or _is_kept(case, home, literal):
            continue
        before = pair.sql()
        other = pair.parent.expression if pair.parent.this is pair else pair.parent.this
        pair.parent.replace(other.copy())
        why = f"No row has {literal.name!r} as {column.name}, and the question does not ask for it."
        yield Edit(change("condition", before, "", why=why), 0.8)


def _is_kept(case: Case, home: tuple[Table, Column], literal: exp.Literal) -> bool:
    """Whether a row of the registered database has the text; a database that does not say so counts as yes."""
    assert case.live is not None
    table, column = home
    if literal.name in column.values:
        return True
    query = exp.Select(
        expressions=[exp.Literal.number(1)],
        from_=exp.From(this=exp.Table(this=exp.to_identifier(table.name, quoted=True))),
        where=exp.Where(
            this=exp.EQ(this=exp.Column(this=exp.to_identifier(column.name, quoted=True)), expression=literal.copy())
        ),
        limit=exp.Limit(expression=exp.Literal.number(1)),
    )
    try:
        return bool(case.live.run(query, rows_max=1).rows)
    except RunFailed:
        return True


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
