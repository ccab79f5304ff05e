from collections.abc import Callable

import pytest

from aiservice.sqlassist.model import Answer

Ask = Callable[..., Answer]
HARD = "Which doctors earned more in fees than the mean of their colleagues?"
RIGHT = "SELECT name FROM doctor WHERE age > 40"
OTHER = "SELECT name FROM doctor WHERE age > 60"
PLAIN = "How many doctors are there?"


def test_agreeing_proposals_are_answered(ask: Ask) -> None:
    answer = ask("clinic", HARD, RIGHT, OTHER, RIGHT, RIGHT)
    assert answer.sql is not None
    assert "40" in answer.sql
    assert answer.confidence >= 0.7
    assert any("60" in one.sql for one in answer.alternatives)


def test_lone_proposal_is_hardly_sure(ask: Ask) -> None:
    answer = ask("clinic", HARD, RIGHT, OTHER)
    assert answer.sql is not None
    assert answer.confidence < 0.5
    assert not answer.is_verified


def test_verified_reading_wins_over_proposals(ask: Ask) -> None:
    answer = ask("clinic", PLAIN, OTHER, OTHER, OTHER, OTHER)
    assert answer.sql == "SELECT COUNT(*) FROM doctor"
    assert answer.is_verified


@pytest.mark.parametrize(
    "proposal",
    [
        "DROP TABLE doctor",
        "DELETE FROM visit",
        "SELECT name FROM doctor; DELETE FROM visit",
        "SELECT 1 FROM nowhere_at_all",
        "I cannot help with that.",
        "SELECT load_extension('x')",
        "ATTACH DATABASE 'x' AS y",
        "",
    ],
)
def test_unfit_proposal_is_never_answered(ask: Ask, proposal: str) -> None:
    answer = ask("clinic", HARD, proposal)
    assert answer.sql is None
    assert answer.refused is not None


def test_proposal_in_a_fence_is_read(ask: Ask) -> None:
    answer = ask("clinic", HARD, f"```sql\n{RIGHT}\n```", f"```\n{RIGHT};\n```")
    assert answer.sql is not None
    assert "40" in answer.sql


def test_near_name_in_a_proposal_is_mended(ask: Ask) -> None:
    answer = ask("clinic", HARD, "SELECT nme FROM doctor WHERE age > 40", RIGHT)
    assert answer.sql is not None
    assert "nme" not in answer.sql
    assert answer.confidence >= 0.5


def test_proposal_that_agrees_strengthens_a_doubtful_reading(ask: Ask) -> None:
    question = "Which towns have customers who bought black bicycles?"
    alone = ask("bicycles", question)
    proposal = (
        "SELECT DISTINCT town FROM customer JOIN sale USING (customer_id) JOIN bicycle USING (bicycle_id) "
        "WHERE color = 'black'"
    )
    together = ask("bicycles", question, proposal)
    assert together.confidence > alone.confidence
