"""Each rule: where it fits, where it does not, and what NULL makes of both."""

import pytest

from aiservice.sqlassist import gate
from aiservice.sqlassist.optimize.rules import RULES
from tests.unit.sqlassist.optimize.harbour import made_by, rows_of

# Rule, statement, a part of what it becomes.
POSITIVE = [
    ("date_range", "SELECT trip_id FROM trip WHERE EXTRACT(YEAR FROM left_at) = 2024", "left_at < '2025-01-01'"),
    ("date_range", "SELECT trip_id FROM trip WHERE EXTRACT(YEAR FROM left_at) > 2023", "left_at >= '2024-01-01'"),
    ("date_range", "SELECT trip_id FROM trip WHERE 2024 >= EXTRACT(YEAR FROM back_on)", "back_on < '2025-01-01'"),
    ("date_range", "SELECT trip_id FROM trip WHERE DATE_TRUNC('month', left_at) = '2023-12-01'", "< '2024-01-01'"),
    ("date_range", "SELECT trip_id FROM trip WHERE CAST(left_at AS DATE) <= '2023-12-31'", "left_at < '2024-01-01'"),
    ("date_range", "SELECT trip_id FROM trip WHERE CAST(left_at AS DATE) >= CURRENT_DATE", "left_at >= CURRENT_DATE"),
    (
        "date_range",
        "SELECT trip_id FROM trip WHERE EXTRACT(YEAR FROM back_on) BETWEEN 2023 AND 2024",
        "(back_on >= '2023-01-01' AND back_on < '2025-01-01')",
    ),
    ("moved_arithmetic", "SELECT trip_id FROM trip WHERE miles - 5 <= 7", "miles <= 12"),
    (
        "moved_arithmetic",
        "SELECT trip_id FROM trip WHERE back_on + INTERVAL '3 days' > DATE '2024-01-04'",
        "back_on > CAST('2024-01-04' AS DATE) - INTERVAL '3 DAYS'",
    ),
    ("days_between", "SELECT trip_id FROM trip WHERE CURRENT_DATE - back_on <= 30", "back_on >= CURRENT_DATE - 30"),
    ("uncast", "SELECT name FROM boat WHERE CAST(boat_id AS TEXT) = '3'", "boat_id = 3"),
    ("prefix", "SELECT trip_id FROM trip WHERE SUBSTR(skipper, 1, 3) = 'Ada'", "skipper LIKE 'Ada%'"),
    ("uncoalesced", "SELECT trip_id FROM trip WHERE COALESCE(miles, 0) > 10", "WHERE miles > 10"),
    ("or_to_in", "SELECT name FROM boat WHERE crew = 3 OR crew = 5", "crew IN (3, 5)"),
    (
        "or_to_union",
        "SELECT trip_id FROM trip WHERE miles = 40 OR skipper = 'Ada'",
        "skipper = 'Ada' AND (NOT miles = 40 OR miles IS NULL)",
    ),
    (
        "having_to_where",
        "SELECT crew, COUNT(*) FROM boat GROUP BY crew HAVING crew > 2 AND COUNT(*) > 0",
        "WHERE crew > 2 GROUP BY crew HAVING COUNT(*) > 0",
    ),
    (
        "left_to_inner",
        "SELECT b.name FROM boat b LEFT JOIN trip t ON t.boat_id = b.boat_id WHERE t.miles > 5",
        "AS b JOIN trip",
    ),
    (
        "unused_join",
        "SELECT t.miles FROM trip t JOIN boat b ON b.boat_id = t.boat_id WHERE t.miles > 5",
        "FROM trip AS t WHERE",
    ),
    (
        "unused_join",
        "SELECT b.name FROM boat b LEFT JOIN berth p ON p.berth_id = b.berth_id",
        "SELECT b.name FROM boat AS b",
    ),
    (
        "count_to_exists",
        "SELECT name FROM boat b WHERE (SELECT COUNT(miles) FROM trip t WHERE t.boat_id = b.boat_id) = 0",
        "NOT EXISTS(SELECT 1 FROM trip AS t WHERE t.boat_id = b.boat_id AND NOT miles IS NULL)",
    ),
    ("star_to_one", "SELECT name FROM boat b WHERE EXISTS (SELECT * FROM trip)", "EXISTS(SELECT 1 FROM trip)"),
    (
        "narrowed",
        "SELECT n.skipper FROM (SELECT * FROM trip ORDER BY trip_id LIMIT 3) AS n",
        "(SELECT skipper FROM trip ORDER BY",
    ),
    (
        "useless_order",
        "SELECT crew, COUNT(*) FROM (SELECT crew FROM boat ORDER BY name) AS s GROUP BY crew",
        "(SELECT crew FROM boat) AS s",
    ),
    ("useless_distinct", "SELECT DISTINCT sail_number, name FROM boat", "SELECT sail_number, name"),
    (
        "useless_distinct",
        "SELECT DISTINCT t.trip_id, b.name FROM trip t JOIN boat b ON b.boat_id = t.boat_id",
        "SELECT t.trip_id",
    ),
    ("distinct_in_aggregate", "SELECT COUNT(DISTINCT trip_id) FROM trip", "COUNT(*)"),
    (
        "union_all",
        "SELECT trip_id, 'a' AS k FROM trip WHERE miles > 9 UNION SELECT trip_id, 'b' FROM trip WHERE miles < 9",
        "UNION ALL",
    ),
    (
        "correlated_to_join",
        "SELECT t.trip_id FROM trip t WHERE t.miles > (SELECT AVG(o.miles) FROM trip o WHERE o.boat_id = t.boat_id)",
        "JOIN (SELECT o.boat_id AS key_1, AVG(o.miles) AS value",
    ),
    (
        "correlated_to_join",
        "SELECT b.name, (SELECT COUNT(*) FROM trip t WHERE t.boat_id = b.boat_id) AS trips FROM boat b",
        "COALESCE(grouped_1.value, 0)",
    ),
    (
        "not_in_to_not_exists",
        "SELECT name FROM boat WHERE boat_id NOT IN (SELECT boat_id FROM trip WHERE miles = 40)",
        "NOT EXISTS(SELECT 1 FROM trip WHERE miles = 40 AND trip.boat_id = boat.boat_id)",
    ),
    (
        "in_to_join",
        "SELECT name FROM boat WHERE berth_id IN (SELECT berth_id FROM berth WHERE quay = 'North')",
        "JOIN berth ON berth.berth_id = boat.berth_id",
    ),
    (
        "in_to_exists",
        "SELECT name FROM boat WHERE boat_id IN (SELECT boat_id FROM trip WHERE miles = 40)",
        "EXISTS(SELECT 1 FROM trip WHERE miles = 40 AND trip.boat_id = boat.boat_id)",
    ),
]
# Rule and a statement that looks like its own and is not.
NEGATIVE = [
    ("date_range", "SELECT trip_id FROM trip WHERE EXTRACT(YEAR FROM left_at) = miles"),
    ("date_range", "SELECT trip_id FROM trip WHERE EXTRACT(MONTH FROM left_at) = 12"),
    ("date_range", "SELECT trip_id FROM trip WHERE DATE_TRUNC('month', left_at) = '2023-12-05'"),
    ("date_range", "SELECT trip_id FROM trip WHERE CAST(left_at AS DATE) <= CURRENT_DATE"),
    ("date_range", "SELECT trip_id FROM trip WHERE CAST(skipper AS DATE) = '2023-12-05'"),
    ("moved_arithmetic", "SELECT trip_id FROM trip WHERE miles + trip_id > 7"),
    ("moved_arithmetic", "SELECT trip_id FROM trip WHERE back_on + INTERVAL '1 month' > DATE '2024-01-31'"),
    ("days_between", "SELECT trip_id FROM trip WHERE CURRENT_DATE - back_on = 30"),
    ("uncast", "SELECT name FROM boat WHERE CAST(boat_id AS TEXT) = '03'"),
    ("prefix", "SELECT trip_id FROM trip WHERE SUBSTR(skipper, 1, 5) = 'Ada'"),
    ("prefix", "SELECT trip_id FROM trip WHERE SUBSTR(skipper, 1, 2) = 'A%'"),
    ("uncoalesced", "SELECT trip_id FROM trip WHERE COALESCE(miles, 20) > 10"),
    ("or_to_in", "SELECT name FROM boat WHERE crew = 3 OR berth_id = 5"),
    ("or_to_union", "SELECT COUNT(*) FROM trip WHERE miles = 40 OR skipper = 'Ada'"),
    ("having_to_where", "SELECT crew, COUNT(*) FROM boat GROUP BY crew HAVING COUNT(*) > 2"),
    ("left_to_inner", "SELECT b.name FROM boat b LEFT JOIN trip t ON t.boat_id = b.boat_id WHERE b.crew > 5"),
    ("unused_join", "SELECT b.name FROM boat b JOIN trip t ON t.boat_id = b.boat_id"),
    ("unused_join", "SELECT * FROM trip t JOIN boat b ON b.boat_id = t.boat_id"),
    ("unused_join", "SELECT t.miles FROM trip t JOIN berth p ON p.berth_id = t.boat_id"),
    ("count_to_exists", "SELECT name FROM boat b WHERE (SELECT COUNT(*) FROM trip) > 1"),
    ("count_to_exists", "SELECT name FROM boat WHERE (SELECT COUNT(*) FROM trip GROUP BY boat_id LIMIT 1) > 0"),
    ("star_to_one", "SELECT name FROM boat WHERE EXISTS (SELECT miles FROM trip)"),
    ("narrowed", "SELECT * FROM (SELECT * FROM trip) AS n"),
    ("useless_order", "SELECT crew FROM (SELECT crew FROM boat ORDER BY name LIMIT 2) AS s ORDER BY crew"),
    ("useless_order", "SELECT crew FROM (SELECT crew FROM boat ORDER BY name) AS s"),
    ("useless_order", "SELECT STRING_AGG(name, ',') FROM (SELECT name FROM boat ORDER BY name) AS s"),
    ("useless_distinct", "SELECT DISTINCT name, crew FROM boat"),
    ("useless_distinct", "SELECT DISTINCT b.boat_id FROM boat b JOIN trip t ON t.boat_id = b.boat_id"),
    ("distinct_in_aggregate", "SELECT COUNT(DISTINCT boat_id) FROM trip"),
    ("distinct_in_aggregate", "SELECT COUNT(DISTINCT b.boat_id) FROM boat b JOIN trip t ON t.boat_id = b.boat_id"),
    ("union_all", "SELECT trip_id FROM trip WHERE miles > 9 UNION SELECT trip_id FROM trip WHERE miles > 20"),
    ("union_all", "SELECT miles, 'a' AS k FROM trip UNION SELECT crew, 'b' FROM boat"),
    (
        "correlated_to_join",
        "SELECT t.trip_id FROM trip t WHERE t.miles > (SELECT AVG(o.miles) FROM trip o WHERE o.boat_id < t.boat_id)",
    ),
    (
        "correlated_to_join",
        "SELECT b.name, (SELECT COUNT(*) + 1 FROM trip t WHERE t.boat_id = b.boat_id) AS trips FROM boat b",
    ),
    ("not_in_to_not_exists", "SELECT name FROM boat WHERE boat_id NOT IN (SELECT MAX(boat_id) FROM trip)"),
    ("in_to_join", "SELECT name FROM boat WHERE boat_id IN (SELECT boat_id FROM trip WHERE miles = 40)"),
    ("in_to_join", "SELECT * FROM boat WHERE berth_id IN (SELECT berth_id FROM berth)"),
    ("in_to_exists", "SELECT name FROM boat WHERE boat_id IN (SELECT MAX(boat_id) FROM trip)"),
]
# Where NULL would make the two differ.
NULL_FORBIDS = [
    ("not_in_to_not_exists", "SELECT name FROM boat WHERE boat_id NOT IN (SELECT inspector_id FROM trip)"),
    ("not_in_to_not_exists", "SELECT name FROM boat WHERE berth_id NOT IN (SELECT boat_id FROM trip)"),
    ("uncoalesced", "SELECT NOT COALESCE(miles, 0) > 10 FROM trip"),
    ("unused_join", "SELECT b.name FROM boat b JOIN berth p ON p.berth_id = b.berth_id"),
    ("left_to_inner", "SELECT b.name FROM boat b LEFT JOIN trip t ON t.boat_id = b.boat_id WHERE t.miles IS NULL"),
    ("useless_distinct", "SELECT DISTINCT p.berth_id FROM boat b LEFT JOIN berth p ON p.berth_id = b.berth_id"),
    ("distinct_in_aggregate", "SELECT COUNT(DISTINCT p.berth_id) FROM boat b LEFT JOIN berth p ON p.depth = b.crew"),
]
# Where NULL is met and makes no difference, beside the positive ones.
NULL_ALLOWS = [
    (
        "not_in_to_not_exists",
        """SELECT name FROM boat WHERE boat_id NOT IN
        (SELECT inspector_id FROM trip WHERE NOT inspector_id IS NULL)""",
    ),
    ("left_to_inner", "SELECT b.name FROM boat b LEFT JOIN trip t ON t.boat_id = b.boat_id WHERE NOT t.miles IS NULL"),
    ("in_to_exists", "SELECT name FROM boat WHERE berth_id IN (SELECT inspector_id FROM trip)"),
    ("or_to_in", "SELECT name FROM boat WHERE NOT (crew = 3 OR crew = 5)"),
    ("union_all", "SELECT name FROM boat WHERE crew IN (SELECT miles FROM trip UNION SELECT inspector_id FROM trip)"),
]


