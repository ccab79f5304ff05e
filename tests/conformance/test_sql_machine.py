"""Every Machine gives the same answers: in this process, and through the sandboxes."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aiservice.core.errors import DatabaseDown, SchemaInvalid, SqlTimeout, StatementRefused
from aiservice.sqlassist import Machine, Query, Target, Task
from aiservice.sqlassist.client import SandboxMachine
from aiservice.sqlassist.memory import MemoryMachine
from tests.servers.sql_pool import SqlPool, sql_pool

SCHEMA = "CREATE TABLE birds (id INT PRIMARY KEY, name TEXT NOT NULL, ringed DATE, weight REAL);"


@pytest.fixture(scope="module")
def pool() -> Iterator[SqlPool]:
    with sql_pool(1) as running:
        yield running


@pytest.fixture(params=["memory", "sandbox"])
async def machine(request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    if request.param == "memory":
        yield MemoryMachine()
        return
    running: SqlPool = request.getfixturevalue("pool")
    client = SandboxMachine(lambda: running.path)
    yield client
    await client.aclose()


@pytest.fixture
def target(tmp_path: Path) -> Target:
    path = tmp_path / "birds.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(SCHEMA)
        connection.execute("INSERT INTO birds VALUES (1, 'wren', '2025-05-01', 9.5), (2, 'rook', NULL, 480)")
    connection.close()
    return Target("birds", f"sqlite://{path}")


async def test_all_four_actions(machine: Machine):
    explained = await machine.assist(Task("explain", "SELECT name FROM birds WHERE weight > 9", schema=SCHEMA))
    assert explained.explanation.facts.values == ("9",)
    fixed = await machine.assist(Task("fix", "SELECT nam FROM birds", schema=SCHEMA))
    assert fixed.sql is not None
    assert [change.after for change in fixed.changes] == ["name"]
    written = await machine.assist(Task("generate", "How many birds are there?", schema=SCHEMA))
    assert written.sql is not None
    assert "executed" in written.verified_by
    better = await machine.assist(Task("optimize", "SELECT DISTINCT id FROM birds", schema=SCHEMA))
    assert better.sql is not None


async def test_what_a_model_should_be_asked(machine: Machine):
    asked = await machine.brief(Task("generate", "How many birds are there?", schema=SCHEMA))
    assert asked is not None
    assert '"birds"' in asked.user
    assert asked.count > 1
    assert await machine.brief(Task("fix", "SELECT 1", schema=SCHEMA)) is None


async def test_rows_of_a_database(machine: Machine, target: Target):
    grid = await machine.run(Query(target, "SELECT name, weight FROM birds ORDER BY id", rows_max=1))
    assert (grid.rows, grid.is_truncated) == ((("wren", 9.5),), True)


async def test_what_is_wrong_is_said_alike(machine: Machine, target: Target):
    with pytest.raises(StatementRefused):
        await machine.assist(Task("optimize", "DROP TABLE birds", schema=SCHEMA))
    with pytest.raises(SchemaInvalid):
        await machine.assist(Task("explain", "SELECT 1", schema="???"))
    with pytest.raises(StatementRefused):
        await machine.run(Query(target, "DELETE FROM birds"))
    names = ", ".join(f"birds b{number}" for number in range(40))
    with pytest.raises(SqlTimeout):
        await machine.run(Query(target, f"SELECT count(*) FROM {names}", deadline_s=0.2))
    with pytest.raises(DatabaseDown):
        await machine.run(Query(Target("none", "sqlite:///nowhere"), "SELECT 1"))
