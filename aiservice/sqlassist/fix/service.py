"""The action fix."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from aiservice.core.errors import StatementRefused
from aiservice.sqlassist import gate
from aiservice.sqlassist.case import Case
from aiservice.sqlassist.dialect import Untranslatable, foreign_to, translate
from aiservice.sqlassist.explain import explained
from aiservice.sqlassist.explain.traps import traps
from aiservice.sqlassist.fix.functions import known_functions
from aiservice.sqlassist.fix.grouping import grouped
from aiservice.sqlassist.fix.model import Draft, Repair, change
from aiservice.sqlassist.fix.naming import mended
from aiservice.sqlassist.fix.prose import bare, has_glyphs, is_start, statements
from aiservice.sqlassist.fix.search import Search, parses
from aiservice.sqlassist.fix.witness import witnessed
from aiservice.sqlassist.fix.words import words_of
from aiservice.sqlassist.model import Alternative, Answer, Refusal, Verification
from aiservice.sqlassist.names import Resolution, resolve
from aiservice.sqlassist.runner import RunFailed

READINGS_MAX = 14
BUDGET_S = 2.0
ALTERNATIVES_MAX = 3
_BODIES = frozenset({"FROM", "SET", "INTO", "TABLE", "VALUES"})


@dataclass(frozen=True, slots=True)
class Mended:
    """A repair said in the asked dialect; `failure` is why it is no answer, `is_run` that it ran."""

    repair: Repair
    names: Resolution
    sql: str = ""
    is_run: bool = False
    failure: str | None = None

    @property
    def is_good(self) -> bool:
        return self.failure is None


def fix(case: Case) -> Answer:
    """The nearest statement that parses, resolves and runs; refused where there is none.

    Raises `StatementRefused` for an empty query, one that is too long, and one of several statements.
    """
    good: list[Mended] = []
    failed: list[Mended] = []
    search, until_s = Search(case.task.dialect, case.schema), time.monotonic() + BUDGET_S
    for number, reading in enumerate(search.repairs(_draft(case))):
        least = min((one.repair.cost for one in good), default=None)
        if number >= READINGS_MAX or (least is not None and reading.cost >= least):
            break
        found = _mended(case, reading)
        (good if found.is_good else failed).append(found)
        if time.monotonic() > until_s:
            break
    if good:
        return _answer(case, sorted(good, key=lambda one: one.repair.cost))
    return _refused(case, failed)


def _draft(case: Case) -> Draft:
    """The text without what is around it; what follows its first statement is prose, or refused."""
    query, dialect = case.task.query, case.task.dialect
    if len(query) > gate.STATEMENT_CHARACTERS_MAX:
        gate.parse(query, dialect)
    whole = query.strip().rstrip(";").rstrip()
    is_plain = not has_glyphs(whole) and parses(whole, dialect) is not None
    draft = Draft(whole) if is_plain else bare(query)
    parts = statements(draft.text)
    if not parts:
        raise StatementRefused("The query is empty; send one SQL statement.", param="query")
    others = [part for part in parts[1:] if part != parts[0] and _is_statement(part, dialect)]
    if others and _is_statement(parts[0], dialect):
        count = len(others) + 1
        raise StatementRefused(f"The query has {count} statements; send one at a time.", param="query")
    if others:
        why = "What stands before the statement is no SQL."
        return draft.edited(others[0], change("prose", parts[0], "", why=why), 0.3)
    if len(parts) > 1:
        why = "What follows the statement is no SQL of its own."
        return draft.edited(parts[0], change("prose", "; ".join(parts[1:]), "", why=why), 0.3)
    return replace(draft, text=draft.text.rstrip().rstrip(";").rstrip())


def _is_statement(text: str, dialect: str) -> bool:
    """Whether a part of a text is SQL: it begins so and parses, or has the words that only statements have."""
    if not is_start(text):
        return False
    words = words_of(text)
    bodies = (word.text in _BODIES or word.text == "*" for word in words[1:])
    if len(words) > 1 and words[0].text.isupper() and words[1].text.isupper():
        return True
    return parses(text, dialect) is not None or any(bodies)


def _mended(case: Case, reading: Repair) -> Mended:
    """Names put right, then said in the asked dialect, then run."""
    repair = known_functions(reading, case.task.dialect)
    names = Resolution()
    if case.schema is not None:
        repair, names = mended(repair, case.schema)
        if names.problems:
            return Mended(repair, names, failure=f"nothing here is called {names.problems[0].name}")
        repair = grouped(witnessed(repair, case), case.schema, case.task.dialect)
    is_as_it_was = not repair.changes and repair.source == case.task.dialect and not case.task.error
    if is_as_it_was and case.schema is not None and not foreign_to(_text_of(case), case.task.dialect):
        return _run(case, Mended(repair, names, _text_of(case)))
    return _said(case, repair)


def _said(case: Case, repair: Repair) -> Mended:
    dialect, given = case.task.dialect, _text_of(case)
    try:
        sql = translate(repair.statement, repair.source, dialect)
    except Untranslatable as error:
        return Mended(repair, Resolution(), failure=f"{dialect} has no words for {error}")
    statement = parses(sql, dialect)
    if statement is None:
        return Mended(repair, Resolution(), failure=f"it cannot be said in {dialect}")
    if repair.source != dialect:
        why = f"This is {repair.source}; said in {dialect}."
        repair = repair.edited(statement, change("dialect", given, sql, why=why), 0.0)
    elif foreign := foreign_to(given, dialect):
        why = f"{dialect} does not have: {', '.join(foreign)}."
        repair = repair.edited(statement, change("dialect", given, sql, why=why), 0.0)
    elif case.task.error and not repair.changes and _spelling(sql) != _spelling(given):
        why = "The database did not read it as it was; this is the same in plainer words."
        repair = repair.edited(statement, change("spelling", given, sql, why=why), 0.0)
    names = resolve(statement, case.schema, dialect)
    if names.problems:
        return Mended(repair, names, sql, failure=f"nothing here is called {names.problems[0].name}")
    return _run(case, Mended(replace(repair, statement=statement), names, sql))


def _spelling(sql: str) -> list[str]:
    return [word.upper or word.text for word in words_of(sql)]


def _run(case: Case, found: Mended) -> Mended:
    """Only what reads is run, and only where the tables are known; unknown functions only on made rows."""
    statement = found.repair.statement
    if case.schema is None or not isinstance(statement, exp.Query):
        return found
    is_read = gate.objection(statement) is None
    unknown = [one.name for one in statement.find_all(exp.Anonymous)]
    if not is_read and not unknown:
        return found
    try:
        (case.runner(statement) if is_read else case.scratch(statement)).run(statement)
    except RunFailed as error:
        # Too slow or too much for the place says nothing about the statement.
        if error.kind == "time" or "too large" in error.reason or "too many" in error.reason:
            return found
        # A function of one's own, in a statement that is as it was, may well be there.
        is_own = not is_read and not found.repair.changes and case.task.dialect != "sqlite"
        return found if is_own else replace(found, failure=error.reason.rstrip("."))
    return replace(found, is_run=is_read)


def _text_of(case: Case) -> str:
    return case.task.query.strip().rstrip(";").rstrip()


def _answer(case: Case, ranked: Sequence[Mended]) -> Answer:
    found, dialect = ranked[0], case.task.dialect
    statement, names, changes = found.repair.statement, found.names, found.repair.changes
    objection = gate.objection(statement)
    warnings = [] if objection is None else [f"It was mended by parsing alone and not run. {objection}"]
    if objection is None and case.schema is not None and not found.is_run:
        warnings.append("It was not run to its end, so that nothing is known of its result.")
    verified: list[Verification] = ["parsed"]
    if case.schema is not None:
        verified.append("resolved")
    if found.is_run:
        verified.append("executed")
    # A question says that more was meant than that it runs.
    held = 0.45 if case.task.question else 0.97 if found.is_run else 0.6
    confidence = round(max(0.05, held - 0.12 * found.repair.cost), 3)
    return Answer(
        action="fix",
        dialect=dialect,
        sql=found.sql if changes else _text_of(case),
        confidence=confidence,
        is_verified=found.is_run and found.repair.cost <= 2.0 and not case.task.question,
        verified_by=tuple(verified),
        explanation=explained(statement, names, dialect),
        changes=changes,
        alternatives=tuple(_alternatives(ranked, confidence)),
        warnings=(*warnings, *traps(statement, names, dialect)),
    )


def _alternatives(ranked: Sequence[Mended], confidence: float) -> Iterator[Alternative]:
    seen = {ranked[0].sql}
    for other in ranked[1 : ALTERNATIVES_MAX + 1]:
        if other.sql not in seen:
            seen.add(other.sql)
            behind = 0.15 + 0.12 * (other.repair.cost - ranked[0].repair.cost)
            yield Alternative(other.sql, round(max(0.01, confidence - behind), 3))


def _refused(case: Case, failed: Sequence[Mended]) -> Answer:
    reason = "Nothing near this text is a statement that parses, has the schema's names and runs."
    missing: tuple[str, ...] = ()
    if failed:
        nearest = min(failed, key=lambda one: one.repair.cost)
        reason += f" The nearest one fails: {nearest.failure}."
        missing = tuple(problem.name for problem in nearest.names.problems)
    refusal = Refusal("not_repairable", reason, missing)
    return Answer("fix", case.task.dialect, None, 0.0, is_verified=False, refused=refusal)
