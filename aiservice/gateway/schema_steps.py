"""What checking an answer takes, where its schema may look at the same part of it again and again.

A schema that refers to itself twice in one place (`anyOf` of two lists of itself) takes twice as many steps for each
level that the answer nests. Honest unions have the same form and are quick, so that the steps are measured: the answer
is checked cut at one level after the other, and given up before a level that would take long.
"""

import time
from contextlib import suppress
from typing import Any

import jsonschema_rs

from aiservice.core.errors import AnswerInvalid

# From this level on the steps are measured; below it no schema that is taken has many.
LEVEL_FIRST = 6
LEVEL_CPU_S_MAX = 0.01


def refuse_endless(schema: jsonschema_rs.Validator, answer: Any) -> None:
    """Raises `AnswerInvalid` for an answer that nests so deeply that checking it would hold up everyone else."""
    for level in range(LEVEL_FIRST, _levels(answer)):
        began_s = time.thread_time()
        with suppress(jsonschema_rs.ValidationError):
            schema.validate(_cut(answer, level))
        if time.thread_time() - began_s > LEVEL_CPU_S_MAX:
            raise AnswerInvalid(
                f"The model's answer nests {level} levels deep, and to check more of it by its schema takes too long; "
                "make the schema's references plainer, or ask for less."
            )


def _levels(value: Any) -> int:
    """How deeply it nests: 0 for a text or a number, 1 for a list of them."""
    level, row = 0, [value]
    while row := [one for one in row if isinstance(one, dict | list) and one]:
        level += 1
        row = [child for one in row for child in (one.values() if isinstance(one, dict) else one)]
    return level


def _cut(value: Any, level: int) -> Any:
    """The value without what lies deeper than so many levels."""
    if not isinstance(value, dict | list):
        return value
    if level == 0:
        return None
    if isinstance(value, dict):
        return {name: _cut(child, level - 1) for name, child in value.items()}
    return [_cut(child, level - 1) for child in value]
