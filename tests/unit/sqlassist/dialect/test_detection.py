"""Whose SQL a text is."""

import pytest

from aiservice.sqlassist.dialect import detect, foreign_to


@pytest.mark.parametrize(
    ("sql", "dialect"),
    [
        ("SELECT TOP 5 name FROM patient", "tsql"),
        ("SELECT [full name] FROM patient WHERE born > DATEADD(year, -1, GETDATE())", "tsql"),
        ("SELECT name FROM `clinic.records.patient`", "bigquery"),
        ("SELECT SAFE_DIVIDE(a, b), CAST(c AS FLOAT64) FROM patient", "bigquery"),
        ("SELECT born::date FROM patient WHERE name ILIKE 'a%'", "postgres"),
        ("SELECT DATE_FORMAT(born, '%Y') FROM patient", "mysql"),
        ("SELECT name FROM patient WHERE born > CURDATE() - INTERVAL 7 DAY LIMIT 5, 10", "mysql"),
        ("SELECT julianday(born) FROM patient", "sqlite"),
    ],
)
def test_the_likeliest_dialect_comes_first_with_reasons(sql: str, dialect: str) -> None:
    found = detect(sql)
    assert found[0].dialect == dialect
    assert all(found[0].reasons)


def test_plain_sql_tells_nothing() -> None:
    assert detect("SELECT name, COUNT(*) FROM patient GROUP BY name") == []


def test_what_stands_in_a_text_tells_nothing() -> None:
    assert detect("SELECT 'TOP 5 GETDATE() `a` x::int' AS note FROM patient") == []


def test_a_name_that_is_a_word_elsewhere_tells_nothing() -> None:
    assert foreign_to("SELECT interval, year, top FROM visit", "sqlite") == ()


def test_foreign_words_are_named() -> None:
    assert foreign_to("SELECT a::int FROM visit WHERE b ILIKE 'x'", "sqlite") == ("casts with ::", "ILIKE")
    assert foreign_to("SELECT a::int FROM visit WHERE b ILIKE 'x'", "postgres") == ()


def test_of_other_dialects_nothing_is_held_to_be_foreign() -> None:
    assert foreign_to("SELECT LEN(a), DATEADD(day, 1, b) FROM visit", "snowflake") == ()
