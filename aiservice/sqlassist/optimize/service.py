"""The action optimize."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice

from sqlglot import exp
from sqlglot.errors import SqlglotError

from aiservice.core.errors import StatementRefused
from aiservice.sqlassist import gate
from aiservice.sqlassist.case import Case
from aiservice.sqlassist.explain import explained
from aiservice.sqlassist.model import Answer, Change, Explanation, Plan, Refusal, Verification
from aiservice.sqlassist.names import Resolution, resolve
from aiservice.sqlassist.optimize.advice import advice
from aiservice.sqlassist.optimize.edit import Rule
from aiservice.sqlassist.optimize.ground import Ground
from aiservice.sqlassist.optimize.indexes import indexes_for
from aiservice.sqlassist.optimize.proof import GAIN, Cost, Prover
from aiservice.sqlassist.optimize.rules import RULES
from aiservice.sqlassist.schema import Schema

PLACES_MAX = 6
KEPT_MAX = 12
SEARCH_S = 3.0
CONFIDENCE = 0.95
NO_IMPROVEMENT = "No improvement found."


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A statement that a rule made of another."""

    statement: exp.Expr
    change: Change


def optimize(case: Case) -> Answer:
    """The statement, cheaper where that is proven; raises `StatementRefused` for what does not only read."""
    dialect = case.task.dialect
    statement = gate.read_one(case.task.query, dialect)
    gate.ensure_read(statement)
    if case.schema is None:
        return _unproven(case, statement)
    names = resolve(statement, case.schema)
    if not names.is_whole:
        return _unreadable(case, names)
    with ExitStack() as stack:
        prover = Prover(case.schema, dialect, statement, stack, case.live)
        failure = prover.runs()
        before = None if failure is not None else prover.cost(statement)
        if before is None:
            why = f"It did not run on a scratch copy, so that nothing could be proven: {failure}." if failure else None
            return _answer(case, statement, warnings=(NO_IMPROVEMENT, *((why,) if why else ())))
        search = Search(prover, statement, before)
        search.run()
        plan = Plan(_shown(before), _shown(search.cost) if search.changes else None)
        indexes = tuple(indexes_for(search.best, prover)) if time.monotonic() < search.until_s else ()
        return _answer(case, search.best, changes=tuple(search.changes), plan=plan, indexes=indexes)


@dataclass(slots=True)
class Search:
    """The best statement so far, what it costs, and the changes that led to it."""

    prover: Prover
    best: exp.Expr
    cost: Cost
    changes: list[Change] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)
    until_s: float = 0.0

    def run(self) -> None:
        """Applies the rules in turn, each as long as it helps and there is time."""
        self.until_s = time.monotonic() + SEARCH_S
        for name, rule in RULES.items():
            while len(self.changes) < KEPT_MAX and self._step(name, rule):
                pass

    def _step(self, name: str, rule: Rule) -> bool:
        """Takes the first place where the rule makes the statement cheaper and leaves its rows the same."""
        for rewrite in rewrites(name, rule, self.best, prover=self.prover):
            sql = rewrite.statement.sql(dialect=self.prover.dialect)
            if time.monotonic() > self.until_s:
                return False
            if sql in self.tried:
                continue
            self.tried.add(sql)
            after = self.prover.cost(rewrite.statement)
            if after is None or after.cost >= self.cost.cost * (1 - GAIN):
                continue
            if self.prover.is_equal(rewrite.statement) and self.prover.is_cheaper_again(self.best, rewrite.statement):
                self.best, self.cost = rewrite.statement, after
                self.changes.append(rewrite.change)
                return True
        return False


def rewrites(name: str, rule: Rule, statement: exp.Expr, *, prover: Prover) -> Iterator[Rewrite]:
    """What a rule makes of a statement, one place at a time, as the dialect reads it again."""
    schema, dialect = prover.schema, prover.dialect
    count = len(list(islice(rule(Ground(statement, schema, dialect)), PLACES_MAX)))
    for place in range(count):
        work = statement.copy()
        edit = next(islice(rule(Ground(work, schema, dialect)), place, None))
        before = edit.node.sql(dialect=dialect)
        node = edit.apply()
        change = Change(name, before, node.sql(dialect=dialect), edit.why)
        again = _read_again(node.root(), schema, dialect)
        if again is not None:
            yield Rewrite(again, change)


def _read_again(statement: exp.Expr, schema: Schema, dialect: str) -> exp.Expr | None:
    """None where the text does not parse, resolve or pass the gate: then it is no rewrite."""
    try:
        again = gate.read_one(statement.sql(dialect=dialect), dialect)
        gate.ensure_read(again)
    except (SqlglotError, StatementRefused):
        return None
    return again if resolve(again, schema).is_whole else None


def _shown(cost: Cost) -> dict[str, object]:
    return {"unit": cost.unit, "cost": cost.cost, "text": cost.text}


def _answer(
    case: Case,
    statement: exp.Expr,
    *,
    changes: tuple[Change, ...] = (),
    warnings: tuple[str, ...] = (),
    plan: Plan | None = None,
    indexes: tuple[str, ...] = (),
) -> Answer:
    """The given text where nothing was changed."""
    dialect = case.task.dialect
    query = case.task.query.strip()
    sql = statement.sql(dialect=dialect, pretty="\n" in query) if changes else query
    verified: tuple[Verification, ...] = ("parsed", "resolved")
    if plan is not None:
        verified += ("executed",)
    if changes:
        verified += ("equal_results", "cheaper_plan")
    none = (NO_IMPROVEMENT,) if not changes and not warnings else ()
    return Answer(
        "optimize",
        dialect,
        sql,
        CONFIDENCE,
        is_verified=plan is not None,
        verified_by=verified,
        explanation=_explained(statement, case.schema, dialect),
        changes=changes,
        warnings=(*warnings, *none, *advice(statement, case.schema, dialect)),
        plan=plan,
        indexes=indexes,
    )


def _explained(statement: exp.Expr, schema: Schema | None, dialect: str) -> Explanation:
    return explained(statement, resolve(statement, schema or Schema(())), dialect)


def _unproven(case: Case, statement: exp.Expr) -> Answer:
    """Without a schema nothing can be run: advice alone."""
    dialect = case.task.dialect
    warnings = (NO_IMPROVEMENT, "There is no schema, so that nothing could be proven; send one, or name a database.")
    return Answer(
        "optimize",
        dialect,
        case.task.query.strip(),
        0.0,
        is_verified=False,
        verified_by=("parsed",),
        explanation=_explained(statement, None, dialect),
        warnings=(*warnings, *advice(statement, None, dialect)),
    )


def _unreadable(case: Case, names: Resolution) -> Answer:
    missing = tuple(dict.fromkeys(problem.name for problem in names.problems))
    reason = (
        f"The schema has not, or not once, what the statement names: {', '.join(missing)}; the action fix may help."
    )
    refusal = Refusal("unreadable", reason, missing)
    return Answer("optimize", case.task.dialect, None, 0.0, is_verified=False, refused=refusal)
