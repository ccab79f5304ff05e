"""The action explain."""

from sqlglot import exp

from aiservice.core.errors import StatementRefused
from aiservice.sqlassist import gate
from aiservice.sqlassist.case import Case
from aiservice.sqlassist.explain.facts import facts_of
from aiservice.sqlassist.explain.rewording import keeps_facts
from aiservice.sqlassist.explain.sentences import sentences
from aiservice.sqlassist.explain.traps import traps
from aiservice.sqlassist.model import Answer, Explanation, Plan, Verification
from aiservice.sqlassist.names import Resolution, Unresolved, resolve
from aiservice.sqlassist.runner import RunFailed

_OTHERS = ("postgres", "mysql", "sqlite", "tsql", "bigquery", "duckdb", "snowflake", "oracle")


def explain(case: Case) -> Answer:
    """The statement in words. It is read, never run; on a registered database its plan is asked for."""
    statement, dialect, warnings = read_anyhow(case.task.query, case.task.dialect)
    names = resolve(statement, case.schema, dialect)
    explanation = explained(statement, names, dialect)
    for text in case.task.proposals:
        if keeps_facts(text, explanation.facts, case.schema):
            explanation = Explanation(text.strip(), explanation.facts)
            break
    is_resolved = case.schema is not None and names.is_whole
    verified: tuple[Verification, ...] = ("parsed", "resolved") if is_resolved else ("parsed",)
    warnings += [said(problem) for problem in names.problems]
    warnings += traps(statement, names)
    return Answer(
        action="explain",
        dialect=dialect,
        sql=case.task.query.strip(),
        confidence=1.0 if is_resolved or case.schema is None else 0.5,
        is_verified=is_resolved,
        verified_by=verified,
        explanation=explanation,
        warnings=tuple(dict.fromkeys(warnings)),
        plan=_plan(case, statement, dialect),
    )


def explained(statement: exp.Expression, names: Resolution, dialect: str) -> Explanation:
    """Facts and sentences of a statement whose names were resolved."""
    return Explanation("\n".join(sentences(statement, names, dialect)), facts_of(statement, names, dialect))


def read_anyhow(sql: str, dialect: str) -> tuple[exp.Expression, str, list[str]]:
    """The statement and the dialect it could be read in: the asked one, else the first other, with a warning."""
    try:
        return gate.read_one(sql, dialect), dialect, []
    except StatementRefused as refusal:
        for other in _OTHERS:
            try:
                statement = gate.read_one(sql, other)
            except StatementRefused:
                continue
            return statement, other, [f"This is no {dialect}; it was read as {other}."]
        raise refusal from None


def said(problem: Unresolved) -> str:
    """A name that is nobody's, as a warning."""
    hint = f"; did you mean {problem.nearest}?" if problem.nearest else ""
    words = {
        "table": f"There is no table {problem.name}{hint}",
        "column": f"There is no column {problem.name} here{hint}",
        "alias": f"Nothing in the query is called {problem.name}{hint}",
        "ambiguous": f"{problem.name} is a column of more than one table of the query; say whose",
    }[problem.kind]
    return words if words.endswith("?") else f"{words}."


def _plan(case: Case, statement: exp.Expression, dialect: str) -> Plan | None:
    if case.live is None or gate.objection(statement) is not None or dialect != case.live.dialect:
        return None
    try:
        return Plan(case.live.plan(statement))
    except RunFailed:
        return None
