"""The facts of statements about a library."""

import pytest

from aiservice.sqlassist.explain import facts_of
from aiservice.sqlassist.gate import read_one
from aiservice.sqlassist.model import Facts
from aiservice.sqlassist.names import resolve
from aiservice.sqlassist.schema import read_schema

LIBRARY = """
CREATE TABLE Reader (Id INT PRIMARY KEY, Name TEXT NOT NULL, Town TEXT, Joined TIMESTAMP);
CREATE TABLE Book (Id INT PRIMARY KEY, Title TEXT, Author TEXT, Price DECIMAL(8, 2), Pages INT);
CREATE TABLE Loan (Id INT PRIMARY KEY, Reader_Id INT REFERENCES Reader, Book_Id INT REFERENCES Book, Day DATE, Fee INT);
"""


def facts(sql: str, dialect: str = "sqlite", schema: str | None = LIBRARY) -> Facts:
    statement = read_one(sql, dialect)
    known = None if schema is None else read_schema(schema, dialect)
    return facts_of(statement, resolve(statement, known, dialect), dialect)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT count(*) FROM reader", Facts(("Reader",), (), ("count",))),
        ("select NAME from READER where town = 'Bergen'", Facts(("Reader",), ("Name", "Town"), values=("Bergen",))),
        ("SELECT title FROM book ORDER BY price DESC, id LIMIT 3",
         Facts(("Book",), ("Title", "Price", "Id"), order="desc", limit=3)),
        ("SELECT title FROM book ORDER BY price", Facts(("Book",), ("Title", "Price"), order="asc")),
        ("SELECT author, avg(price) FROM book GROUP BY author HAVING count(*) > 2",
         Facts(("Book",), ("Author", "Price"), ("avg", "count"), ("2",), ("Author",))),
        ("SELECT author FROM book GROUP BY 1", Facts(("Book",), ("Author",), group_by=("Author",))),
        ("SELECT r.name FROM reader r JOIN loan l ON l.reader_id = r.id",
         Facts(("Reader", "Loan"), ("Name",))),
        ("SELECT r.name FROM reader r JOIN loan l ON l.reader_id = r.id AND l.fee > 20.0",
         Facts(("Reader", "Loan"), ("Name", "Fee"), values=("20",))),
        ("SELECT name FROM reader UNION SELECT title FROM book",
         Facts(("Reader", "Book"), ("Name", "Title"), set_ops=("union",))),
        ("SELECT name FROM reader EXCEPT SELECT author FROM book INTERSECT SELECT title FROM book",
         Facts(("Reader", "Book"), ("Name", "Author", "Title"), set_ops=("except", "intersect"))),
        ("WITH busy AS (SELECT reader_id, count(*) AS n FROM loan GROUP BY reader_id) SELECT n FROM busy",
         Facts(("Loan",), ("Reader_Id",), ("count",), group_by=("Reader_Id",))),
        ("SELECT name AS n FROM reader ORDER BY n", Facts(("Reader",), ("Name",), order="asc")),
        ("SELECT rank() OVER (PARTITION BY town ORDER BY name) FROM reader", Facts(("Reader",), ("Town", "Name"))),
        ("SELECT sum(DISTINCT fee) FROM loan WHERE fee BETWEEN -5 AND 7 AND day IN ('x', 'y')",
         Facts(("Loan",), ("Fee", "Day"), ("sum",), ("-5", "7", "x", "y"))),
        ("SELECT name FROM reader WHERE id IN (SELECT reader_id FROM loan WHERE fee = 1)",
         Facts(("Reader", "Loan"), ("Name", "Id", "Reader_Id", "Fee"), values=("1",))),
    ],
)  # fmt: skip
def test_facts(sql: str, expected: Facts) -> None:
    found = facts(sql)
    for name in Facts.__struct_fields__:
        one, other = getattr(found, name), getattr(expected, name)
        assert (sorted(one), name) == (sorted(other), name) if isinstance(one, tuple) else (one, name) == (other, name)


def test_the_innermost_scope_owns_a_name() -> None:
    found = facts("SELECT title FROM book WHERE EXISTS (SELECT 1 FROM loan WHERE book_id = book.id AND fee > pages)")
    assert set(found.columns) == {"Title", "Book_Id", "Id", "Fee", "Pages"}


def test_without_a_schema_names_are_as_written() -> None:
    assert facts("SELECT R.Nme FROM readr R", schema=None) == Facts(("readr",), ("Nme",))


def test_names_of_aggregates_are_the_dialects() -> None:
    assert facts("SELECT group_concat(title, ';') FROM book").aggregates == ("group_concat",)
    assert facts("SELECT string_agg(title, ';') FROM book", "postgres").aggregates == ("string_agg",)


def test_text_in_double_quotes_is_a_value_in_sqlite_only() -> None:
    sql = 'SELECT name FROM reader WHERE town = "Oslo"'
    assert facts(sql, "sqlite").values == ("Oslo",)
    assert facts(sql, "postgres").values == ()
