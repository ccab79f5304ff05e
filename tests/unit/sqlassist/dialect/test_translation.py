"""One meaning in the words of six dialects; what DuckDB and SQLite make of the words is the same."""

import sqlite3
from contextlib import closing

import duckdb
import pytest
import sqlglot

from aiservice.sqlassist.dialect import Untranslatable, parses, translate

DIALECTS = ("postgres", "mysql", "sqlite", "tsql", "bigquery", "duckdb")
MOMENTS = (
    "2023-12-31 23:59:59",
    "2024-01-01 00:00:00",
    "2024-02-29 12:30:15",
    "2024-03-03 08:00:00",
    "2025-07-06 01:02:03",
)


def said(expression: str, source: str, target: str) -> str:
    statement = sqlglot.parse_one(f"SELECT {expression} FROM visit", read=source)
    return translate(statement, source, target).removeprefix("SELECT ").removesuffix(" FROM visit")


@pytest.mark.parametrize(
    ("source", "expression", "target", "expected"),
    [
        ("postgres", "CURRENT_DATE - INTERVAL '7 days'", "sqlite", "DATE('now', '-7 days')"),
        ("postgres", "CURRENT_DATE - INTERVAL '7 days'", "tsql", "DATEADD(DAY, -7, CAST(GETDATE() AS DATE))"),
        ("postgres", "seen - INTERVAL '1 millisecond'", "sqlite", "DATETIME(seen, '-0.001 seconds')"),
        ("postgres", "EXTRACT(DOW FROM seen)", "mysql", "(DAYOFWEEK(seen) - 1)"),
        ("postgres", "name ILIKE 'a%'", "tsql", "LOWER(name) LIKE LOWER('a%')"),
        ("postgres", "SPLIT_PART(name, '-', 2)", "bigquery", "SPLIT(name, '-')[SAFE_ORDINAL(2)]"),
        ("postgres", "MAKE_DATE(2024, 2, 29)", "tsql", "DATEFROMPARTS(2024, 2, 29)"),
        ("mysql", "DATE_SUB(seen, INTERVAL 1 MONTH)", "tsql", "DATEADD(MONTH, -1, seen)"),
        ("mysql", "WEEKDAY(seen)", "duckdb", "(ISODOW(seen) - 1)"),
        ("mysql", "NOW()", "tsql", "GETDATE()"),
        ("mysql", "GROUP_CONCAT(name SEPARATOR '; ')", "postgres", "STRING_AGG(name, '; ')"),
        ("mysql", "QUARTER(seen)", "sqlite", "((CAST(STRFTIME('%m', seen) AS INTEGER) + 2) / 3)"),
        ("tsql", "DATEADD(day, -7, GETDATE())", "sqlite", "DATETIME('now', '-7 days')"),
        ("tsql", "FORMAT(CAST(seen AS DATETIME2), 'yyyy-MM')", "sqlite", "STRFTIME('%Y-%m', DATETIME(seen))"),
        ("tsql", "ISNULL(fee, 0)", "sqlite", "COALESCE(fee, 0)"),
        ("bigquery", "COUNTIF(fee > 1)", "mysql", "SUM(CASE WHEN (fee > 1) THEN 1 ELSE 0 END)"),
        ("bigquery", "CAST(fee AS FLOAT64)", "sqlite", "CAST(fee AS REAL)"),
        ("sqlite", "date('now', '-7 days')", "postgres", "CAST(CURRENT_DATE - INTERVAL '7 DAY' AS DATE)"),
        ("sqlite", "date('now', 'start of month')", "postgres", "CAST(DATE_TRUNC('MONTH', CURRENT_DATE) AS DATE)"),
        ("sqlite", "CAST(strftime('%Y', seen) AS INTEGER)", "postgres", "EXTRACT(YEAR FROM CAST(seen AS TIMESTAMP))"),
        ("sqlite", "name GLOB 'a*'", "mysql", "name LIKE 'a%'"),
        ("sqlite", "TOTAL(fee)", "postgres", "COALESCE(SUM(fee), 0.0)"),
        ("duckdb", "dayofweek(seen)", "postgres", "EXTRACT(DOW FROM seen)"),
    ],
)
def test_a_meaning_is_said_in_the_targets_words(source: str, expression: str, target: str, expected: str) -> None:
    assert said(expression, source, target) == expected


@pytest.mark.parametrize(
    ("source", "expression", "target"),
    [
        ("postgres", "name ~ '^[a-c]+$'", "sqlite"),
        ("postgres", "AGE(seen, born)", "mysql"),
        ("postgres", "SPLIT_PART(name, '-', 2)", "sqlite"),
        ("sqlite", "strftime('%W', seen)", "postgres"),
        ("sqlite", "date(seen, 'weekday 0')", "postgres"),
        ("sqlite", "name GLOB '[ab]*'", "postgres"),
    ],
)
def test_what_the_target_cannot_say_is_refused(source: str, expression: str, target: str) -> None:
    with pytest.raises(Untranslatable):
        said(expression, source, target)


