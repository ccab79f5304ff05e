"""Names that are nobody's: the nearest, the right table's, the one that has to be joined."""

import pytest

from tests.unit.sqlassist.fix.house import mended, rules


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT titel FROM book", "SELECT title FROM book"),
        ("SELECT title FROM bok", "SELECT title FROM book"),
        ("SELECT title FROM books", "SELECT title FROM book"),
        ("SELECT title FROM shelf.book", "SELECT title FROM book"),
        ("SELECT book.titel, book.pgaes FROM book", "SELECT book.title, book.pages FROM book"),
        (
            "SELECT x.title FROM book AS k",
            "SELECT k.title FROM book AS k",
        ),
        (
            "SELECT k.town FROM book AS k JOIN branch AS b ON k.branch_id = b.branch_id",
            "SELECT b.town FROM book AS k JOIN branch AS b ON k.branch_id = b.branch_id",
        ),
        (
            "SELECT title, town FROM book",
            "SELECT title, branch.town FROM book JOIN branch ON book.branch_id = branch.branch_id",
        ),
        (
            "SELECT branch_id FROM book AS k JOIN branch AS b ON k.branch_id = b.branch_id",
            "SELECT k.branch_id FROM book AS k JOIN branch AS b ON k.branch_id = b.branch_id",
        ),
        (
            "SELECT r.surname FROM reader AS r JOIN loan AS l ON r.loan_id = l.loan_id",
            "SELECT r.surname FROM reader AS r JOIN loan AS l ON r.reader_id = l.reader_id",
        ),
        (
            "WITH late AS (SELECT reader_id, COUNT(*) AS times FROM loan GROUP BY reader_id) SELECT tmies FROM late",
            "WITH late AS (SELECT reader_id, COUNT(*) AS times FROM loan GROUP BY reader_id) SELECT times FROM late",
        ),
    ],
)
def test_a_wrong_name_is_put_right(query: str, expected: str) -> None:
    answer = mended(query)
    assert answer.sql == expected
    assert "resolved" in answer.verified_by


def test_a_table_in_between_is_joined_too() -> None:
    answer = mended("SELECT r.surname, b.title FROM reader AS r JOIN book AS b ON r.book_id = b.book_id")
    assert answer.sql is not None
    assert "JOIN loan ON r.reader_id = loan.reader_id JOIN book AS b ON loan.book_id = b.book_id" in answer.sql


def test_what_is_inside_is_mended_before_what_is_outside() -> None:
    answer = mended("SELECT surname FROM reader WHERE reader_id IN (SELECT readerid FROM loan)")
    assert answer.sql == "SELECT surname FROM reader WHERE reader_id IN (SELECT reader_id FROM loan)"


def test_a_text_in_double_quotes_is_a_text() -> None:
    answer = mended('SELECT pages FROM book WHERE title = "Sea"')
    assert answer.sql == "SELECT pages FROM book WHERE title = 'Sea'"
    assert rules(answer) == ["quote"]


def test_functions_near_a_known_one_and_arithmetic_by_name() -> None:
    assert mended("SELECT COUTN(*) FROM book").sql == "SELECT COUNT(*) FROM book"
    assert mended("SELECT SUBTRACT(pages, 1) FROM book").sql == "SELECT (pages - 1) FROM book"


def test_a_group_is_completed_where_the_dialect_asks_for_it() -> None:
    query = "SELECT branch_id, COUNT(*) FROM book"
    assert mended(query).sql == "SELECT branch_id, COUNT(*) FROM book GROUP BY branch_id"
    assert mended(query, "sqlite").sql == query


def test_what_follows_from_a_grouped_key_is_not_grouped_again() -> None:
    query = "SELECT b.town, COUNT(*) FROM branch AS b JOIN book AS k ON k.branch_id = b.branch_id GROUP BY b.branch_id"
    assert mended(query).changes == ()


def test_conditions_on_a_group_stand_in_having() -> None:
    answer = mended("SELECT branch_id FROM book WHERE pages > 3 AND COUNT(*) > 2 GROUP BY branch_id")
    assert answer.sql == "SELECT branch_id FROM book WHERE pages > 3 GROUP BY branch_id HAVING COUNT(*) > 2"


def test_a_name_that_is_like_nothing_is_refused_and_said() -> None:
    answer = mended("SELECT horsepower FROM book")
    assert answer.sql is None
    assert answer.refused is not None
    assert answer.refused.code == "not_repairable"
    assert answer.refused.missing == ("horsepower",)


def test_a_bare_word_that_is_one_of_the_column_s_values_is_a_text() -> None:
    schema = "CREATE TABLE repairs (id INT PRIMARY KEY, state TEXT CHECK (state IN ('waiting', 'done')), paid INT);"
    answer = mended("SELECT id FROM repairs WHERE state = waiting", schema=schema)
    assert answer.sql == "SELECT id FROM repairs WHERE state = 'waiting'"
    assert rules(answer) == ["quote"]
    assert mended("SELECT id FROM repairs WHERE id = paid", schema=schema).changes == ()
