"""What fix answers: good SQL as it is, prose stripped, dialects said anew, writes mended and never run."""

from pathlib import Path

import pytest

from aiservice.core.errors import StatementRefused
from tests.unit.sqlassist.fix.house import LIBRARY, asked, mended, rules, shop


@pytest.mark.parametrize(
    "query",
    [
        "SELECT title,  pages\nFROM book -- all of them\nWHERE pages > 300",
        "WITH a AS (SELECT 1 AS n) SELECT n FROM a",
        "SELECT k.title FROM book k LEFT JOIN branch b USING (branch_id) WHERE b.town IS NULL LIMIT 3",
        "SELECT title AS pages_of FROM book ORDER BY pages_of DESC",
        "SELECT COUNT(*) FROM loan WHERE lent_on > CURRENT_DATE - INTERVAL '7 days'",
    ],
)
def test_good_sql_is_answered_as_it_is(query: str) -> None:
    answer = mended(f"{query};")
    assert answer.sql == query
    assert answer.changes == ()
    assert answer.is_verified


@pytest.mark.parametrize(
    "query",
    [
        "```sql\nSELECT title FROM book\n```",
        "```SQLite\nSELECT title FROM book",
        "Here is the query you asked for:\n```\nSELECT title FROM book;\n```\nIt lists titles.",
        "SQL: SELECT title FROM book",
        "SELECT title FROM book;\n\nThis query lists all titles.",
        "Sure, the statement is\n\nSELECT title FROM book",
        "SELECT title FROM book\n\nExplanation: it reads the table.",
        "SELECT title FROM book; SELECT title FROM book;",
    ],
)
def test_what_stands_around_the_statement_is_left_out(query: str) -> None:
    answer = mended(query)
    assert answer.sql == "SELECT title FROM book"
    assert len(answer.changes) >= 1


def test_markdowns_backslashes_and_typographic_quotes_are_no_sql() -> None:
    assert mended(r"SELECT book\_id FROM book").sql == "SELECT book_id FROM book"
    answer = mended("SELECT pages FROM book WHERE title = \u2018Sea\u2019")
    assert answer.sql == "SELECT pages FROM book WHERE title = 'Sea'"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT TOP 3 title FROM book", "SELECT title FROM book LIMIT 3"),
        ("SELECT title FROM `shelf.book`", "SELECT title FROM book"),
        (
            "SELECT COUNT(*) FROM loan WHERE lent_on > DATE_SUB(CURRENT_DATE(), INTERVAL 7 DAY)",
            "SELECT COUNT(*) FROM loan WHERE lent_on > DATE('now', '-7 days')",
        ),
        ("SELECT pages::int FROM book", "SELECT CAST(pages AS INTEGER) FROM book"),
        (
            "SELECT EXTRACT(YEAR FROM lent_on) FROM loan",
            "SELECT CAST(STRFTIME('%Y', lent_on) AS INTEGER) FROM loan",
        ),
    ],
)
def test_another_dialect_is_said_in_the_asked_one(query: str, expected: str) -> None:
    answer = mended(query, "sqlite")
    assert answer.sql == expected
    assert "dialect" in rules(answer) or "qualifier" in rules(answer)


def test_a_statement_that_writes_is_mended_and_not_run() -> None:
    answer = mended("UPDTE book SET pages = 3 WHERE titel = 'Sea'")
    assert answer.sql == "UPDATE book SET pages = 3 WHERE title = 'Sea'"
    assert "executed" not in answer.verified_by
    assert any("not run" in warning for warning in answer.warnings)


def test_a_table_is_not_dropped_by_mending() -> None:
    answer = mended("DROP TABLE book")
    assert answer.sql == "DROP TABLE book"
    assert not answer.is_verified


@pytest.mark.parametrize(
    "query", ["SELECT 1; SELECT 2", "SELECT title FROM book; DROP TABLE book", "DELETE FROM loan; SELECT * FROM loan"]
)
def test_two_statements_are_refused(query: str) -> None:
    with pytest.raises(StatementRefused, match="2 statements"):
        mended(query)


@pytest.mark.parametrize("query", ["", "  ;; ", "-- nothing", "SELECT 1 + " + "1 + " * 40_000 + "1"])
def test_an_empty_text_and_one_that_is_too_long_are_refused(query: str) -> None:
    with pytest.raises(StatementRefused):
        mended(query)


@pytest.mark.parametrize("query", ["hello there", "42", "((((", "SELECT", "'", "\x00\x01", "🙂 🙂"])
def test_what_is_no_sql_is_refused_with_the_reason(query: str) -> None:
    answer = mended(query)
    assert answer.sql is None
    assert answer.refused is not None
    assert answer.refused.code == "not_repairable"


def test_without_a_schema_it_is_mended_by_parsing_alone() -> None:
    answer = mended("SELCT a FROM b", schema=None)
    assert answer.sql == "SELECT a FROM b"
    assert answer.verified_by == ("parsed",)


def test_a_deeply_nested_text_ends() -> None:
    assert mended("SELECT " + "(" * 400 + "1").sql is None


def test_a_registered_database_is_the_place_where_it_runs(tmp_path: Path) -> None:
    answer = asked("SELECT colour FORM bicycle", shop(tmp_path))
    assert answer.sql == "SELECT colour FROM bicycle"
    assert answer.verified_by == ("parsed", "resolved", "executed")


def test_a_date_is_written_as_the_column_keeps_dates(tmp_path: Path) -> None:
    answer = asked("SELECT COUNT(*) FROM bicycle WHERE bought = '5/6/2024'", shop(tmp_path), "How many on 5/6/2024?")
    assert answer.sql == "SELECT COUNT(*) FROM bicycle WHERE bought = '2024-05-06'"


def test_a_key_is_not_compared_with_a_name(tmp_path: Path) -> None:
    query = "SELECT COUNT(*) FROM bicycle WHERE made_by = 'Old Wheel'"
    answer = asked(query, shop(tmp_path), "How many bicycles are from Old Wheel?")
    assert answer.sql is not None
    assert "made_by IN (SELECT maker_id FROM maker WHERE maker_name = 'Old Wheel')" in answer.sql
    assert rules(answer) == ["key_value"]


def test_a_condition_that_nobody_asked_for_is_left_out(tmp_path: Path) -> None:
    query = "SELECT price FROM bicycle WHERE colour = 'red' AND made_by = 'approved'"
    answer = asked(query, shop(tmp_path), "What do the red ones cost?")
    assert "condition" in rules(answer)
    assert answer.sql == "SELECT price FROM bicycle WHERE colour = 'red'"
    assert not answer.is_verified


def test_a_condition_that_the_question_names_is_kept(tmp_path: Path) -> None:
    query = "SELECT price FROM bicycle WHERE colour = 'red' AND made_by = 'approved'"
    answer = asked(query, shop(tmp_path), "What do the red approved ones cost?")
    assert "condition" not in rules(answer)


def test_the_schema_of_the_tests_is_as_it_is_read() -> None:
    assert mended("SELECT * FROM loan", schema=LIBRARY).changes == ()
