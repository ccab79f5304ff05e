"""The action fix."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from aiservice.core.errors import StatementRefused
from aiservice.sqlassist import gate
from aiservice.sqlassist.case import Case
from aiservice.sqlassist.dialect import Untranslatable, translate
from aiservice.sqlassist.explain import explained
from aiservice.sqlassist.explain.traps import traps
from aiservice.sqlassist.fix.naming import mended
from aiservice.sqlassist.fix.prose import without_prose
from aiservice.sqlassist.fix.text import has_gap, repairs
from aiservice.sqlassist.fix.witness import witnessed
from aiservice.sqlassist.model import Answer, Change, Refusal, Verification
from aiservice.sqlassist.names import Resolution
from aiservice.sqlassist.runner import RunFailed
from aiservice.sqlassist.schema import Schema

TRIES_MAX = 400
PARSED_MAX = 12
_DIALECTS = ("postgres", "mysql", "sqlite", "tsql", "bigquery", "duckdb", "snowflake", "oracle")


@dataclass(frozen=True, slots=True)
class Draft:
    """A statement on its way: parsed in `dialect`, with what was changed so far."""

    statement: exp.Expression
    dialect: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Mended:
    """A draft in the asked dialect, its names put right; `failure` is why it did not run, `is_run` that it did."""

    draft: Draft
    names: Resolution
    sql: str
    is_run: bool = False
    failure: str | None = None


def fix(case: Case) -> Answer:
    """The nearest statement that parses, resolves and runs; refused where there is none."""
    best: Mended | None = None
    good: Mended | None = None
    for draft in _drafts(case.task.query, case.task.dialect, _known(case.schema)):
        found = _mended(case, draft)
        if found is not None and _is_good(case, found):
            if not draft.changes or len(found.draft.changes) <= len(draft.changes):
                return _answer(case, found)
            # A repair after which names are wrong may be the wrong repair: another may need no more.
            if good is None or len(found.draft.changes) < len(good.draft.changes):
                good = found
        best = best or found
    if good is not None:
        return _answer(case, good)
    reason = "Nothing near this text is a statement that parses, has the schema's names and runs."
    if best is not None and best.failure:
        reason += f" The nearest one fails: {best.failure}."
    elif best is not None and best.names.problems:
        reason += f" The nearest one has a name that is nobody's: {best.names.problems[0].name}."
    missing = tuple(problem.name for problem in best.names.problems) if best is not None else ()
    refusal = Refusal("not_repairable", reason, missing)
    return Answer("fix", case.task.dialect, None, 0.0, is_verified=False, refused=refusal)


def _known(schema: Schema | None) -> frozenset[str]:
    if schema is None:
        return frozenset()
    names = {table.name.lower() for table in schema.tables}
    return frozenset(names | {column.name.lower() for table in schema.tables for column in table.columns})


def _drafts(query: str, dialect: str, known: frozenset[str]) -> Iterator[Draft]:
    """Parsed statements, the least changed first: as it is, in another dialect, without prose, repaired."""
    if len(query) > gate.STATEMENT_CHARACTERS_MAX:
        gate.parse(query, dialect)
    texts = list(without_prose(query))
    _refuse_two(query, dialect)
    for text, change in texts:
        given = () if change is None else (change,)
        for name in (dialect, *(other for other in _DIALECTS if other != dialect)):
            statement = _parsed(text, name)
            if statement is not None:
                yield Draft(statement, name, given)
    for text, change in texts:
        given = () if change is None else (change,)
        yield from _repaired(text, dialect, known, given)


def _refuse_two(query: str, dialect: str) -> None:
    """Two statements are two; what follows one and is no SQL is prose."""
    try:
        found = sqlglot.parse(query, read=dialect)
    except (SqlglotError, RecursionError):
        return
    statements = [one for one in found if one is not None and not isinstance(one, exp.Command | exp.Semicolon | exp.Alias | exp.Column)]
    if len(statements) > 1:
        raise StatementRefused(f"The query has {len(statements)} statements; send one at a time.", param="query")


def _repaired(text: str, dialect: str, known: frozenset[str], given: tuple[Change, ...]) -> Iterator[Draft]:
    """One repair, then two on top of each other; bounded."""
    tries, parsed, again = 0, 0, []
    for repair in repairs(text, dialect, known):
        tries += 1
        if tries > TRIES_MAX or parsed >= PARSED_MAX:
            return
        statement = _parsed(repair.text, dialect)
        if statement is not None:
            parsed += 1
            yield Draft(statement, dialect, (*given, repair.change))
        elif repair.change.rule in ("keyword", "quote", "comma"):
            again.append(repair)
    for first in again[:12]:
        for second in repairs(first.text, dialect, known):
            tries += 1
            if tries > TRIES_MAX or parsed >= PARSED_MAX:
                return
            statement = _parsed(second.text, dialect)
            if statement is not None:
                parsed += 1
                yield Draft(statement, dialect, (*given, first.change, second.change))


def _parsed(text: str, dialect: str) -> exp.Expression | None:
    if has_gap(text):
        return None
    try:
        found = [one for one in sqlglot.parse(text, read=dialect) if one is not None]
    except (SqlglotError, RecursionError):
        return None
    if len(found) != 1 or isinstance(found[0], exp.Command | exp.Alias | exp.Column | exp.Semicolon):
        return None
    statement = found[0]
    statement.meta["text"] = text
    return statement


def _mended(case: Case, draft: Draft) -> Mended | None:
    statement, changes, names = draft.statement, list(draft.changes), Resolution()
    if case.schema is not None:
        statement, renamed, names = mended(statement, case.schema)
        changes += renamed
        if case.task.question:
            changes += witnessed(statement, names, case.task.question)
    try:
        sql = translate(statement, draft.dialect, case.task.dialect)
    except Untranslatable as error:
        return Mended(replace(draft, changes=tuple(changes)), names, "", failure=str(error))
    again = _parsed(sql, case.task.dialect)
    if again is None:
        return None
    if draft.dialect != case.task.dialect:
        why = f"This is {draft.dialect}; said in {case.task.dialect}."
        changes.append(Change("dialect", str(statement.meta.get("text", ""))[:400] or sql, sql, why))
    result = Mended(Draft(again, case.task.dialect, tuple(changes)), names, sql)
    return _run(case, result)


def _run(case: Case, found: Mended) -> Mended:
    """Runs it where it only reads and its names are whole."""
    statement = found.draft.statement
    if case.schema is None or not found.names.is_whole or not isinstance(statement, exp.Query):
        return found
    # What the gate does not know for harmless is tried where there is nothing to harm.
    is_read = gate.objection(statement) is None
    try:
        (case.runner(statement) if is_read else case.scratch(statement)).run(statement)
    except RunFailed as error:
        return replace(found, failure=error.reason)
    return replace(found, is_run=True)


def _is_good(case: Case, found: Mended) -> bool:
    if not found.sql or found.failure is not None:
        return False
    return case.schema is None or found.names.is_whole


def _answer(case: Case, found: Mended) -> Answer:
    draft, names = found.draft, found.names
    objection = gate.objection(draft.statement)
    warnings = [] if objection is None else [f"It was mended by parsing alone and not run. {objection}"]
    verified: list[Verification] = ["parsed"]
    if case.schema is not None:
        verified.append("resolved")
    if found.is_run:
        verified.append("executed")
    is_same = not draft.changes
    return Answer(
        action="fix",
        dialect=case.task.dialect,
        sql=case.task.query.strip().rstrip(";") if is_same else found.sql,
        confidence=round(0.97**len(draft.changes) * (0.95 if found.is_run else 0.6), 3),
        is_verified=found.is_run and len(draft.changes) <= 3,
        verified_by=tuple(verified),
        explanation=explained(draft.statement, names, case.task.dialect),
        changes=draft.changes,
        warnings=tuple([*warnings, *traps(draft.statement, names)]),
    )