@pytest.mark.parametrize(("rule", "sql", "part"), POSITIVE)
def test_a_rule_says_the_same_in_other_words(rule: str, sql: str, part: str) -> None:
    found = made_by(rule, sql)
    assert any(part in one.statement.sql("postgres") for one in found), [one.statement.sql("postgres") for one in found]
    assert found[0].change.rule == rule
    assert found[0].change.before != found[0].change.after


@pytest.mark.parametrize(("rule", "sql"), NEGATIVE)
def test_a_rule_leaves_alone_what_is_not_its_own(rule: str, sql: str) -> None:
    assert made_by(rule, sql) == []


@pytest.mark.parametrize(("rule", "sql"), NULL_FORBIDS)
def test_a_rule_leaves_alone_what_null_would_change(rule: str, sql: str) -> None:
    assert made_by(rule, sql) == []


@pytest.mark.parametrize("is_empty", [False, True])
@pytest.mark.parametrize(("rule", "sql"), [*(case[:2] for case in POSITIVE), *NULL_ALLOWS])
def test_rows_with_null_and_no_rows_at_all_give_the_same(rule: str, sql: str, is_empty: bool) -> None:
    wanted = rows_of(gate.read_one(sql, "postgres"), is_empty=is_empty)
    found = made_by(rule, sql)
    assert found
    assert [rows_of(one.statement, is_empty=is_empty) for one in found] == [wanted] * len(found)