@pytest.mark.parametrize(
    "expression",
    [
        "EXTRACT(YEAR FROM seen)",
        "EXTRACT(DOW FROM seen)",
        "EXTRACT(ISODOW FROM seen)",
        "EXTRACT(QUARTER FROM seen)",
        "EXTRACT(DOY FROM seen)",
        "EXTRACT(EPOCH FROM seen)",
        "CAST(DATE_TRUNC('week', seen) AS DATE)",
        "CAST(DATE_TRUNC('month', seen) AS DATE)",
        "CAST(DATE_TRUNC('quarter', seen) AS DATE)",
        "CAST(DATE_TRUNC('year', seen) AS DATE)",
        "CAST(seen - INTERVAL '1 day' AS DATE)",
        "CAST(seen - INTERVAL '1 second' AS DATE)",
        "CAST(seen AS DATE) - DATE '2024-01-01'",
        "TO_CHAR(seen, 'YYYY-MM')",
        "LEFT(TO_CHAR(seen, 'YYYY-MM-DD'), 7)",
    ],
)
def test_postgres_words_mean_the_same_in_sqlite_and_duckdb(expression: str) -> None:
    assert in_sqlite(said(expression, "postgres", "sqlite")) == in_duckdb(said(expression, "postgres", "duckdb"))


@pytest.mark.parametrize(
    "expression",
    [
        "DAYOFWEEK(seen)",
        "WEEKDAY(seen)",
        "TIMESTAMPDIFF(MONTH, '2023-12-31 00:00:00', seen)",
        "TIMESTAMPDIFF(YEAR, '2023-01-15 00:00:00', seen)",
        "DATEDIFF(seen, '2023-12-25')",
        "DATE(LAST_DAY(seen))",
    ],
)
def test_mysql_words_mean_the_same_in_sqlite_and_duckdb(expression: str) -> None:
    duck = said(expression, "mysql", "duckdb").replace("'2023-12-31 00:00:00'", "TIMESTAMP '2023-12-31 00:00:00'")
    duck = duck.replace("'2023-01-15 00:00:00'", "TIMESTAMP '2023-01-15 00:00:00'")
    assert in_sqlite(said(expression, "mysql", "sqlite")) == in_duckdb(duck)


@pytest.mark.parametrize(
    "expression",
    [
        "date(seen, '-3 days')",
        "date(seen, 'start of month', '+1 month', '-1 day')",
        "strftime('%Y-%m', seen)",
        "CAST(strftime('%w', seen) AS INTEGER)",
        "julianday(seen) - julianday('2024-01-01')",
    ],
)
def test_sqlites_own_words_mean_the_same_in_duckdb(expression: str) -> None:
    assert in_sqlite(expression) == in_duckdb(said(expression, "sqlite", "duckdb"))


def test_weeks_begin_on_the_sources_day() -> None:
    # 3 March 2024 is a Sunday.
    for source, expression, expected in (
        ("postgres", "DATE_TRUNC('week', seen)", "2024-02-26"),
        ("bigquery", "DATE_TRUNC(seen, WEEK)", "2024-03-03"),
        ("bigquery", "DATE_TRUNC(seen, WEEK(MONDAY))", "2024-02-26"),
        ("tsql", "DATETRUNC(week, seen)", "2024-03-03"),
    ):
        assert in_sqlite(said(expression, source, "sqlite"))[3] == expected
        assert str(in_duckdb(f"CAST({said(expression, source, 'duckdb')} AS DATE)")[3]) == expected


def test_every_translation_of_plain_sql_parses_in_its_target() -> None:
    statement = "SELECT kind, COUNT(*) AS n FROM visit WHERE seen > CURRENT_DATE GROUP BY kind ORDER BY n DESC LIMIT 3"
    for source in DIALECTS:
        for target in DIALECTS:
            if source != "tsql":
                assert parses(translate(sqlglot.parse_one(statement, read=source), source, target), target)


def in_sqlite(expression: str) -> list[object]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE visit (id INTEGER, seen TEXT)")
        connection.executemany("INSERT INTO visit VALUES (?, ?)", enumerate(MOMENTS))
        rows = connection.execute(f"SELECT {expression} FROM visit ORDER BY id").fetchall()
    return [plain(row[0]) for row in rows]


def in_duckdb(expression: str) -> list[object]:
    with closing(duckdb.connect()) as connection:
        connection.execute("CREATE TABLE visit (id INTEGER, seen TIMESTAMP)")
        connection.executemany("INSERT INTO visit VALUES (?, ?)", list(enumerate(MOMENTS)))
        rows = connection.execute(f"SELECT {expression} FROM visit ORDER BY id").fetchall()
    return [plain(row[0]) for row in rows]


def plain(value: object) -> object:
    return round(float(value), 6) if isinstance(value, int | float) else str(value)
