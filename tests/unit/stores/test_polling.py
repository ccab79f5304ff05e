"""The loop that keys and limits poll with."""

import asyncio

import pytest

from aiservice.stores.polling import repeat


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