def test_every_rule_has_its_tests() -> None:
    assert {case[0] for case in POSITIVE} == set(RULES)
    assert {case[0] for case in NEGATIVE} == set(RULES)


@pytest.mark.parametrize(
    ("dialect", "sql", "part"),
    [
        ("mysql", "SELECT trip_id FROM trip WHERE YEAR(left_at) = 2024", "left_at >= '2024-01-01'"),
        ("mysql", "SELECT trip_id FROM trip WHERE DATE_FORMAT(left_at, '%Y-%m') = '2023-12'", "left_at < '2024-01-01'"),
        ("sqlite", "SELECT trip_id FROM trip WHERE strftime('%Y', left_at) = '2024'", "left_at < '2025-01-01'"),
        ("tsql", "SELECT trip_id FROM trip WHERE YEAR(left_at) < 2024", "left_at < '2024-01-01'"),
    ],
)
def test_dates_of_other_dialects_are_ranges_too(dialect: str, sql: str, part: str) -> None:
    (found,) = made_by("date_range", sql, dialect)
    assert part in found.statement.sql(dialect)
    assert rows_of(found.statement, dialect) == rows_of(gate.read_one(sql, dialect), dialect) != []


def test_texts_are_not_compared_as_years() -> None:
    assert made_by("date_range", "SELECT trip_id FROM trip WHERE strftime('%Y', left_at) = 2024", "sqlite") == []
    assert (
        made_by("date_range", "SELECT trip_id FROM trip WHERE strftime('%Y', left_at) = '2024-01-01'", "sqlite") == []
    )


