"""The whole service over several workers: its counts are summed, and a killed one is replaced."""

import asyncio
import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from tests.faults.serving import Served, serving

pytestmark = [pytest.mark.faults, pytest.mark.timeout(60)]


async def ask(served: Served, key: str, prompt: str, **fields: Any) -> dict[str, Any] | None:
    """The answer, or None when the connection broke or the service said no."""
    body = {"prompt": prompt, "max_tokens": 5} | fields
    try:
        headers = {"x-api-key": key, "cache-control": "no-store"}
        async with served.http.post(f"{served.url}/ai/generate", json=body, headers=headers) as response:
            answer: dict[str, Any] = await response.json()
            return answer if response.status == 200 else None
    except aiohttp.ClientError:
        return None


def ledger_ids(data_dir: Path) -> Counter[str]:
    with closing(sqlite3.connect(data_dir / "main.db")) as database:
        rows = database.execute("select id from ai_usage_logs where status_code = 200")
        return Counter(str(UUID(row[0])) for row in rows)


async def test_metrics_sum_over_four_workers(tmp_path: Path) -> None:
    async with serving(tmp_path, WORKERS="4") as served:
        key = await served.new_key()
        for start in range(0, 400, 40):
            batch = await asyncio.gather(*(ask(served, key, f"q{start + n}") for n in range(40)))
            assert all(batch)
        await asyncio.sleep(0.5)  # every worker writes its counts ten times a second
        async with served.http.get(f"{served.url}/metrics") as response:
            lines = (await response.text()).splitlines()
    counted = [line for line in lines if line.startswith('aiservice_requests_total{endpoint="/ai/generate"')]
    assert counted == ['aiservice_requests_total{endpoint="/ai/generate",status="200"} 400.0']


async def test_killed_worker_is_replaced_and_the_service_goes_on(tmp_path: Path) -> None:
    async with serving(tmp_path, WORKERS="2") as served:
        key = await served.new_key()
        before = set(served.workers())
        assert len(before) == 2
        victim = before.pop()
        os.kill(victim, signal.SIGKILL)
        await served.replaced(victim, count=2, within_s=5)
        for number in range(40):
            assert await ask(served, key, f"q{number}") is not None
