"""A full disk under the usage spool: nothing new is taken, nothing running is lost, and it mends itself."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disks import fill, small_spool
from tests.faults.serving import serving
from tests.faults.test_service import ask, ledger_ids

pytestmark = pytest.mark.faults

SIZE_MIB = 48


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """DATA_DIR whose spool lies on a file system of its own, with room for two reserves of a worker and little more."""
    with small_spool(tmp_path, SIZE_MIB):
        yield tmp_path


@pytest.mark.parametrize("room", [0, 100])
async def test_a_start_on_a_full_disk_comes_up_and_serves_once_there_is_room(small_disk: Path, room: int) -> None:
    """With no room at all, and with room for the spool's first file and not for its reserve."""
    filler = small_disk / "spool" / "filler"
    fill(filler)
    os.truncate(filler, filler.stat().st_size - room * 4096)
    async with serving(small_disk, WORKERS="2") as served:
        key = await served.new_key()
        headers = {"x-api-key": key}
        for _ in range(6):
            async with served.http.post(f"{served.url}/ai/generate", json={"prompt": "x"}, headers=headers) as refused:
                assert (refused.status, (await refused.json())["error"]["code"]) == (503, "usage.spool_full")
                assert int(refused.headers["retry-after"]) >= 1
        async with served.http.get(f"{served.url}/health/ready") as ready:
            assert ready.status == 503
        health = await served.get("/health")
        assert (health["status"], health["checks"]["spool"]["status"]) == ("down", "down")
        filler.unlink()
        answered = []
        async with asyncio.timeout(20):
            while len(answered) < 20:
                answer = await ask(served, key, f"mended {len(answered)}")
                if answer is None:
                    await asyncio.sleep(0.1)
                else:
                    answered.append(answer["id"])
    assert set(answered) <= set(ledger_ids(small_disk))


async def test_full_disk_refuses_new_requests_and_records_the_running_ones(small_disk: Path) -> None:
    async with serving(small_disk, WORKERS="1") as served:
        key = await served.new_key()
        assert await ask(served, key, "before") is not None
        running = [asyncio.create_task(ask(served, key, f"q{n}", model="slow-50", max_tokens=50)) for n in range(5)]
        await asyncio.sleep(0.3)
        filler = small_disk / "spool" / "filler"
        fill(filler)
        # The file that is open has room until its last block is full.
        async with asyncio.timeout(20):
            number = 0
            while await ask(served, key, f"after {number}") is not None:
                number += 1
        headers = {"x-api-key": key}
        async with served.http.post(f"{served.url}/ai/generate", json={"prompt": "x"}, headers=headers) as refused:
            assert refused.status == 503
            assert (await refused.json())["error"]["code"] == "usage.spool_full"
            assert int(refused.headers["retry-after"]) >= 1
        async with served.http.get(f"{served.url}/health/ready") as ready:
            assert ready.status == 503
        answers = [answer for answer in await asyncio.gather(*running) if answer is not None]
        assert len(answers) == 5
        filler.unlink()
        async with asyncio.timeout(10):
            while await ask(served, key, "mended") is None:
                await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            while not {answer["id"] for answer in answers} <= set(ledger_ids(small_disk)):
                await asyncio.sleep(0.1)
    assert max(ledger_ids(small_disk).values()) == 1
