"""Which column a name is, by scope."""

import pytest
from sqlglot import exp

from aiservice.sqlassist.gate import read_one
from aiservice.sqlassist.names import Resolution, nearest, resolve
from aiservice.sqlassist.schema import Schema, read_schema

CLINIC = read_schema(
    """
    CREATE TABLE doctor (id INT PRIMARY KEY, name TEXT, field TEXT, boss_id INT);
    CREATE TABLE patient (id INT PRIMARY KEY, name TEXT, born DATE);
    CREATE TABLE visit (id INT PRIMARY KEY, doctor_id INT REFERENCES doctor,
                        patient_id INT REFERENCES patient, cost INT);
    CREATE TABLE archive.visit (id INT, note TEXT);
    """,
    "postgres",
)


def resolved(sql: str, dialect: str = "postgres", schema: Schema | None = CLINIC) -> tuple[exp.Expr, Resolution]:
    statement = read_one(sql, dialect)
    return statement, resolve(statement, schema, dialect)


def problems(sql: str, dialect: str = "postgres") -> list[tuple[str, str, str | None]]:
    return [(problem.kind, problem.name, problem.nearest) for problem in resolved(sql, dialect)[1].problems]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT d.name, NAME FROM doctor d",
        "SELECT name FROM doctor ORDER BY field",
        "SELECT name AS n FROM doctor ORDER BY n",
        "SELECT field AS f, count(*) FROM doctor GROUP BY f HAVING count(*) > 1",
        "SELECT n FROM (SELECT name AS n FROM doctor) AS x",
        "SELECT x.n FROM (SELECT name FROM doctor) AS x(n)",
        "WITH x AS (SELECT name AS n FROM doctor) SELECT n FROM x",
        "WITH x(n) AS (SELECT name FROM doctor) SELECT n FROM x",
        "WITH a AS (SELECT id FROM doctor), b AS (SELECT id AS other FROM a) SELECT other FROM b",
        "WITH RECURSIVE up AS (SELECT id, boss_id FROM doctor UNION ALL SELECT d.id, d.boss_id FROM doctor d "
        "JOIN up ON up.boss_id = d.id) SELECT id FROM up",
        "SELECT name FROM doctor d WHERE EXISTS (SELECT 1 FROM visit WHERE doctor_id = d.id AND cost > 3)",
        "SELECT name FROM doctor WHERE id IN (SELECT doctor_id FROM visit WHERE field = 'x')",
        "SELECT d.name, v.cost FROM doctor d, LATERAL (SELECT cost FROM visit WHERE doctor_id = d.id) v",
        "SELECT id FROM visit JOIN archive.visit AS old USING (id)",
        "SELECT note FROM archive.visit",
        "SELECT * FROM doctor UNION SELECT 1, 'a', 'b', 2 ORDER BY name",
        "SELECT count(*) OVER w FROM doctor WINDOW w AS (PARTITION BY field)",
        "UPDATE visit SET cost = cost + 1 WHERE doctor_id = 3",
        "DELETE FROM visit WHERE cost > 3",
        "INSERT INTO visit (id, cost) SELECT id, 3 FROM doctor",
        "INSERT INTO visit (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET cost = excluded.cost",
        "SELECT name INTO kept FROM doctor",
        "CREATE TABLE kept AS SELECT name FROM doctor",
        "SELECT g.v FROM generate_series(1, 3) AS g(v)",
    ],
)
def test_every_name_is_somebodys(sql: str) -> None:
    assert problems(sql) == []


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT nam FROM doctor", [("column", "nam", "name")]),
        ("SELECT d.feild FROM doctor d", [("column", "feild", "field")]),
        ("SELECT zzzzzz FROM doctor", [("column", "zzzzzz", None)]),
        ("SELECT name FROM docter", [("table", "docter", "doctor")]),
        ("SELECT x.name FROM doctor d", [("alias", "x", None)]),
        ("SELECT doctor.name FROM doctor d", [("alias", "doctor", "d")]),
        ("SELECT id FROM doctor d JOIN visit v ON v.doctor_id = d.id", [("ambiguous", "id", None)]),
        ("SELECT n FROM (SELECT name FROM doctor) x", [("column", "n", None)]),
        ("SELECT cost FROM doctor WHERE id IN (SELECT doctor_id FROM visit)", [("column", "cost", None)]),
        ("SELECT name AS n FROM doctor WHERE n = 'x'", [("column", "n", None)]),
        ("SELECT d.name FROM doctor d, (SELECT cost FROM visit WHERE doctor_id = d.id) v", [("alias", "d", None)]),
        ("SELECT 1 FROM doctor JOIN visit USING (nam)", [("column", "nam", None)]),
        ("INSERT INTO visit (id, cots) VALUES (1, 2)", [("column", "cots", "cost")]),
        ("UPDATE visit SET cots = 1", [("column", "cots", "cost")]),
    ],
)
def test_what_is_nobodys_is_told_with_the_nearest_name(sql: str, expected: list[tuple[str, str, str | None]]) -> None:
    assert problems(sql) == expected


def test_a_column_is_told_with_its_table() -> None:
    statement, names = resolved("SELECT v.COST FROM visit v WHERE EXISTS (SELECT 1 FROM doctor WHERE name = 'x')")
    found = {column.name: names.of(column) for column in statement.find_all(exp.Column)}
    assert {name: (known[0].name, known[1].name) for name, known in found.items() if known is not None} == {
        "COST": ("visit", "cost"),
        "name": ("doctor", "name"),
    }


def test_the_inner_table_hides_the_outer_one() -> None:
    statement, names = resolved("SELECT name FROM doctor WHERE id IN (SELECT id FROM patient WHERE name = 'x')")
    tables = [known[0].name for column in statement.find_all(exp.Column) if (known := names.of(column)) is not None]
    assert sorted(tables) == ["doctor", "doctor", "patient", "patient"]


def test_without_a_schema_nothing_is_a_problem() -> None:
    assert resolved("SELECT anything FROM anywhere", schema=None)[1].is_whole


def test_double_quotes_are_text_in_sqlite_where_no_column_has_the_name() -> None:
    sql = 'SELECT "name" FROM doctor WHERE field = "heart"'
    names = resolved(sql, "sqlite")[1]
    assert (len(names.texts), len(names.columns)) == (1, 2)
    assert problems(sql, "postgres") == [("column", "heart", None)]


@pytest.mark.parametrize(
    ("name", "among", "expected"),
    [
        ("docter", ["patient", "doctor"], "doctor"),
        ("DOCTR", ["Doctor"], "Doctor"),
        ("xyz", ["doctor"], None),
        ("a", [], None),
    ],
)
def test_the_nearest_name(name: str, among: list[str], expected: str | None) -> None:
    assert nearest(name, among) == expected
