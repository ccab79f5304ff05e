"""What a model may say instead of our sentences."""

import pytest

from aiservice.sqlassist.explain import keeps_facts
from aiservice.sqlassist.model import Facts
from aiservice.sqlassist.schema import read_schema

SCHEMA = read_schema("book(id, title, price, shelf)\nreader(id, name)\nsecret_note(id, body)", "postgres")
FACTS = Facts(("book",), ("title", "price"), ("avg",), ("20", "Night%"), ("title",), "desc", 5)
GIVEN = (
    "It reads book. It keeps only the rows where book.title is like 'Night%' and book.price is not 20. "
    "It makes one group for each different book.title. It returns the average (avg) of book.price. "
    "The result is sorted by avg (descending). The result has the first 5 rows only."
)
GOOD = (
    "From the book table, rows whose title begins like Night% and whose price is not 20 are grouped by title; "
    "you get the avg of price, descending, the top 5."
)


def keeps(text: str) -> bool:
    return keeps_facts(text, FACTS, SCHEMA, given=GIVEN)


def test_a_text_with_all_facts_is_taken() -> None:
    assert keeps(GOOD)
    assert keeps(GIVEN)


@pytest.mark.parametrize("lost", ["book", "title", "price", "avg", "Night%", "20", "descending", "5", "not "])
def test_a_lost_fact_or_negation_is_noticed(lost: str) -> None:
    assert not keeps(GOOD.replace(lost, "thing "))


@pytest.mark.parametrize(
    "added", ["Names come from reader.", "See the shelf too.", "Also secret_note.", "It has 7 rows.", "The body, too."]
)
def test_an_added_name_or_number_is_noticed(added: str) -> None:
    assert not keeps(f"{GOOD} {added}")


@pytest.mark.parametrize(
    "text",
    ["", "  ", GOOD + " https://x.example/", f"```{GOOD}```", f"<b>{GOOD}</b>", GOOD + "\x1b[31m", GOOD + "a " * 2_500],
)
def test_no_markup_and_no_floods(text: str) -> None:
    assert not keeps(text)


def test_a_name_within_another_word_does_not_count() -> None:
    facts = Facts(("pet",), ("id",))
    assert not keeps_facts("It reads the carpet and did it.", facts, None)
    assert keeps_facts("It reads the id of each pet.", facts, None)
