"""The action generate."""

import sqlglot

from aiservice.core.errors import StatementRefused
from aiservice.sqlassist import gate
from aiservice.sqlassist.case import Case
from aiservice.sqlassist.explain import explained
from aiservice.sqlassist.explain.traps import traps
from aiservice.sqlassist.generate.choose import Choice, choose
from aiservice.sqlassist.generate.prompt import prompt
from aiservice.sqlassist.generate.readings import marks_of, read
from aiservice.sqlassist.generate.refuse import no_schema, refusal
from aiservice.sqlassist.model import Alternative, Answer, Brief, Verification
from aiservice.sqlassist.names import resolve

QUESTION_CHARACTERS_MAX = 4_000
_WRITES = frozenset(
    {"insert", "update", "delete", "drop", "truncate", "alter", "create", "grant", "revoke", "merge", "replace"}
)


def generate(case: Case) -> Answer:
    """A statement that answers the question, or the reason why there is none.

    Raises `StatementRefused` for a question that asks to change something, that is empty, or that is too long.
    """
    _ensure_question(case.task.query, case.task.dialect)
    if case.schema is None:
        return Answer("generate", case.task.dialect, None, 0.0, is_verified=False, refused=no_schema())
    found = read(case, case.schema)
    choice = choose(case, found.readings)
    if choice is None:
        return Answer("generate", case.task.dialect, None, 0.0, is_verified=False, refused=refusal(found))
    return _answer(case, choice)


def brief(case: Case) -> Brief | None:
    """What a capable model is asked; None without a schema."""
    if case.schema is None or not case.task.query.strip():
        return None
    marks = marks_of(case.task.query[:QUESTION_CHARACTERS_MAX], case.task.context, case.schema)
    return prompt(case.task, case.schema, marks)


def _ensure_question(question: str, dialect: str) -> None:
    words = question.split()
    if not words:
        raise StatementRefused("The query is empty; ask a question.", param="query")
    if len(question) > QUESTION_CHARACTERS_MAX:
        raise StatementRefused(
            f"The question has {len(question):,} characters; {QUESTION_CHARACTERS_MAX:,} are the most.", param="query"
        )
    if words[0].lower().strip("(;") in _WRITES:
        raise StatementRefused("Only statements that read are written; this asks to change something.", param="query")
    if ";" in question:
        for part in question.split(";"):
            if _is_write(part, dialect):
                raise StatementRefused("The question has a statement in it that does not only read.", param="query")


def _is_write(text: str, dialect: str) -> bool:
    first = text.split()[:1]
    if not first or first[0].lower() not in _WRITES:
        return False
    try:
        statement = sqlglot.parse_one(text, read=dialect)
    except gate.UNREADABLE:
        return True
    return gate.objection(statement) is not None


def _answer(case: Case, choice: Choice) -> Answer:
    best = choice.best
    names = resolve(best.statement, case.schema, case.task.dialect)
    verified: list[Verification] = ["parsed", "resolved"]
    if best.is_run:
        verified.append("executed")
    return Answer(
        action="generate",
        dialect=case.task.dialect,
        sql=best.sql,
        confidence=round(choice.confidence, 3),
        is_verified=choice.is_verified,
        verified_by=tuple(verified),
        explanation=explained(best.statement, names, case.task.dialect),
        alternatives=tuple(Alternative(one.sql, round(share, 3)) for one, share in choice.others),
        warnings=tuple(dict.fromkeys([*choice.warnings, *traps(best.statement, names, case.task.dialect)])),
    )
