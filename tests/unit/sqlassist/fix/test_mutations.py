"""Whatever happens to a good statement: it is mended or refused, and never answered with an unknown name."""

import random

import pytest

from aiservice.core.errors import StatementRefused
from aiservice.sqlassist import gate
from aiservice.sqlassist.names import resolve
from aiservice.sqlassist.schema import read_schema
from tests.unit.sqlassist.fix.house import LIBRARY, mended

GOOD = (
    "SELECT title, pages FROM book WHERE pages > 300 ORDER BY pages DESC",
    "SELECT b.town, COUNT(*) FROM book AS k JOIN branch AS b ON k.branch_id = b.branch_id GROUP BY b.town",
    "SELECT surname FROM reader WHERE reader_id NOT IN (SELECT reader_id FROM loan WHERE returned_on IS NULL)",
    "WITH late AS (SELECT reader_id, COUNT(*) AS times FROM loan GROUP BY reader_id) SELECT times FROM late",
    "SELECT CASE WHEN pages > 100 THEN 'long' ELSE 'short' END AS size, AVG(price) FROM book GROUP BY 1",
    "SELECT title FROM book WHERE title LIKE 'The %' AND price BETWEEN 5 AND 10 UNION SELECT surname FROM reader",
)


def letters(chance: random.Random, text: str) -> str:
    place = chance.randrange(len(text) - 1)
    changed = (
        text[:place] + text[place + 1 :],
        text[:place] + text[place] + text[place:],
        text[:place] + text[place + 1] + text[place] + text[place + 2 :],
        text[:place] + chance.choice("(),'\";*=") + text[place:],
    )
    return chance.choice(changed)


def words(chance: random.Random, text: str) -> str:
    parts = text.split(" ")
    place = chance.randrange(len(parts))
    changed = (parts[:place] + parts[place + 1 :], parts[:place] + parts[place : place + 1] + parts[place:])
    return " ".join(chance.choice(changed)) or "SELECT"


@pytest.mark.parametrize("dialect", ["postgres", "sqlite", "mysql", "tsql"])
def test_mutations_are_mended_or_refused(dialect: str) -> None:
    chance, schema = random.Random(f"mutations of {dialect}"), read_schema(LIBRARY, dialect)
    answered = 0
    for _ in range(25):
        text = chance.choice(GOOD)
        for _ in range(chance.randint(1, 3)):
            text = chance.choice((letters, words))(chance, text)
        try:
            answer = mended(text, dialect)
        except StatementRefused:
            continue
        if answer.sql is None:
            assert answer.refused is not None
            continue
        answered += 1
        assert not resolve(gate.read_one(answer.sql, dialect), schema, dialect).problems, (text, answer.sql)
    assert answered >= 15


def test_one_swapped_pair_of_letters_is_mended() -> None:
    chance, right = random.Random(8), 0
    for number in range(30):
        good = GOOD[number % 3]
        parts = good.split(" ")
        places = [place for place, part in enumerate(parts) if part.isalpha() and len(part) > 4]
        place = chance.choice(places)
        part = parts[place]
        parts[place] = part[:2] + part[3] + part[2] + part[4:]
        right += mended(" ".join(parts), "sqlite").sql is not None
    assert right >= 28
