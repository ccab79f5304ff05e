"""The pool of sandboxes through its client: what kills a sandbox hurts nobody else."""

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from aiservice.core.errors import DatabaseDown, Overloaded, SchemaInvalid, SqlTimeout, StatementRefused, Unexpected
from aiservice.sqlassist import Query, Target, Task
from aiservice.sqlassist.client import SandboxMachine, socket_path
from tests.servers.sql_pool import SqlPool, sql_pool

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
EXPLAIN = Task("explain", "SELECT a FROM t", "sqlite", "t(a, b)")


@pytest.fixture(scope="module")
def pool() -> Iterator[SqlPool]:
    with sql_pool(2) as running:
        yield running


@pytest.fixture
async def machine(pool: SqlPool) -> AsyncIterator[SandboxMachine]:
    client = SandboxMachine(lambda: pool.path)
    yield client
    await client.aclose()


@pytest.fixture
def target(tmp_path: Path) -> Target:
    path = tmp_path / "some.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a INTEGER, b TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(number, f"b{number}") for number in range(9)])
    return Target("some", f"sqlite://{path}")


async def test_answers_briefs_and_rows(machine: SandboxMachine, target: Target):
    answer = await machine.assist(EXPLAIN)
    assert answer.explanation.facts.columns == ("a",)
    grid = await machine.run(Query(target, "SELECT b FROM t ORDER BY a", rows_max=2))
    assert (grid.rows, grid.is_truncated) == ((("b0",), ("b1",)), True)


async def test_errors_cross_as_what_they_are(machine: SandboxMachine):
    with pytest.raises(StatementRefused, match="2 statements"):
        await machine.assist(Task("explain", "SELECT 1; SELECT 2"))
    with pytest.raises(SchemaInvalid, match="line 1") as invalid:
        await machine.assist(Task("explain", "SELECT 1", schema="what?"))
    assert invalid.value.param == "schema"
    with pytest.raises(DatabaseDown):
        await machine.run(Query(Target("x", "sqlite:///nowhere"), "SELECT 1"))


async def test_many_at_once_each_get_their_own(machine: SandboxMachine):
    async def ask(number: int) -> str:
        answer = await machine.assist(Task("explain", f"SELECT a FROM t WHERE a = {number}", "sqlite", "t(a)"))
        return answer.explanation.facts.values[0]

    assert await asyncio.gather(*(ask(number) for number in range(20))) == [str(number) for number in range(20)]


async def test_a_statement_past_its_limit_is_ended_and_the_next_one_served(machine: SandboxMachine, target: Target):
    with pytest.raises(SqlTimeout):
        await machine.run(Query(target, ENDLESS, deadline_s=0.3))
    assert (await machine.run(Query(target, "SELECT count(*) FROM t"))).rows == ((9,),)


async def test_work_past_its_deadline_is_killed(machine: SandboxMachine, pool: SqlPool):
    """A stopped sandbox ends nothing by itself: the pool does."""
    await machine.assist(EXPLAIN)
    before = pool.children()
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    started_s = time.monotonic()
    stuck = [machine.assist(Task("explain", "SELECT 1", deadline_s=0.3)) for _ in before]
    outcomes = await asyncio.gather(*stuck, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [SqlTimeout] * len(before)
    assert time.monotonic() - started_s < 3
    assert (await machine.assist(EXPLAIN)).sql is not None
    assert set(pool.children()).isdisjoint(before)


async def test_a_sandbox_that_dies_is_replaced(machine: SandboxMachine, pool: SqlPool):
    await machine.assist(EXPLAIN)
    for pid in pool.children():
        os.kill(pid, signal.SIGKILL)
    outcomes = await asyncio.gather(*(machine.assist(EXPLAIN) for _ in range(4)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} <= {Unexpected, type(await machine.assist(EXPLAIN))}
    assert len(pool.children()) == 2


async def test_who_leaves_ends_the_work(machine: SandboxMachine, pool: SqlPool, target: Target):
    before = set(pool.children())
    leaving = asyncio.create_task(machine.run(Query(target, ENDLESS, deadline_s=60)))
    await asyncio.sleep(0.3)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    async with asyncio.timeout(5):
        while set(pool.children()) == before or len(pool.children()) < 2:
            await asyncio.sleep(0.02)
    assert (await machine.assist(EXPLAIN)).sql is not None


async def test_a_sandbox_writes_no_file_and_has_little_memory(machine: SandboxMachine, pool: SqlPool):
    await machine.assist(EXPLAIN)
    for pid in pool.children():
        limits = Path(f"/proc/{pid}/limits").read_text()
        rows = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
        assert rows["Max file size"] == "0"
        assert rows["Max core file size"] == "0"
        assert rows["Max address space"] == str(1 << 30)
        assert int(rows["Max open files"]) <= 64
        assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()


async def test_too_many_at_once_are_told_to_come_again(pool: SqlPool, target: Target):
    with sql_pool(1) as small:
        machine = SandboxMachine(lambda: small.path)
        running = [asyncio.create_task(machine.run(Query(target, ENDLESS, deadline_s=1.0))) for _ in range(30)]
        outcomes = await asyncio.gather(*running, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {SqlTimeout, Overloaded}
        await machine.aclose()


async def test_a_pool_that_is_away_is_said(tmp_path: Path):
    machine = SandboxMachine(lambda: tmp_path / "none.sock")
    with pytest.raises(Overloaded) as away:
        await machine.assist(EXPLAIN)
    assert away.value.retry_after_s == 2


async def test_a_pool_that_came_back_is_found(target: Target, tmp_path: Path):
    place: list[Path] = []
    machine = SandboxMachine(lambda: place[0])
    for _ in range(2):
        with sql_pool(1) as running:
            place[:] = [running.path]
            assert (await machine.assist(EXPLAIN)).sql is not None
    await machine.aclose()


def test_the_pool_and_its_sandboxes_die_with_their_parent():
    with sql_pool(2) as running:
        children = running.children()
        running.process.kill()
        running.process.wait(5)
        until_s = time.monotonic() + 5
        while any(Path(f"/proc/{pid}").exists() and not _is_zombie(pid) for pid in children):
            assert time.monotonic() < until_s
            time.sleep(0.02)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_where_it_listens(tmp_path: Path):
    assert socket_path(tmp_path) == tmp_path.resolve() / "run" / "sql.sock"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "sql.path").write_text("/tmp/elsewhere.sock")
    assert socket_path(tmp_path) == Path("/tmp/elsewhere.sock")
