"""Each trap with statements that have it and statements that do not."""

from collections.abc import Callable

import pytest

from aiservice.sqlassist.model import Answer

Explain = Callable[..., Answer]
# The words of the warning, statements that get it, statements that do not.
TRAPS: dict[str, tuple[list[str], list[str]]] = {
    "is never true": (
        ["SELECT title FROM book WHERE author = NULL", "SELECT title FROM book WHERE NULL <> author",
         "SELECT title FROM book WHERE id NOT IN (1, NULL)"],
        ["SELECT title FROM book WHERE author IS NULL", "UPDATE book SET author = NULL WHERE id = 1"],
    ),
    "NOT IN finds no row": (
        ["SELECT name FROM reader WHERE id NOT IN (SELECT book_id FROM loan)",
         "SELECT name FROM reader WHERE NOT id IN (SELECT friend_id FROM reader WHERE id > 3)"],
        ["SELECT name FROM reader WHERE id NOT IN (SELECT reader_id FROM loan)",
         "SELECT name FROM reader WHERE id NOT IN (SELECT book_id FROM loan WHERE book_id IS NOT NULL)",
         "SELECT name FROM reader WHERE id NOT IN (SELECT book_id FROM loan WHERE book_id > 3)",
         "SELECT name FROM reader WHERE id IN (SELECT book_id FROM loan)"],
    ),
    "(fan-out)": (
        ["SELECT sum(l.fee) FROM loan l JOIN fine f ON f.loan_id = l.id",
         "SELECT r.town, count(r.id) FROM reader r JOIN loan l ON l.reader_id = r.id GROUP BY r.town",
         "SELECT avg(b.price) FROM book b, loan l WHERE l.book_id = b.id"],
        ["SELECT sum(f.amount) FROM loan l JOIN fine f ON f.loan_id = l.id",
         "SELECT count(DISTINCT r.id) FROM reader r JOIN loan l ON l.reader_id = r.id",
         "SELECT sum(l.fee) FROM loan l JOIN reader r ON r.id = l.reader_id"],
    ),
    "may be returned several times": (
        ["SELECT r.name FROM reader r JOIN loan l ON l.reader_id = r.id WHERE l.fee > 3"],
        ["SELECT DISTINCT r.name FROM reader r JOIN loan l ON l.reader_id = r.id",
         "SELECT r.name, l.day FROM reader r JOIN loan l ON l.reader_id = r.id",
         "SELECT r.name FROM reader r LEFT JOIN loan l ON l.reader_id = r.id WHERE l.id IS NULL",
         "SELECT r.name FROM reader r JOIN loan l ON l.reader_id = r.id ORDER BY l.fee DESC LIMIT 1",
         "SELECT name FROM reader WHERE id IN (SELECT r.id FROM reader r JOIN loan l ON l.reader_id = r.id)"],
    ),
    "Both sides of the UNION ALL": (
        ["SELECT id FROM book WHERE id > 3 UNION ALL SELECT id FROM book WHERE price < 2"],
        ["SELECT id FROM book UNION SELECT id FROM book", "SELECT id FROM book UNION ALL SELECT id FROM loan"],
    ),
    "divides whole numbers": (
        ["SELECT pages / 2 FROM book", "SELECT count(*) / count(author) FROM book",
         "SELECT (pages + 1) / id FROM book"],
        ["SELECT pages / 2.0 FROM book", "SELECT price / 2 FROM book", "SELECT 1.0 * pages / 2 FROM book"],
    ),
    "drops the rows that the LEFT JOIN kept": (
        ["SELECT r.name FROM reader r LEFT JOIN loan l ON l.reader_id = r.id WHERE l.fee > 3",
         "SELECT r.name FROM reader r LEFT JOIN loan l ON l.reader_id = r.id WHERE r.id > 1 AND l.day IN ('x')"],
        ["SELECT r.name FROM reader r LEFT JOIN loan l ON l.reader_id = r.id AND l.fee > 3",
         "SELECT r.name FROM reader r LEFT JOIN loan l ON l.reader_id = r.id WHERE l.id IS NULL",
         "SELECT r.name FROM reader r LEFT JOIN loan l ON l.reader_id = r.id WHERE l.fee > 3 OR l.id IS NULL",
         "SELECT r.name FROM reader r LEFT JOIN loan l ON l.reader_id = r.id WHERE r.town = 'x'"],
    ),
    "counts 1 where the LEFT JOIN": (
        ["SELECT r.id, count(*) FROM reader r LEFT JOIN loan l ON l.reader_id = r.id GROUP BY r.id"],
        ["SELECT r.id, count(l.id) FROM reader r LEFT JOIN loan l ON l.reader_id = r.id GROUP BY r.id",
         "SELECT r.id, count(*) FROM reader r JOIN loan l ON l.reader_id = r.id GROUP BY r.id"],
    ),
    "Nothing connects": (
        ["SELECT * FROM reader, loan", "SELECT * FROM reader CROSS JOIN book",
         "SELECT * FROM reader r, loan l, book b WHERE r.id = l.reader_id"],
        ["SELECT * FROM reader r, loan l WHERE r.id = l.reader_id", "SELECT * FROM reader r JOIN loan l USING (id)"],
    ),
    "neither grouped nor aggregated": (
        ["SELECT author, title, count(*) FROM book GROUP BY author", "SELECT author, count(*) FROM book",
         "SELECT upper(title), max(price) FROM book GROUP BY author"],
        ["SELECT author, count(*) FROM book GROUP BY author", "SELECT author AS a, count(*) FROM book GROUP BY 1",
         "SELECT upper(author), count(*) FROM book GROUP BY upper(author)",
         "SELECT id, title, count(*) FROM book GROUP BY id",
         "SELECT author, kind, count(*) FROM book GROUP BY ROLLUP (author, kind)",
         "SELECT sum(fee) FILTER (WHERE fee > 2) FROM loan", "SELECT author, title FROM book"],
    ),
    "compares text with a number": (
        ["SELECT title FROM book WHERE author = 3", "SELECT title FROM book WHERE 3 < author"],
        ["SELECT title FROM book WHERE author = '3'", "SELECT title FROM book WHERE pages = 3"],
    ),
    "compares a number with a text": (
        ["SELECT title FROM book WHERE pages = 'many'"], ["SELECT title FROM book WHERE pages = '30'"],
    ),
    "ends at the first moment": (
        ["SELECT name FROM reader WHERE joined BETWEEN '2020-01-01' AND '2020-01-31'",
         "SELECT name FROM reader WHERE joined <= DATE '2020-01-31'"],
        ["SELECT day FROM loan WHERE day BETWEEN '2020-01-01' AND '2020-01-31'",
         "SELECT name FROM reader WHERE joined BETWEEN '2020-01-01' AND '2020-01-31 23:59:59'",
         "SELECT name FROM reader WHERE joined < '2020-02-01'"],
    ),
    "begins with a wildcard": (
        ["SELECT title FROM book WHERE title LIKE '%x'", "SELECT title FROM book WHERE title NOT ILIKE '_x'"],
        ["SELECT title FROM book WHERE title LIKE 'x%'"],
    ),
    "LIMIT without ORDER BY": (
        ["SELECT title FROM book LIMIT 3"],
        ["SELECT title FROM book ORDER BY id LIMIT 3", "SELECT max(price) FROM book LIMIT 1"],
    ),
    "would not be run": (
        ["SELECT pg_sleep(10)", "SELECT title INTO kept FROM book", "SELECT * FROM book FOR UPDATE"],
        ["SELECT lower(title) FROM book"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("words", "sql"), [(words, sql) for words, (bad, _) in TRAPS.items() for sql in bad])
def test_warned(explained: Explain, words: str, sql: str) -> None:
    assert any(words in warning for warning in explained(sql).warnings)


@pytest.mark.parametrize(("words", "sql"), [(words, sql) for words, (_, good) in TRAPS.items() for sql in good])
def test_not_warned(explained: Explain, words: str, sql: str) -> None:
    assert not any(words in warning for warning in explained(sql).warnings)


def test_a_plain_statement_has_no_warning(explained: Explain) -> None:
    assert explained("SELECT author, count(*) FROM book WHERE pages > 3 GROUP BY author ORDER BY author").warnings == ()


def test_whole_numbers_divide_to_fractions_where_the_dialect_says_so(explained: Explain) -> None:
    assert explained("SELECT pages / 2 FROM book", "mysql").warnings == ()


def test_text_in_double_quotes(explained: Explain) -> None:
    warnings = explained('SELECT title FROM book WHERE author = "Ibsen"', "sqlite").warnings
    assert any("Use single quotes" in warning for warning in warnings)


def test_warnings_of_a_hostile_statement_are_bounded(explained: Explain) -> None:
    conditions = " OR ".join(f"title LIKE '%{n}'" for n in range(500))
    warnings = explained(f"SELECT title FROM book WHERE {conditions}").warnings
    assert 1 < len(warnings) <= 60
    assert max(map(len, warnings)) < 600
