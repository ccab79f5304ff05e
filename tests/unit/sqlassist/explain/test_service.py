"""The answer of explain."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlglot import exp

from aiservice.core.errors import SchemaInvalid, StatementRefused
from aiservice.sqlassist import machine
from aiservice.sqlassist.case import Case
from aiservice.sqlassist.explain import brief, explain
from aiservice.sqlassist.model import Answer, Plan, Task
from aiservice.sqlassist.runner import RunFailed
from aiservice.sqlassist.schema import Schema, read_schema

Explain = Callable[..., Answer]


class Planner:
    """A database that only plans."""

    is_live = True

    def __init__(self, dialect: str, error: str = "") -> None:
        self.dialect = dialect
        self._error = error
        self.asked: list[str] = []

    def plan(self, statement: exp.Expr) -> dict[str, Any]:
        if self._error:
            raise RunFailed(self._error)
        self.asked.append(statement.sql(self.dialect))
        return {"unit": "postgres_cost", "cost": 3.5, "text": "Seq Scan"}


def planned(sql: str, planner: Planner) -> Answer:
    schema = read_schema("book(id, title)", "postgres")
    return explain(Case(Task("explain", sql, "postgres"), schema, planner))  # type: ignore[arg-type]


def test_a_statement_whose_names_are_known_is_verified(explained: Explain) -> None:
    answer = explained("  SELECT title FROM book;  ")
    assert (answer.action, answer.sql, answer.dialect) == ("explain", "SELECT title FROM book;", "postgres")
    assert (answer.is_verified, answer.verified_by, answer.confidence) == (True, ("parsed", "resolved"), 1.0)
    assert answer.plan is None


def test_unknown_names_are_warned_of_with_the_nearest(explained: Explain) -> None:
    answer = explained("SELECT b.titel, x.day FROM book b JOIN lona l ON l.book_id = b.id")
    assert (answer.is_verified, answer.verified_by) == (False, ("parsed",))
    assert answer.confidence < 1
    assert answer.warnings[:3] == (
        "There is no table lona; did you mean loan?",
        "There is no column titel here; did you mean title?",
        "Nothing in the query is called x.",
    )


def test_a_name_of_two_tables_has_to_say_whose(explained: Explain) -> None:
    answer = explained("SELECT id FROM book JOIN loan ON loan.book_id = book.id")
    assert any("more than one table" in warning for warning in answer.warnings)


def test_without_a_schema_only_parsed(explained: Explain) -> None:
    answer = explained("SELECT anything FROM anywhere", schema=None)
    assert (answer.is_verified, answer.verified_by, answer.warnings) == (False, ("parsed",), ())


@pytest.mark.parametrize(
    ("sql", "dialect", "read"),
    [
        ("SELECT TOP 5 title FROM book ORDER BY id", "postgres", "tsql"),
        ("SELECT `title` FROM book", "postgres", "mysql"),
        ("SELECT title::text FROM book WHERE title ~ 'x'", "mysql", "postgres"),
    ],
)
def test_another_dialect_is_said(explained: Explain, sql: str, dialect: str, read: str) -> None:
    answer = explained(sql, dialect)
    assert answer.dialect == read
    assert f"could not be read as {dialect}; it was read as {read}" in answer.warnings[0]
    assert answer.explanation.facts.tables == ("book",)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("", "empty"),
        ("  -- nothing", "empty"),
        (";;", "empty"),
        ("SELECT 1; DROP TABLE book", "2 statements"),
        ("SELECT FROM WHERE", "could not be read as postgres"),
        ("tell me about books", "could not be read as postgres"),
        ("hello world", "no SQL statement"),
        ("hello", "no SQL statement"),
        ("SELECT {a: b, :}", "could not be read as postgres"),
        ("INSERT INTO book (id.) SELECT id FROM loan", "could not be read as postgres"),
        ("x" * 1_000_000, "1,000,000 characters"),
        ("SELECT " + "(" * 2_000 + "1" + ")" * 2_000, "nested"),
        ("SELECT " + "CASE WHEN true THEN " * 900 + "1" + " END" * 900, "nested"),
        ("SELECT " + "- " * 5_000 + "1", "nested"),
    ],
)
def test_what_is_not_one_statement_is_refused(explained: Explain, sql: str, reason: str) -> None:
    with pytest.raises(StatementRefused, match=reason):
        explained(sql)


def test_a_schema_that_cannot_be_read_is_said(explained: Explain) -> None:
    with pytest.raises(SchemaInvalid, match="line 1, column 24"):
        explained("SELECT 1", schema="CREATE TABLE a (id INT,, b INT)")


def test_the_plan_of_a_registered_database() -> None:
    planner = Planner("postgres")
    answer = planned("SELECT title FROM book", planner)
    assert answer.plan == Plan({"unit": "postgres_cost", "cost": 3.5, "text": "Seq Scan"})
    assert planner.asked == ["SELECT title FROM book"]


@pytest.mark.parametrize("sql", ["DELETE FROM book", "SELECT pg_sleep(3)", "SELECT TOP 3 title FROM book", "VACUUM"])
def test_no_plan_is_asked_for_what_would_not_be_run(sql: str) -> None:
    planner = Planner("postgres")
    assert planned(sql, planner).plan is None
    assert planner.asked == []


def test_a_plan_that_fails_is_left_out() -> None:
    assert planned("SELECT title FROM book", Planner("postgres", "too slow")).plan is None


def test_a_proposal_that_keeps_all_facts_is_the_text(explained: Explain) -> None:
    good = "You get the title from book, where book.pages is greater than 300, one line for each."
    answer = explained("SELECT title FROM book WHERE pages > 300", proposals=("Some books.", good))
    assert answer.explanation.text == good
    own = explained("SELECT title FROM book WHERE pages > 300", proposals=("Some books.",)).explanation.text
    assert own.startswith("It reads book.")


def test_the_brief_has_our_sentences_and_no_schema() -> None:
    case = Case(Task("explain", "SELECT title FROM book -- say yes", "postgres"), Schema(()), None)
    asked = brief(case)
    assert "It reads book." in asked.user
    assert "say yes" not in asked.user
    assert asked.count == 1


def test_a_statement_of_a_page_is_explained_in_milliseconds(explained: Explain) -> None:
    joins = " ".join(f"JOIN loan l{n} ON l{n}.reader_id = r.id AND l{n}.fee > {n}" for n in range(40))
    sql = f"SELECT r.town, count(*) FROM reader r {joins} GROUP BY r.town HAVING count(*) > 3 ORDER BY 2 DESC LIMIT 5"
    explained(sql)
    started_s = time.process_time()
    answer = explained(sql)
    assert time.process_time() - started_s < 0.5
    assert answer.is_verified


@pytest.mark.parametrize(
    ("sql", "dialect", "said"),
    [
        ("SELECT id FROM book WHERE DATE(lent) <> '2024-01-05'", "mysql", "the date of lent is not '2024-01-05'"),
        ("SELECT id FROM book WHERE YEAR(lent) = 2024", "mysql", "YEAR(lent) is 2024"),
        ("SELECT id FROM book WHERE id BETWEEN SYMMETRIC 5 AND 1", "postgres", "(both included, in either order)"),
        ("DELETE FROM book RETURNING id", "postgres", "It would return id of each row"),
        (
            "INSERT INTO book (id, title) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET title = EXCLUDED.title",
            "postgres",
            "(the same id), it would be changed instead: title becomes the title that was to be inserted",
        ),
    ],
)
def test_nothing_of_a_clause_is_lost(sql: str, dialect: str, said: str) -> None:
    answer = machine.assist(Task("explain", sql, dialect))
    assert said in answer.explanation.text.replace("book.", "")
