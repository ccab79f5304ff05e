"""Explains statements about a library."""

from collections.abc import Callable

import pytest

from aiservice.sqlassist.case import open_case
from aiservice.sqlassist.explain import explain
from aiservice.sqlassist.model import Answer, Task

LIBRARY = """
CREATE TABLE reader (id INT PRIMARY KEY, name TEXT NOT NULL, town TEXT, joined TIMESTAMP, friend_id INT);
CREATE TABLE book (id INT PRIMARY KEY, title TEXT, author TEXT, price DECIMAL(8, 2), pages INT, kind TEXT);
CREATE TABLE loan (id INT PRIMARY KEY, reader_id INT NOT NULL REFERENCES reader, book_id INT REFERENCES book,
                   day DATE, fee INT);
CREATE TABLE fine (id INT PRIMARY KEY, loan_id INT REFERENCES loan, amount DECIMAL(8, 2));
"""
Explain = Callable[..., Answer]


@pytest.fixture
def explained() -> Explain:
    def explained(sql: str, dialect: str = "postgres", schema: str | None = LIBRARY, **more: object) -> Answer:
        with open_case(Task("explain", sql, dialect, schema=schema, **more)) as case:  # type: ignore[arg-type]
            return explain(case)

    return explained
