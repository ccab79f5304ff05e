from collections.abc import Callable

import pytest

from aiservice.sqlassist.model import Answer
from tests.unit.sqlassist.generate.asked_questions import REFUSED, RIGHT

Ask = Callable[..., Answer]
RowsOf = Callable[[str, str], list[tuple[object, ...]]]
PLAIN = "table item(id, name, price)\ntable shelf(id, item_id, room)"


@pytest.mark.parametrize(("database", "question", "gold"), RIGHT)
def test_question_is_answered(ask: Ask, rows: RowsOf, database: str, question: str, gold: str) -> None:
    answer = ask(database, question)
    assert answer.sql is not None, answer.refused
    found, wanted = rows(database, answer.sql), rows(database, gold)
    if "ORDER BY" not in gold:
        found, wanted = sorted(found, key=repr), sorted(wanted, key=repr)
    assert found == wanted, answer.sql


@pytest.mark.parametrize(("database", "question"), REFUSED)
def test_question_without_answer_is_refused(ask: Ask, database: str, question: str) -> None:
    answer = ask(database, question)
    assert answer.sql is None
    assert answer.refused is not None
    assert answer.refused.reason
    assert not answer.is_verified
