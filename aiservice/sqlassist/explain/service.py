"""The action explain."""

from collections.abc import Iterator

from sqlglot import exp

from aiservice.core.errors import StatementRefused
from aiservice.sqlassist import gate
from aiservice.sqlassist.case import Case
from aiservice.sqlassist.explain.facts import facts_of
from aiservice.sqlassist.explain.rewording import asked, keeps_facts
from aiservice.sqlassist.explain.sentences import sentences
from aiservice.sqlassist.explain.showing import shown_name, shown_sql
from aiservice.sqlassist.explain.traps import traps
from aiservice.sqlassist.model import Answer, Brief, Explanation, Plan, Verification
from aiservice.sqlassist.names import Resolution, Unresolved, resolve
from aiservice.sqlassist.runner import RunFailed

_OTHERS = (
    "postgres", "mysql", "sqlite", "tsql", "bigquery", "duckdb", "snowflake", "oracle", "clickhouse", "databricks",
)  # fmt: skip
# Words that are no statement are read as a column, a call, or a name for one.
_NO_STATEMENTS = (exp.Condition, exp.Alias, exp.Aliases, exp.Tuple, exp.Identifier, exp.Var)
# What sqlglot raises, instead of an error of its own, for some texts that are no SQL.
_SLIPS = (AttributeError, IndexError, KeyError, TypeError, ValueError)
_PROBLEMS_MAX = 20


def explain(case: Case) -> Answer:
    """The statement in words. It is read, never run; on a registered database its plan is asked for.

    Raises `StatementRefused` for none, for several, and for what can be read in no dialect.
    """
    statement, dialect, warnings = read_anyhow(case.task.query, case.task.dialect)
    try:
        return _answer(case, statement, dialect, warnings=warnings)
    except RecursionError:
        raise StatementRefused("The query is nested too deeply to be explained.", param="query") from None


def _answer(case: Case, statement: exp.Expr, dialect: str, *, warnings: list[str]) -> Answer:
    names = resolve(statement, case.schema, dialect)
    explanation = _reworded(case, explained(statement, names, dialect))
    is_resolved = case.schema is not None and names.is_whole
    verified: tuple[Verification, ...] = ("parsed", "resolved") if is_resolved else ("parsed",)
    warnings = [*warnings, *_held_back(statement)]
    problems = [said(problem) for problem in names.problems[:_PROBLEMS_MAX]]
    return Answer(
        action="explain",
        dialect=dialect,
        sql=case.task.query.strip(),
        confidence=1.0 if is_resolved or case.schema is None else 0.5,
        is_verified=is_resolved,
        verified_by=verified,
        explanation=explanation,
        warnings=tuple(dict.fromkeys((*warnings, *problems, *traps(statement, names, dialect)))),
        plan=_plan(case, statement, dialect),
    )


def _held_back(statement: exp.Expr) -> Iterator[str]:
    """Why a query is one that we would not run."""
    reason = gate.objection(statement)
    if isinstance(statement, exp.Query) and reason is not None:
        yield f"It is described, and would not be run: {reason}"


def brief(case: Case) -> Brief:
    """What to ask a model for: our own sentences in other words. Raises `StatementRefused` as `explain` does."""
    statement, dialect, _ = read_anyhow(case.task.query, case.task.dialect)
    return asked(explained(statement, resolve(statement, case.schema, dialect), dialect).text)


def explained(statement: exp.Expr, names: Resolution, dialect: str) -> Explanation:
    """Facts and sentences of a statement whose names were resolved."""
    return Explanation("\n".join(sentences(statement, names, dialect)), facts_of(statement, names, dialect))


def read_anyhow(sql: str, dialect: str) -> tuple[exp.Expr, str, list[str]]:
    """The statement and the dialect it could be read in: the asked one, else the first other, with a warning."""
    try:
        found = _read(sql, dialect)
    except StatementRefused as refusal:
        for other in _OTHERS:
            try:
                found = [] if other == dialect else _read(sql, other)
            except StatementRefused:
                continue
            if len(found) == 1 and not isinstance(found[0], exp.Command):
                return found[0], other, [f"This could not be read as {dialect}; it was read as {other}."]
        raise refusal from None
    statement = found[0] if len(found) == 1 else gate.read_one(sql, dialect)
    if isinstance(statement, _NO_STATEMENTS) and not isinstance(statement, exp.Query):
        raise StatementRefused(f"The query is no SQL statement: {shown_sql(statement, dialect)}.", param="query")
    return statement, dialect, []


def _read(sql: str, dialect: str) -> list[exp.Expr]:
    """All statements; sqlglot lets some pass that end in the middle."""
    try:
        found = gate.parse(sql, dialect)
    except _SLIPS:
        raise StatementRefused(f"The query could not be read as {dialect}.", param="query") from None
    if any(node.error_messages() for statement in found for node in statement.walk()):
        raise StatementRefused(f"The query could not be read as {dialect}: something is missing in it.", param="query")
    return found


def said(problem: Unresolved) -> str:
    """A name that is nobody's, as a warning."""
    name = shown_name(problem.name)
    hint = f"; did you mean {shown_name(problem.nearest)}?" if problem.nearest else ""
    words = {
        "table": f"There is no table {name}{hint}",
        "column": f"There is no column {name} here{hint}",
        "alias": f"Nothing in the query is called {name}{hint}",
        "ambiguous": f"{name} is a column of more than one table of the query; say whose",
    }[problem.kind]
    return words if words.endswith("?") else f"{words}."


def _reworded(case: Case, own: Explanation) -> Explanation:
    """The first proposal of a model that says the same, else our own words."""
    for text in case.task.proposals:
        if keeps_facts(text, own.facts, case.schema, given=own.text):
            return Explanation(text.strip(), own.facts)
    return own


def _plan(case: Case, statement: exp.Expr, dialect: str) -> Plan | None:
    if case.live is None or gate.objection(statement) is not None or dialect != case.live.dialect:
        return None
    try:
        return Plan(case.live.plan(statement))
    except RunFailed:
        return None
