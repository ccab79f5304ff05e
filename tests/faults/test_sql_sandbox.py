"""SQL assist in the whole service: its processes die, its statements do not end, and the rest goes on."""

import asyncio
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.serving import Served, command, serving

pytestmark = [pytest.mark.faults, pytest.mark.timeout(90)]

SCHEMA = "members(id, name, city); loans(id, member_id, title)"


async def assist(served: Served, key: str, **fields: Any) -> tuple[int, Any]:
    body = {"action": "explain", "query": "SELECT name FROM members", "schema": SCHEMA} | fields
    async with served.http.post(f"{served.url}/ai/sql/assist", json=body, headers={"x-api-key": key}) as response:
        return response.status, await response.json()


def pool_of(served: Served) -> int:
    """The pool's process id."""
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text().split()
    (pool,) = [int(pid) for pid in children if b".sandbox" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return pool


def family(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    children = [int(child) for child in path.read_text().split()] if path.exists() else []
    return [pid, *(one for child in children for one in family(child))]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_a_killed_pool_is_replaced_while_everything_else_goes_on(tmp_path: Path) -> None:
    async with serving(tmp_path, WORKERS="2") as served:
        key = await served.new_key()
        assert (await assist(served, key))[0] == 200
        before = pool_of(served)
        children = family(before)
        os.kill(before, signal.SIGKILL)
        started_s = time.monotonic()
        statuses = []
        while True:
            status, answer = await assist(served, key)
            statuses.append(status)
            if status == 200:
                break
            assert (status, answer["error"]["code"]) == (503, "server.overloaded")
            await asyncio.sleep(0.05)
        assert time.monotonic() - started_s < 10
        assert pool_of(served) != before
        assert not any(map(lives, children))
        async with served.http.get(f"{served.url}/health/ready") as response:
            assert response.status == 200


async def test_statements_without_end_are_ended_and_leave_nothing(tmp_path: Path) -> None:
    """Each sandbox gets one; the next requests are served, and no process is left but those that belong."""
    path = tmp_path / "big.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(50)])
    connection.close()
    data_dir = tmp_path / "data"
    async with serving(data_dir, WORKERS="1", SQL_DEADLINE="2") as served:
        code, said = await command(data_dir, "databases", "add", "big", f"sqlite://{path}", "--tenant", "acme")
        assert code == 0, said
        key = await served.new_key()
        endless = f"SELECT count(*) FROM {', '.join(f't a{number}' for number in range(12))}"
        asked = [assist(served, key, action="fix", query=endless, database="big", schema=None) for _ in range(6)]
        outcomes = await asyncio.gather(*asked)
        for status, answer in outcomes:
            assert status in (200, 504), answer
            assert status == 504 or answer["sql"] is None or "executed" not in answer["verified_by"]
        assert (await assist(served, key))[0] == 200
        assert len(family(pool_of(served))) == 3


async def test_no_process_is_left_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    # There is nobody left to be stopped in order.
    with pytest.raises(ProcessLookupError):
        await serve_and_kill(tmp_path)


async def serve_and_kill(data_dir: Path) -> None:
    async with serving(data_dir, WORKERS="1") as served:
        key = await served.new_key()
        assert (await assist(served, key))[0] == 200
        everyone = family(served.process.pid)[1:]
        assert len(everyone) >= 4
        served.process.kill()
        await served.process.wait()
        async with asyncio.timeout(5):
            while any(map(lives, everyone)):
                await asyncio.sleep(0.02)
