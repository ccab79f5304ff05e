"""Which statement is answered: the machine's readings and a model's proposals, run and grouped by their results."""

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from sqlglot import exp

from aiservice.core.errors import StatementRefused
from aiservice.sqlassist import gate
from aiservice.sqlassist.case import Case
from aiservice.sqlassist.fix import fix
from aiservice.sqlassist.generate.confidence import ANSWERED, VERIFIED, sureness
from aiservice.sqlassist.generate.doubts import is_doubtful
from aiservice.sqlassist.generate.readings import Reading
from aiservice.sqlassist.names import resolve
from aiservice.sqlassist.runner import Rows, RunFailed, Runner

PROPOSALS_MAX = 16
PROPOSAL_CHARACTERS_MAX = 4_000
_FENCE = re.compile(r"^\s*```\w*\s*(.*?)\s*```\s*$", re.DOTALL)
ALTERNATIVES_MAX = 3
# What a proposal alone is worth, and more of the same.
ALONE = 0.35
AGREED = (0.55, 0.7, 0.78, 0.82, 0.85, 0.87)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A statement that may be the answer; `reading` None is a model's proposal."""

    sql: str
    statement: exp.Expr
    reading: Reading | None = None
    rows: Rows | None = None

    @property
    def is_run(self) -> bool:
        return self.rows is not None


@dataclass(slots=True)
class Group:
    """Candidates of one result."""

    members: list[Candidate] = field(default_factory=list)

    @property
    def votes(self) -> int:
        return sum(one.reading is None for one in self.members)

    @property
    def best(self) -> Candidate:
        """A reading of the machine before a proposal."""
        return next((one for one in self.members if one.reading is not None), self.members[0])

    @property
    def own(self) -> float:
        """The sureness of the best reading in it, 0 for none."""
        return max([sureness(one.reading, one.rows) for one in self.members if one.reading is not None] or [0.0])

    @property
    def is_empty(self) -> bool:
        rows = self.members[0].rows
        return rows is not None and not rows.rows


@dataclass(frozen=True, slots=True)
class Choice:
    """What is answered, how sure it is, and what else it might have been."""

    best: Candidate
    confidence: float
    is_verified: bool
    others: tuple[tuple[Candidate, float], ...] = ()
    warnings: tuple[str, ...] = ()


def choose(case: Case, readings: Sequence[Reading]) -> Choice | None:
    """None where nothing is sure enough to be answered."""
    whole = [
        Candidate(one.sql, one.statement, one)
        for one in readings
        if one.is_whole and not _is_doubtful(case, one.statement)
    ]
    proposed, warnings = _proposed(case)
    candidates = [*whole, *proposed]
    if not candidates:
        return None
    runner = case.runner(*(one.statement for one in candidates))
    groups: dict[Hashable, Group] = {}
    for candidate in candidates:
        ran = _run(runner, candidate)
        if ran is None:
            warnings.append("A proposal did not run, and was left out." if candidate.reading is None else "")
            continue
        groups.setdefault(_key(ran), Group()).members.append(ran)
    if not groups:
        return None
    ranked = sorted(groups.values(), key=lambda group: -_worth(group, len(proposed)))
    best = ranked[0]
    worth = _worth(best, len(proposed))
    if worth < (ANSWERED if not proposed else ALONE - 0.05):
        return None
    rivals = [group for group in ranked[1:] if group.own]
    if rivals and best.own and not best.votes and best.own < VERIFIED:
        worth -= 0.05
    others = tuple(
        (group.best, min(_worth(group, len(proposed)), 0.9 - worth / 2)) for group in ranked[1 : ALTERNATIVES_MAX + 1]
    )
    is_verified = best.own >= VERIFIED or (best.own >= ANSWERED and best.votes >= 2)
    return Choice(best.best, min(worth, 0.98), is_verified, others, tuple(filter(None, dict.fromkeys(warnings))))


def _is_doubtful(case: Case, statement: exp.Expr) -> bool:
    return case.schema is not None and is_doubtful(case.task.query, statement, case.schema)


def _worth(group: Group, proposals: int) -> float:
    """A verified reading comes first, then what most proposals agree on; a reading and a proposal add up."""
    own, votes = group.own, group.votes
    if own >= VERIFIED:
        return min(0.98, own + 0.01 * votes)
    said = 0.0
    if votes:
        said = ALONE if votes == 1 and proposals > 1 else AGREED[min(votes - 1, len(AGREED) - 1)]
        said -= 0.1 if group.is_empty else 0.0
    if own and votes:
        return min(0.95, 1 - (1 - own) * (1 - said))
    return max(own, said)


def _proposed(case: Case) -> tuple[list[Candidate], list[str]]:
    """A model's statements that only read and whose names are the schema's, near names put right."""
    found, warnings = [], []
    for text in case.task.proposals[:PROPOSALS_MAX]:
        candidate = _candidate(case, text)
        if candidate is None:
            warnings.append("A proposal was no statement that reads this schema, and was left out.")
        else:
            found.append(candidate)
    return found, warnings


def _candidate(case: Case, text: str) -> Candidate | None:
    """As it is where it reads and resolves, else as the action fix mends it."""
    sql = _FENCE.sub(r"\1", text).strip().rstrip(";")
    found = _readable(case, sql)
    if found is None and len(text) <= PROPOSAL_CHARACTERS_MAX:
        task = msgspec.structs.replace(case.task, action="fix", query=text, question=case.task.query, proposals=())
        try:
            answer = fix(replace(case, task=task))
        except StatementRefused:
            return None
        found = _readable(case, answer.sql) if answer.sql else None
    return found


def _readable(case: Case, sql: str) -> Candidate | None:
    try:
        statement = gate.read_one(sql, case.task.dialect)
        gate.ensure_read(statement)
    except StatementRefused:
        return None
    if not resolve(statement, case.schema, case.task.dialect).is_whole:
        return None
    return Candidate(statement.sql(dialect=case.task.dialect), statement)


def _run(runner: Runner, candidate: Candidate) -> Candidate | None:
    try:
        rows = runner.run(candidate.statement)
    except RunFailed as error:
        # A place that cannot run it says nothing about it; one that finds it wrong does.
        if candidate.reading is None or error.kind == "error":
            return None
        return candidate
    return Candidate(candidate.sql, candidate.statement, candidate.reading, rows)


def _key(candidate: Candidate) -> Hashable:
    """The rows as a bag, the order of columns left out; what did not run is alone."""
    if candidate.rows is None:
        return candidate.sql
    ordered = candidate.statement.args.get("order") is not None
    rows = [tuple(sorted(map(_plain, row))) for row in candidate.rows.rows]
    return (ordered, tuple(rows)) if ordered else frozenset(Counter(rows).items())


def _plain(cell: Any) -> str:
    if isinstance(cell, bool | int | float):
        return f"{round(float(cell), 6):g}" if abs(cell) < 1e6 else repr(float(cell))
    return repr(cell)
