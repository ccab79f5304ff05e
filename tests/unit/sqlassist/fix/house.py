"""A library and a shop of bicycles: what the tests of repairs ask about."""

import sqlite3
from contextlib import closing
from pathlib import Path

from aiservice.sqlassist.case import open_case
from aiservice.sqlassist.fix import fix
from aiservice.sqlassist.model import Answer, Target, Task

LIBRARY = """
CREATE TABLE branch (branch_id INT PRIMARY KEY, town TEXT, opened DATE);
CREATE TABLE book (
  book_id INT PRIMARY KEY, title TEXT NOT NULL, pages INT, price NUMERIC(8,2),
  branch_id INT REFERENCES branch(branch_id)
);
CREATE TABLE reader (reader_id INT PRIMARY KEY, surname TEXT, joined DATE);
CREATE TABLE loan (
  loan_id INT PRIMARY KEY, book_id INT REFERENCES book(book_id), reader_id INT REFERENCES reader(reader_id),
  lent_on DATE, returned_on DATE
);
"""
ODD_NAMES = 'CREATE TABLE bike ("frame size" INT, "order" INT, maker TEXT);'


def mended(query: str, dialect: str = "postgres", schema: str | None = LIBRARY, **more: str) -> Answer:
    with open_case(Task("fix", query, dialect, schema=schema, **more)) as case:  # type: ignore[arg-type]
        return fix(case)


def rules(answer: Answer) -> list[str]:
    return [change.rule for change in answer.changes]


def shop(folder: Path) -> Target:
    """A registered database: makers and their bicycles, dates as texts."""
    path = folder / "shop.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            CREATE TABLE maker (maker_id TEXT PRIMARY KEY, maker_name TEXT, country TEXT);
            CREATE TABLE bicycle (bicycle_id TEXT PRIMARY KEY, colour TEXT, bought TEXT, price REAL,
              made_by TEXT REFERENCES maker(maker_id));
            INSERT INTO maker VALUES ('m1', 'Old Wheel', 'Norway'), ('m2', 'Fast Spoke', 'Chile');
            INSERT INTO bicycle VALUES ('b1', 'red', '2024-05-06', 100.0, 'm1'),
              ('b2', 'blue', '2024-05-07', 250.5, 'm1'), ('b3', 'red', '2023-01-02', 80.0, 'm2');
            """
        )
        connection.commit()
    return Target("shop", f"sqlite://{path}")


def asked(query: str, target: Target, question: str = "", error: str = "") -> Answer:
    task = Task("fix", query, "sqlite", database=target, question=question or None, error=error or None)
    with open_case(task) as case:
        return fix(case)
