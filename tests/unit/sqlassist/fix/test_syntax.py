"""Texts that do not parse are mended where the parser stopped."""

import pytest

from tests.unit.sqlassist.fix.house import ODD_NAMES, mended, rules


@pytest.mark.parametrize(
    ("query", "expected", "rule"),
    [
        ("SELCT title FROM book", "SELECT title FROM book", "keyword"),
        ("SELECT title FORM book WHERE pages > 3", "SELECT title FROM book WHERE pages > 3", "keyword"),
        ("SELECT title FROM book WHRE pages > 3", "SELECT title FROM book WHERE pages > 3", "keyword"),
        ("SELECT title FROM book ODER BY pages", "SELECT title FROM book ORDER BY pages", "keyword"),
        ("SELECT title FROM book WHERE pages IS NUL", "SELECT title FROM book WHERE pages IS NULL", "keyword"),
        ("SELECT title, , pages FROM book", "SELECT title, pages FROM book", "comma"),
        ("SELECT title, pages, FROM book", "SELECT title, pages FROM book", "comma"),
        ("SELECT COUNT(* FROM book", "SELECT COUNT(*) FROM book", "bracket"),
        ("SELECT SUM(pages FROM book", "SELECT SUM(pages) FROM book", "bracket"),
        ("SELECT COUNT *) FROM book", "SELECT COUNT(*) FROM book", "bracket"),
        ("SELECT MAX(pages)) FROM book", "SELECT MAX(pages) FROM book", "bracket"),
        ("SELECT pages FROM book WHERE title = 'Sea", "SELECT pages FROM book WHERE title = 'Sea'", "quote"),
        (
            "SELECT pages FROM book WHERE title = 'Cook's Way'",
            "SELECT pages FROM book WHERE title = 'Cook''s Way'",
            "quote",
        ),
        (
            r"SELECT pages FROM book WHERE title = 'Cook\'s Way'",
            "SELECT pages FROM book WHERE title = 'Cook''s Way'",
            "quote",
        ),
        ("SELECT title FROM book ORDER pages", "SELECT title FROM book ORDER BY pages", "missing"),
        ("title, pages FROM book", "SELECT title, pages FROM book", "missing"),
        ("SELECT title book", "SELECT title FROM book", "from"),
        ("SELECT title, pages WHERE pages > 3", "SELECT title, pages FROM book WHERE pages > 3", "from"),
        ("SELECT title FROM FROM book", "SELECT title FROM book", "stray"),
        ("SELECT title FROM book WHERE pages = > 3", "SELECT title FROM book WHERE pages >= 3", "operator"),
        ("SELECT title FROM book WHERE", "SELECT title FROM book", "truncated"),
        ("SELECT title FROM book WHERE pages > 3 AND", "SELECT title FROM book WHERE pages > 3", "truncated"),
        (
            "SELECT title FROM book ORDER BY pages WHERE pages > 3",
            "SELECT title FROM book WHERE pages > 3 ORDER BY pages",
            "clause_order",
        ),
        (
            "SELECT title FROM book LIMIT 2 ORDER BY pages",
            "SELECT title FROM book ORDER BY pages LIMIT 2",
            "clause_order",
        ),
        (
            "SELECT CASE WHEN pages > 9 THEN 'long' ELSE 'short' AS size FROM book",
            "SELECT CASE WHEN pages > 9 THEN 'long' ELSE 'short' END AS size FROM book",
            "missing",
        ),
    ],
)
def test_one_fault_is_mended_by_one_change(query: str, expected: str, rule: str) -> None:
    answer = mended(query)
    assert answer.sql == expected
    assert rules(answer) == [rule]
    assert "executed" in answer.verified_by


def test_a_subquery_that_is_not_closed_is_closed_and_not_cut_out() -> None:
    answer = mended("SELECT surname FROM reader WHERE reader_id IN (SELECT reader_id FROM loan", "sqlite")
    assert answer.sql == "SELECT surname FROM reader WHERE reader_id IN (SELECT reader_id FROM loan)"


def test_both_halves_of_a_union_are_kept() -> None:
    answer = mended("SELCT title FROM book UNION SELECT surname FROM reader")
    assert answer.sql == "SELECT title FROM book UNION SELECT surname FROM reader"


def test_two_faults_take_two_changes() -> None:
    answer = mended("SELCT title, , pages FROM book")
    assert answer.sql == "SELECT title, pages FROM book"
    assert sorted(rules(answer)) == ["comma", "keyword"]


def test_names_with_blanks_and_names_that_are_keywords_take_quotes() -> None:
    assert mended("SELECT frame size FROM bike", schema=ODD_NAMES).sql == 'SELECT "frame size" FROM bike'
    assert mended("SELECT order FROM bike", schema=ODD_NAMES).sql == 'SELECT "order" FROM bike'
    assert mended("SELECT frame size FROM bike", "mysql", ODD_NAMES).sql == "SELECT `frame size` FROM bike"


def test_a_change_says_what_it_was_and_why() -> None:
    change = mended("SELCT title FROM book").changes[0]
    assert (change.before, change.after) == ("SELCT", "SELECT")
    assert "SELECT" in change.why
