"""Readings that lose what the question says are not answered."""

import pytest
import sqlglot

from aiservice.sqlassist.generate.doubts import is_doubtful
from aiservice.sqlassist.schema import read_schema

SCHEMA = read_schema(
    "CREATE TABLE keepers (id INT PRIMARY KEY, name TEXT, hired DATE);"
    "CREATE TABLE animals (id INT PRIMARY KEY, keeper_id INT REFERENCES keepers (id), name TEXT, weight REAL);",
    "postgres",
)


@pytest.mark.parametrize(
    ("question", "sql"),
    [
        ("keepers who were not hired in 2020", "SELECT name FROM keepers WHERE hired >= '2020-01-01'"),
        ("Which keepers don't have animals?", "SELECT name FROM keepers"),
        ("the heaviest animal of each keeper", "SELECT name FROM animals ORDER BY weight DESC LIMIT 1"),
        ("keepers with more than two animals", "SELECT count(*) FROM animals GROUP BY id HAVING count(*) > 2"),
        ("the best keeper", "SELECT max(keeper_id) FROM animals"),
        ("keepers over 2", "SELECT name FROM animals WHERE keeper_id > 2"),
    ],
)
def test_doubtful(question: str, sql: str) -> None:
    assert is_doubtful(question, sqlglot.parse_one(sql, read="postgres"), SCHEMA)


@pytest.mark.parametrize(
    ("question", "sql"),
    [
        ("keepers not hired in 2020", "SELECT name FROM keepers WHERE NOT (hired >= '2020-01-01')"),
        ("keepers not called Ann", "SELECT name FROM keepers WHERE name <> 'Ann'"),
        ("keepers without animals", "SELECT id FROM keepers EXCEPT SELECT keeper_id FROM animals"),
        (
            "keepers with no more than 3 animals",
            "SELECT keeper_id FROM animals GROUP BY keeper_id HAVING count(*) <= 3",
        ),
        ('animals called "Not a dog"', "SELECT id FROM animals WHERE name = 'Not a dog'"),
        ("animals per keeper, top 3", "SELECT keeper_id, count(*) FROM animals GROUP BY keeper_id LIMIT 3"),
        (
            "animals of each keeper",
            "SELECT k.id, count(*) FROM keepers k JOIN animals a ON a.keeper_id = k.id GROUP BY k.id",
        ),
        ("the highest keeper id", "SELECT max(keeper_id) FROM animals"),
        ("the average weight", "SELECT avg(weight) FROM animals"),
    ],
)
def test_not_doubtful(question: str, sql: str) -> None:
    assert not is_doubtful(question, sqlglot.parse_one(sql, read="postgres"), SCHEMA)
