"""The loop that keys and limits poll with."""

import asyncio
import time

import pytest

from aiservice.stores.polling import REST_S, repeat


async def test_it_asks_until_it_is_cancelled() -> None:
    asked = asyncio.Semaphore(0)

    async def ask() -> None:
        asked.release()

    loop = asyncio.create_task(repeat(ask, every_s=0.001))
    async with asyncio.timeout(5):
        for _ in range(3):
            await asked.acquire()
    loop.cancel()

    with pytest.raises(asyncio.CancelledError):
        await loop


async def test_a_question_under_way_ends_before_the_loop_does() -> None:
    begun, answer, ended = asyncio.Event(), asyncio.Event(), False

    async def ask() -> None:
        nonlocal ended
        begun.set()
        await answer.wait()
        ended = True

    loop = asyncio.create_task(repeat(ask, every_s=60))
    await begun.wait()
    loop.cancel()
    await asyncio.sleep(0)
    assert not loop.done()
    answer.set()

    with pytest.raises(asyncio.CancelledError):
        await loop
    assert ended


class Asked:
    """Counts the questions and how many run at once; each takes `takes_s`."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.takes_s = takes_s
        self.count = 0
        self.running = 0
        self.running_max = 0

    async def __call__(self) -> None:
        self.count += 1
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        await asyncio.sleep(self.takes_s)
        self.running -= 1

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while self.count < count:
                await asyncio.sleep(0.001)


@pytest.fixture
async def woken():
    """A loop that pauses for a minute, with its questions and what wakes it."""
    asked, wake = Asked(), asyncio.Event()
    loop = asyncio.create_task(repeat(asked, every_s=60, wake=wake))
    await asked.until(1)
    yield asked, wake
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


async def test_it_is_woken_from_its_pause(woken):
    asked, wake = woken
    for count in (2, 3):
        await asyncio.sleep(REST_S * 2)
        wake.set()
        await asked.until(count)
    await asyncio.sleep(REST_S * 2)
    assert asked.count == 3


async def test_what_wakes_it_while_it_asks_has_it_ask_once_more(woken):
    asked, wake = woken
    asked.takes_s = 0.1
    wake.set()
    await asked.until(2)
    for _ in range(5):
        wake.set()
    await asked.until(3)
    await asyncio.sleep(0.1 + REST_S * 2)
    assert asked.count == 3


async def test_a_flood_is_one_question_at_a_time_with_a_rest_between(woken):
    asked, wake = woken
    asked.takes_s = 0.005
    began_s = time.monotonic()
    while time.monotonic() - began_s < 0.5:
        wake.set()
        await asyncio.sleep(0)
    assert asked.running_max == 1
    assert 3 <= asked.count <= 0.5 / REST_S + 2


async def test_without_a_ring_it_asks_after_its_pause():
    asked = Asked()
    loop = asyncio.create_task(repeat(asked, every_s=0.01, wake=asyncio.Event()))
    await asked.until(5)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)