@pytest.mark.parametrize(
    ("comparison", "part"),
    [
        ("DATEDIFF(CURDATE(), back_on) <= 14", "back_on >= DATE_SUB(CURRENT_DATE, INTERVAL '14' DAY)"),
        ("DATEDIFF(CURDATE(), back_on) < 14", "back_on >= DATE_SUB(CURRENT_DATE, INTERVAL '13' DAY)"),
        ("DATEDIFF(CURDATE(), back_on) > 14", "back_on < DATE_SUB(CURRENT_DATE, INTERVAL '14' DAY)"),
        ("DATEDIFF(CURDATE(), back_on) >= 14", "back_on < DATE_SUB(CURRENT_DATE, INTERVAL '13' DAY)"),
    ],
)
def test_days_until_today_are_a_day(comparison: str, part: str) -> None:
    (found,) = made_by("days_between", f"SELECT trip_id FROM trip WHERE {comparison}", "mysql")
    assert part in found.statement.sql("mysql").replace("CURDATE()", "CURRENT_DATE")


def test_a_list_with_commas_stays_one() -> None:
    sql = """SELECT t.trip_id FROM trip t, boat b WHERE b.boat_id = t.boat_id
        AND t.miles > (SELECT AVG(o.miles) FROM trip o WHERE o.boat_id = b.boat_id)"""
    (found,) = made_by("correlated_to_join", sql)
    text = found.statement.sql("postgres")
    assert " JOIN " not in text
    assert "AND grouped_1.key_1 = b.boat_id" in text
    assert rows_of(found.statement) == rows_of(gate.read_one(sql, "postgres"))
