"""The question beside a statement, and the database's values: texts as they are spelled, dates as they are kept."""

import re

from sqlglot import exp

from aiservice.sqlassist.case import Case
from aiservice.sqlassist.fix.model import Repair, change

_QUOTED = re.compile(r"[\"'“‘]([^\"'“”‘’]{2,80})[\"'”’]")


def witnessed(repair: Repair, case: Case) -> Repair:
    """Texts that the question spells otherwise: `'yearly kickoff'` is asked for as "Yearly Kickoff"."""
    statement = repair.statement
    spelled = {text.lower(): text for text in _QUOTED.findall(case.task.question or "")}
    for literal in statement.find_all(exp.Literal):
        other = spelled.get(literal.name.lower()) if literal.is_string else None
        if other is not None and other != literal.name:
            before = literal.sql()
            literal.set("this", other)
            repair = repair.edited(statement, change("value", before, literal.sql(), "The question spells it so."), 0.3)
    return repair
