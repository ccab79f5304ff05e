"""A registered SQLite file: it is read, whatever is asked of it."""

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlglot

from aiservice.core.errors import DatabaseDown, DatabaseUnknown, SqlTimeout, StatementRefused
from aiservice.sqlassist.live import Live, open_live
from aiservice.sqlassist.model import Target
from aiservice.sqlassist.runner import RunFailed
from tests.unit.sqlassist.hostile import hostile

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
CLINIC = """
CREATE TABLE doctors (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, ward TEXT);
CREATE TABLE visits (
    doctor_id INTEGER REFERENCES doctors (id), day DATE, cost REAL, PRIMARY KEY (doctor_id, day)
);
CREATE INDEX visits_cost ON visits (cost);
CREATE VIEW busy AS SELECT doctor_id, count(*) AS visits FROM visits GROUP BY doctor_id;
INSERT INTO doctors VALUES (1, 'Okafor', 'north'), (2, 'Lind', 'south'), (3, 'Marsh', NULL);
INSERT INTO visits VALUES (1, '2025-01-02', 10.5), (1, '2025-01-03', 20), (2, '2025-01-02', 0);
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "clinic of ours.sqlite"
    with sqlite3.connect(path) as connection:
        connection.executescript(CLINIC)
    connection.close()
    return path


@pytest.fixture
def live(path: Path) -> Iterator[Live]:
    with open_live(Target("clinic", f"sqlite://{path}")) as opened:
        yield opened


def test_the_schema_is_read_with_keys_and_values(live: Live):
    doctors, visits, busy = live.schema().tables
    assert [column.name for column in doctors.columns] == ["id", "name", "ward"]
    assert (doctors.primary_key, doctors.unique) == (("id",), (("name",),))
    assert [(c.kind, c.is_nullable) for c in doctors.columns] == [("integer", False), ("text", False), ("text", True)]
    ward = doctors.column("WARD")
    assert ward is not None
    assert set(ward.values) == {"north", "south"}
    assert visits.primary_key == ("doctor_id", "day")
    assert visits.indexes == (("cost",),)
    assert [(key.columns, key.table, key.references, key.is_declared) for key in visits.foreign_keys] == [
        (("doctor_id",), "doctors", ("id",), True)
    ]
    assert [column.name for column in busy.columns] == ["doctor_id", "visits"]


def test_rows_are_capped_and_steps_counted(live: Live):
    rows = live.run(sqlglot.parse_one("SELECT name FROM doctors ORDER BY id"), rows_max=2)
    assert (rows.columns, rows.rows, rows.is_truncated) == (("name",), (("Okafor",), ("Lind",)), True)
    many = live.run(sqlglot.parse_one("SELECT count(*) FROM visits a, visits b, visits c, visits d, visits e"))
    assert many.rows == ((243,),)
    assert many.steps is not None
    assert many.steps > 200


def test_a_plan_has_costs_and_words(live: Live):
    plan = live.plan(sqlglot.parse_one("SELECT * FROM visits WHERE cost > 5"))
    assert plan["unit"] == "sqlite_steps"
    assert "visits_cost" in plan["text"]


def test_a_grid_is_for_showing(live: Live):
    grid = live.grid("SELECT name, NULL AS gone, x'ff' AS bytes FROM doctors ORDER BY id;", rows_max=1, seconds=1)
    assert [column.name for column in grid.columns] == ["name", "gone", "bytes"]
    assert (grid.rows, grid.is_truncated) == ((("Okafor", None, "ff"),), True)
    with pytest.raises(StatementRefused):
        live.grid("DELETE FROM doctors", rows_max=1, seconds=1)
    with pytest.raises(StatementRefused, match="no such table"):
        live.grid("SELECT * FROM nowhere", rows_max=1, seconds=1)
    with pytest.raises(SqlTimeout):
        live.grid(ENDLESS, rows_max=1, seconds=0.05)


def test_an_endless_statement_is_ended(live: Live):
    started_s = time.monotonic()
    with pytest.raises(RunFailed) as failed:
        live.run(sqlglot.parse_one(ENDLESS), seconds=0.1)
    assert failed.value.kind == "time"
    assert time.monotonic() - started_s < 1


def test_hostile_statements_change_nothing_and_read_no_file(live: Live, path: Path, tmp_path: Path):
    """Past the gate: the connection itself is held to what it may do."""
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    told = []
    for sql in hostile():
        for text in (
            sql,
            sql.replace("/etc/passwd", str(secret)).replace(" t", " doctors").replace("/tmp/x", str(tmp_path / "new")),
        ):
            try:
                told.append(live._guard.run(text, rows_max=10, seconds=0.2).rows)
            except RunFailed:
                continue
    assert "the secret" not in repr(told)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["clinic of ours.sqlite", "secret.txt"]


@pytest.mark.parametrize("url", ["sqlite:///nowhere/at/all.sqlite", "sqlite:///etc/passwd"])
def test_what_is_no_database_is_down(url: str):
    with pytest.raises(DatabaseDown), open_live(Target("none", url)):
        pass


def test_an_unknown_kind_is_said():
    with pytest.raises(DatabaseUnknown, match="gopher"), open_live(Target("old", "gopher://host")):
        pass


def test_nothing_listens_there():
    for url in ("postgresql://a:secret@127.0.0.1:1/x", "mysql://a:secret@127.0.0.1:1/x"):
        with pytest.raises(DatabaseDown) as down, open_live(Target("none", url)):
            pass
        assert "secret" not in str(down.value)
