"""An answer whose check would take long is given up soon, and a deep one that is quick to check is not."""

import time
from typing import Any

import jsonschema_rs
import pytest

from aiservice.core.errors import AnswerInvalid
from aiservice.gateway.schema_steps import refuse_endless

TWICE = {
    "anyOf": [
        {"type": "array", "minItems": 1, "items": {"$ref": "#"}},
        {"type": "array", "minItems": 1, "maxItems": 9, "items": {"$ref": "#"}},
    ]
}
TREE = {
    "type": "object",
    "properties": {"left": {"$ref": "#"}, "right": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
}


def nested(level: int, wrap: Any, inner: Any) -> Any:
    for _ in range(level):
        inner = wrap(inner)
    return inner


def test_what_would_take_ever_longer_is_given_up() -> None:
    began_s = time.thread_time()
    with pytest.raises(AnswerInvalid, match="levels deep"):
        refuse_endless(jsonschema_rs.validator_for(TWICE), nested(60, lambda inner: [inner], []))
    assert time.thread_time() - began_s < 1


@pytest.mark.parametrize("level", [0, 1, 5, 60])
def test_a_deep_answer_that_is_quick_to_check_passes(level: int) -> None:
    tree = nested(level, lambda inner: {"left": inner, "right": None}, {})
    refuse_endless(jsonschema_rs.validator_for(TREE), tree)


@pytest.mark.parametrize("answer", [None, 3, "text", [], {}, [[1]]])
def test_flat_answers_are_not_looked_at(answer: Any) -> None:
    refuse_endless(jsonschema_rs.validator_for(TWICE), answer)
