"""The question beside a statement that a model wrote: what it says is held against the statement."""

import re

from sqlglot import exp

from aiservice.sqlassist.model import Change
from aiservice.sqlassist.names import Resolution

_QUOTED = re.compile(r"[\"'“‘]([^\"'“”‘’]{2,80})[\"'”’]")


def witnessed(statement: exp.Expression, names: Resolution, question: str) -> list[Change]:
    """Puts texts right that the question spells otherwise: `'yearly kickoff'` is asked for as "Yearly Kickoff"."""
    changes = []
    spelled = {text.lower(): text for text in _QUOTED.findall(question)}
    for literal in statement.find_all(exp.Literal):
        other = spelled.get(literal.name.lower()) if literal.is_string else None
        if other is not None and other != literal.name:
            before = literal.sql()
            literal.set("this", other)
            changes.append(Change("value", before, literal.sql(), "The question spells it so."))
    return changes
