"""A harbour: its berths, boats and trips, with NULLs wherever they may be."""

import sqlite3
from contextlib import ExitStack

from sqlglot import exp

from aiservice.sqlassist import gate
from aiservice.sqlassist.dialect import translate
from aiservice.sqlassist.optimize.proof import Prover
from aiservice.sqlassist.optimize.rules import RULES
from aiservice.sqlassist.optimize.service import Rewrite, rewrites
from aiservice.sqlassist.schema import read_schema
from aiservice.sqlassist.scratch.dates import with_dates

DDL = """
CREATE TABLE berth (berth_id INTEGER PRIMARY KEY, quay TEXT NOT NULL, depth INTEGER);
CREATE TABLE boat (
    boat_id INTEGER PRIMARY KEY, name TEXT, berth_id INTEGER REFERENCES berth (berth_id), crew INTEGER, built DATE,
    sail_number TEXT NOT NULL UNIQUE
);
CREATE TABLE trip (
    trip_id INTEGER PRIMARY KEY, boat_id INTEGER NOT NULL REFERENCES boat (boat_id), left_at TIMESTAMP, back_on DATE,
    miles INTEGER, skipper TEXT, inspector_id INTEGER
);
CREATE INDEX trip_left ON trip (left_at);
CREATE INDEX trip_back ON trip (back_on);
CREATE INDEX trip_miles ON trip (miles);
CREATE INDEX trip_skipper ON trip (skipper);
CREATE INDEX trip_boat ON trip (boat_id);
"""
ROWS = {
    "berth": [(1, "North", 4), (2, "South", None), (3, "North", 9)],
    "boat": [
        (1, "Gull", 1, 3, "2019-05-01", "A1"),
        (2, None, None, None, None, "A2"),
        (3, "Tern", 2, 5, "2021-01-01", "A3"),
        (4, "Gull", 1, None, "2020-12-31", "B1"),
    ],
    "trip": [
        (1, 1, "2023-12-31 23:59:59", "2024-01-02", 40, "Ada", 1),
        (2, 1, "2024-01-01 00:00:00", "2024-01-01", 7, "Adam", None),
        (3, 3, "2024-12-31 23:30:00", None, None, "Bo", 9),
        (4, 3, None, "2025-01-01", 12, None, 1),
        (5, 3, "2025-01-01 00:00:00", None, 40, "Ada", None),
    ],
}


def prover(sql: str, stack: ExitStack, dialect: str = "postgres") -> Prover:
    return Prover(read_schema(DDL, "postgres"), dialect, gate.read_one(sql, dialect), stack)


def made_by(rule: str, sql: str, dialect: str = "postgres") -> list[Rewrite]:
    """What a rule makes of a statement, whatever it costs."""
    with ExitStack() as stack:
        place = prover(sql, stack, dialect)
        return list(rewrites(rule, RULES[rule], place.statement, prover=place))


def rows_of(statement: exp.Expr, dialect: str = "postgres", *, is_empty: bool = False) -> list[tuple[object, ...]]:
    """On the harbour's own rows, or on none; without an order."""
    with sqlite3.connect(":memory:") as connection:
        connection.executescript(DDL)
        for table, rows in ROWS.items() if not is_empty else ():
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        found = connection.execute(translate(_dated(statement, dialect), dialect, "sqlite")).fetchall()
    return sorted(found, key=repr)


def _dated(statement: exp.Expr, dialect: str) -> exp.Expr:
    return with_dates(statement, read_schema(DDL, "postgres").tables) if dialect == "postgres" else statement
