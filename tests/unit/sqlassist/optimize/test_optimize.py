"""The action: what is kept is the same and cheaper, what is not says so."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest
from sqlglot import exp

from aiservice.core.errors import StatementRefused
from aiservice.sqlassist import gate
from aiservice.sqlassist.case import Case, open_case
from aiservice.sqlassist.model import Answer, Task
from aiservice.sqlassist.optimize import optimize, service
from aiservice.sqlassist.optimize.advice import advice
from aiservice.sqlassist.optimize.edit import Edit, changing
from aiservice.sqlassist.optimize.ground import Ground
from aiservice.sqlassist.optimize.indexes import create_index, is_covered
from aiservice.sqlassist.runner import RunFailed
from aiservice.sqlassist.schema import read_schema
from tests.unit.sqlassist.optimize.harbour import DDL, prover

YEAR = "SELECT trip_id FROM trip WHERE EXTRACT(YEAR FROM left_at) = 2024"


def answered(sql: str, dialect: str = "postgres", schema: str | None = DDL) -> Answer:
    with open_case(Task("optimize", sql, dialect, schema=schema)) as case:
        return optimize(case)


def test_a_cheaper_statement_says_what_was_changed_and_how_it_was_proven() -> None:
    answer = answered(YEAR)
    assert answer.sql == "SELECT trip_id FROM trip WHERE (left_at >= '2024-01-01' AND left_at < '2025-01-01')"
    assert [change.rule for change in answer.changes] == ["date_range"]
    assert answer.changes[0].before == "EXTRACT(YEAR FROM left_at) = 2024"
    assert answer.verified_by == ("parsed", "resolved", "executed", "equal_results", "cheaper_plan")
    assert answer.is_verified
    assert answer.plan is not None
    assert answer.plan.after is not None
    assert answer.plan.before["unit"] == "sqlite_steps"
    assert answer.plan.after["cost"] < answer.plan.before["cost"]
    assert "INDEX" in answer.plan.after["text"]
    assert answer.explanation.facts.tables == ("trip",)


def test_several_rules_work_on_one_statement() -> None:
    answer = answered(
        """SELECT DISTINCT t.trip_id, t.miles FROM trip t JOIN boat b ON b.boat_id = t.boat_id
        WHERE EXTRACT(YEAR FROM t.left_at) = 2024"""
    )
    assert {change.rule for change in answer.changes} == {"date_range", "unused_join", "useless_distinct"}
    assert answer.sql is not None
    assert "boat b" not in answer.sql
    assert "\n" in answer.sql


def test_no_improvement_is_an_answer() -> None:
    sql = "SELECT name FROM boat WHERE boat_id = 4"
    answer = answered(f"  {sql}\n")
    assert answer.sql == sql
    assert answer.changes == ()
    assert answer.warnings == ("No improvement found.",)
    assert answer.refused is None
    assert answer.verified_by == ("parsed", "resolved", "executed")
    assert answer.plan is not None
    assert answer.plan.after is None


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "DELETE FROM trip",
        "UPDATE trip SET miles = 0",
        "DROP TABLE trip",
        "SELECT 1; SELECT 2",
        "SELECT * INTO copy FROM trip",
        "SELECT pg_sleep(10)",
        "SELECT trip_id FROM trip FOR UPDATE",
        "SELECT FROM WHERE",
    ],
)
def test_what_does_not_only_read_is_refused(sql: str) -> None:
    with pytest.raises(StatementRefused):
        answered(sql)


def test_names_that_are_not_there_are_named() -> None:
    answer = answered("SELECT tonnage FROM boat WHERE boat_id = 4")
    assert answer.sql is None
    assert answer.refused is not None
    assert (answer.refused.code, answer.refused.missing) == ("unreadable", ("tonnage",))


def test_without_a_schema_there_is_advice_alone() -> None:
    answer = answered("SELECT a FROM t WHERE b LIKE '%x' LIMIT 5 OFFSET 9000", schema=None)
    assert answer.sql == "SELECT a FROM t WHERE b LIKE '%x' LIMIT 5 OFFSET 9000"
    assert not answer.is_verified
    assert answer.verified_by == ("parsed",)
    assert any("no schema" in warning for warning in answer.warnings)
    assert any("wildcard" in warning for warning in answer.warnings)
    assert any("OFFSET 9000" in warning for warning in answer.warnings)


def _without_where(ground: Ground) -> Iterator[Edit]:
    for select in ground.selects():
        if select.args.get("where"):
            yield changing(select, partial(select.set, "where", None), "wrong")


def _with_distinct(ground: Ground) -> Iterator[Edit]:
    for select in ground.selects():
        if not select.args.get("distinct"):
            yield changing(select, partial(select.set, "distinct", exp.Distinct()), "dearer")


@pytest.mark.parametrize("rule", [_without_where, _with_distinct])
def test_a_rule_that_is_wrong_or_makes_things_dearer_is_not_kept(rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "RULES", {"bad": rule})
    sql = "SELECT trip_id FROM trip WHERE miles > 3 AND skipper = 'Ada'"
    assert answered(sql).sql == sql


@pytest.mark.parametrize(
    ("sql", "other"),
    [
        (
            "SELECT name FROM boat WHERE boat_id NOT IN (SELECT inspector_id FROM trip)",
            "SELECT name FROM boat b WHERE NOT EXISTS (SELECT 1 FROM trip t WHERE t.inspector_id = b.boat_id)",
        ),
        ("SELECT miles FROM trip WHERE miles >= 20", "SELECT miles FROM trip WHERE miles > 20"),
        ("SELECT miles FROM trip WHERE skipper = 'Ada'", "SELECT miles FROM trip WHERE LOWER(skipper) = 'ada'"),
        ("SELECT trip_id FROM trip ORDER BY miles", "SELECT trip_id FROM trip ORDER BY miles DESC"),
        ("SELECT DISTINCT skipper FROM trip", "SELECT skipper FROM trip"),
        ("SELECT COUNT(*) FROM trip", "SELECT COUNT(miles) FROM trip"),
        ("SELECT SUM(miles) FROM trip", "SELECT COALESCE(SUM(miles), 0) FROM trip"),
        ("SELECT boat_id, COUNT(*) FROM trip GROUP BY 1", "SELECT b.boat_id, 1 FROM boat b"),
        ("SELECT name FROM boat WHERE crew = 3", "SELECT name, crew FROM boat WHERE crew = 3"),
    ],
)
def test_made_rows_tell_statements_apart(sql: str, other: str) -> None:
    with ExitStack() as stack:
        place = prover(sql, stack)
        assert place.is_equal(gate.read_one(sql, "postgres"))
        assert not place.is_equal(gate.read_one(other, "postgres"))


def test_which_of_equal_rows_comes_first_is_no_difference() -> None:
    with ExitStack() as stack:
        place = prover("SELECT skipper, miles FROM trip ORDER BY skipper LIMIT 7", stack)
        assert place.runs() is None
        same = "SELECT skipper, miles FROM (SELECT * FROM trip ORDER BY trip_id DESC) AS t ORDER BY skipper LIMIT 7"
        assert place.is_equal(gate.read_one(same, "postgres"))


class PlannedDatabase:
    """A database of which only the plans are asked."""

    is_live = True
    dialect = "postgres"

    def __init__(self, costs: dict[str, float]) -> None:
        self.costs = costs

    def plan(self, statement: exp.Expr) -> dict[str, Any]:
        text = statement.sql("postgres")
        for part, cost in self.costs.items():
            if part in text:
                return {"unit": "postgres_cost", "cost": cost, "text": text}
        raise RunFailed("unknown")


@contextmanager
def planned(sql: str, costs: dict[str, float]) -> Iterator[Case]:
    yield Case(Task("optimize", sql, "postgres", schema=DDL), read_schema(DDL, "postgres"), PlannedDatabase(costs))  # type: ignore[arg-type]


def test_a_databases_own_plan_decides() -> None:
    with planned(YEAR, {"EXTRACT": 90.0, "left_at >=": 8.0}) as case:
        cheaper = optimize(case)
    with planned(YEAR, {"EXTRACT": 90.0, "left_at >=": 91.0}) as case:
        dearer = optimize(case)
    assert cheaper.plan is not None
    assert (cheaper.plan.before["unit"], cheaper.plan.before["cost"]) == ("postgres_cost", 90.0)
    assert cheaper.plan.after is not None
    assert cheaper.plan.after["cost"] == 8.0
    assert dearer.sql == YEAR
    assert dearer.changes == ()


@pytest.mark.parametrize(
    ("sql", "index"),
    [
        ("SELECT name FROM boat WHERE crew = 4", "CREATE INDEX boat_crew_idx ON boat (crew)"),
        (
            "SELECT name FROM boat WHERE built > '2020-01-01' AND crew = 4",
            "CREATE INDEX boat_crew_built_idx ON boat (crew, built)",
        ),
    ],
)
def test_indexes_are_equality_first_and_shown_to_help(sql: str, index: str) -> None:
    assert answered(sql).indexes == (index,)


@pytest.mark.parametrize(
    "sql", ["SELECT miles FROM trip WHERE skipper = 'Bo'", "SELECT name FROM boat WHERE boat_id = 4", "SELECT 1"]
)
def test_no_index_is_asked_for_that_is_there(sql: str) -> None:
    assert answered(sql).indexes == ()


def test_a_prefix_of_an_index_and_a_key_are_covered() -> None:
    trip = read_schema(DDL + "CREATE INDEX many ON trip (skipper, miles, back_on);", "postgres").table("trip")
    assert trip is not None
    assert is_covered(trip, ["skipper", "miles"])
    assert is_covered(trip, ["trip_id", "miles"])
    assert not is_covered(trip, ["miles", "skipper"])
    assert not is_covered(trip, ["inspector_id"])


def test_an_index_quotes_what_has_to_be_quoted() -> None:
    (table,) = read_schema('CREATE TABLE "order line" ("group" INT, n INT)', "postgres").tables
    text = create_index(table, ["group", "n"], "postgres")
    assert text == 'CREATE INDEX "order line_group_n_idx" ON "order line" ("group", n)'


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT name FROM boat ORDER BY boat_id LIMIT 10 OFFSET 5000", "OFFSET 5000 reads and throws away"),
        ("SELECT name FROM boat WHERE name LIKE '%ull'", "pg_trgm"),
        ("SELECT name FROM boat ORDER BY RANDOM() LIMIT 1", "random number"),
        ("SELECT crew FROM boat WHERE LOWER(name) = 'gull'", "index the expression"),
        ("SELECT name FROM boat WHERE boat_id NOT IN (SELECT inspector_id FROM trip)", "NOT IN gives no row at all"),
        ("SELECT crew FROM boat WHERE sail_number = 12", "is text, compared with the number 12"),
        ("SELECT b.name FROM boat b, berth p", "Nothing joins b and p"),
        ("SELECT * FROM boat", "SELECT * reads"),
    ],
)
def test_what_cannot_be_proven_is_said(sql: str, words: str) -> None:
    schema = read_schema(DDL, "postgres")
    assert any(words in one for one in advice(gate.read_one(sql, "postgres"), schema, "postgres"))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT name FROM boat ORDER BY boat_id LIMIT 10 OFFSET 20",
        "SELECT name FROM boat WHERE name LIKE 'Gul%'",
        "SELECT name FROM boat WHERE boat_id NOT IN (SELECT boat_id FROM trip)",
        "SELECT b.name FROM boat b, berth p WHERE b.berth_id = p.berth_id",
        "SELECT name FROM boat WHERE sail_number = '12' AND crew = 3",
    ],
)
def test_there_is_no_advice_where_there_is_nothing_wrong(sql: str) -> None:
    assert advice(gate.read_one(sql, "postgres"), read_schema(DDL, "postgres"), "postgres") == ()


def test_tables_may_be_named_with_their_schema() -> None:
    answer = answered("SELECT public.boat.name FROM public.boat WHERE EXTRACT(YEAR FROM built) = 2020")
    assert [change.rule for change in answer.changes] == ["date_range"]
    assert answer.sql is not None
    assert "FROM public.boat WHERE (built >= '2020-01-01'" in answer.sql


def test_what_cannot_be_counted_is_said() -> None:
    answer = answered("SELECT crew, COUNT(*) FROM boat GROUP BY ROLLUP (crew)")
    assert answer.plan is None
    assert not answer.is_verified
    assert any("nothing could be proven" in warning for warning in answer.warnings)


def test_a_search_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SEARCH_S", -1.0)
    answer = answered(YEAR)
    assert (answer.sql, answer.changes, answer.indexes) == (YEAR, (), ())


@pytest.mark.parametrize(
    ("dialect", "sql", "part"),
    [
        ("mysql", "SELECT `name` FROM `boat` WHERE YEAR(`built`) = 2020", "`built` >= '2020-01-01'"),
        ("tsql", "SELECT TOP 5 name FROM boat WHERE YEAR(built) = 2020 ORDER BY name", "SELECT TOP 5 name"),
        ("bigquery", "SELECT name FROM boat WHERE EXTRACT(YEAR FROM built) = 2020", "built < '2021-01-01'"),
    ],
)
def test_an_answer_is_in_the_asked_dialect(dialect: str, sql: str, part: str) -> None:
    answer = answered(sql, dialect)
    assert answer.dialect == dialect
    assert answer.sql is not None
    assert part in answer.sql
    assert [change.rule for change in answer.changes] == ["date_range"]


def test_very_many_constants_are_no_more_work_than_many() -> None:
    listed = ", ".join(map(str, range(3_000)))
    assert answered(f"SELECT name FROM boat WHERE boat_id IN ({listed})").verified_by[-1] == "executed"
