"""Idempotency keys over real processes: a client that leaves, a worker that is killed, many workers at once."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.faults.serving import Served, serving

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

LEASE_S = 30


async def ask(served: Served, key: str, once: str, **fields: Any) -> tuple[int, bytes, bool]:
    """Status, body and whether it is a replay; status 0 when the connection broke."""
    headers = {"x-api-key": key, "idempotency-key": once, "cache-control": "no-store"}
    body = {"prompt": "What is Docker?"} | fields
    try:
        async with served.http.post(f"{served.url}/ai/generate", json=body, headers=headers) as response:
            return response.status, await response.read(), "idempotent-replayed" in response.headers
    except aiohttp.ClientError:
        return 0, b"", False


async def rows_of(served: Served, key: str) -> list[dict[str, Any]]:
    await asyncio.sleep(1.5)  # rows are shipped twice a second
    rows: list[dict[str, Any]] = (await served.get("/usage/logs?limit=1000", **{"x-api-key": key}))["logs"]
    return rows


async def test_each_of_fifty_keys_runs_once_however_often_it_is_sent_to_four_workers(tmp_path: Path) -> None:
    async with serving(tmp_path, WORKERS="4") as served:
        key = await served.new_key()
        answers: dict[str, set[bytes]] = {f"order {n}": set() for n in range(50)}

        async def insist(once: str) -> None:
            while (answer := await ask(served, key, once))[0] == 409:
                await asyncio.sleep(0.01)
            assert answer[0] == 200
            answers[once].add(answer[1])

        await asyncio.gather(*(insist(once) for once in answers for _ in range(8)))

        assert {len(bodies) for bodies in answers.values()} == {1}
        assert len(await rows_of(served, key)) == 50


async def test_client_that_left_gets_its_answer_by_asking_again(tmp_path: Path) -> None:
    async with serving(tmp_path, WORKERS="2") as served:
        key = await served.new_key()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(served, key, "k", model="slow-50"), 0.3)
        assert (await ask(served, key, "k", model="slow-50"))[0] == 409
        await asyncio.sleep(1.5)

        status, _, is_replayed = await ask(served, key, "k", model="slow-50")

        assert (status, is_replayed) == (200, True)
        (row,) = await rows_of(served, key)
        assert (row["status_code"], row["completion_tokens"]) == (200, 20)


async def test_request_of_a_killed_worker_runs_again_when_its_lease_has_lapsed(tmp_path: Path) -> None:
    async with serving(tmp_path, WORKERS="1") as served:
        key = await served.new_key()
        lost = asyncio.create_task(ask(served, key, "k", model="slow-50"))
        await asyncio.sleep(0.4)
        (worker,) = served.workers()
        os.kill(worker, signal.SIGKILL)
        killed_s = time.monotonic()
        assert (await lost)[0] == 0
        await served.replaced(worker, count=1)

        statuses = set()
        while (answer := await ask(served, key, "k", model="slow-50"))[0] != 200:
            statuses.add(answer[0])
            assert time.monotonic() - killed_s < LEASE_S + 10
            await asyncio.sleep(0.25)

        assert statuses <= {0, 409}
        assert 409 in statuses
        assert time.monotonic() - killed_s > LEASE_S - 5
        assert not answer[2]
        assert await ask(served, key, "k", model="slow-50") == (200, answer[1], True)
