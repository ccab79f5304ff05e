"""With a registered PostgreSQL database its own plans decide, and its rows stay the same."""

from collections.abc import Iterator

import pytest

from aiservice.sqlassist.case import open_case
from aiservice.sqlassist.live import open_live
from aiservice.sqlassist.model import Answer, Target, Task
from aiservice.sqlassist.optimize import optimize
from tests.servers.postgres_server import OWNER, PostgresServer
from tests.unit.sqlassist.optimize.harbour import DDL

pytestmark = pytest.mark.stores
FILLING = """
INSERT INTO berth SELECT n, 'quay ' || n % 7, n % 9 FROM generate_series(1, 50) n;
INSERT INTO boat SELECT n, 'boat ' || n, n % 50 + 1, n % 8, DATE '2000-01-01' + n, 'S' || n
    FROM generate_series(1, 500) n;
INSERT INTO trip SELECT n, n % 500 + 1, TIMESTAMP '2015-01-01' + n * INTERVAL '5 hours', DATE '2015-01-02' + n / 5,
    n % 90, 'skipper ' || n % 40, NULLIF(n % 30, 0) FROM generate_series(1, 20000) n;
ANALYZE;
GRANT USAGE ON SCHEMA public TO ai_app;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO ai_app;
"""


@pytest.fixture(scope="module")
def harbour(postgres_server: PostgresServer) -> Iterator[Target]:
    urls = postgres_server.new_database()
    for statement in (DDL + FILLING).split(";\n"):
        if statement.strip():
            postgres_server.sql(statement, database=urls.database, user=OWNER)
    yield Target("harbour", urls.app)
    postgres_server.drop_database(urls.database)


def answered(sql: str, target: Target) -> Answer:
    with open_case(Task("optimize", sql, "postgres", database=target)) as case:
        return optimize(case)


@pytest.mark.parametrize(
    ("sql", "rule"),
    [
        ("SELECT miles FROM trip WHERE EXTRACT(YEAR FROM left_at) = 2018", "date_range"),
        (
            "SELECT name FROM boat b WHERE (SELECT COUNT(*) FROM trip t WHERE t.boat_id = b.boat_id) > 0",
            "count_to_exists",
        ),
        ("SELECT DISTINCT trip_id, miles FROM trip", "useless_distinct"),
        ("SELECT t.miles FROM trip t JOIN boat b ON b.boat_id = t.boat_id WHERE t.miles > 88", "unused_join"),
        (
            "SELECT b.name, (SELECT MAX(t.miles) FROM trip t WHERE t.skipper = b.name) AS far FROM boat b",
            "correlated_to_join",
        ),
        ("SELECT trip_id FROM trip WHERE miles + 3 = 60", "moved_arithmetic"),
    ],
)
def test_the_plan_gets_cheaper_and_the_rows_stay(sql: str, rule: str, harbour: Target) -> None:
    answer = answered(sql, harbour)
    assert rule in [change.rule for change in answer.changes]
    assert answer.sql is not None
    assert answer.plan is not None
    assert answer.plan.after is not None
    assert answer.plan.before["unit"] == "postgres_cost"
    assert answer.plan.after["cost"] < answer.plan.before["cost"]
    with open_live(harbour) as live:
        before, after = (live.grid(text, rows_max=30_000, seconds=10) for text in (sql, answer.sql))
    assert sorted(map(repr, before.rows)) == sorted(map(repr, after.rows)) != []


def test_what_postgresql_sees_through_itself_is_left_alone(harbour: Target) -> None:
    sql = "SELECT boat_id, COUNT(*) FROM trip GROUP BY boat_id HAVING boat_id > 400"
    answer = answered(sql, harbour)
    assert answer.sql == sql
    assert "No improvement found." in answer.warnings
