"""Work beside the calls goes on whatever happens in it."""

import asyncio
import logging

import pytest

from aiservice.stores.redis.background import Background


async def test_a_step_that_fails_is_logged_and_followed_by_the_next(caplog: pytest.LogCaptureFixture):
    ends = iter([ValueError("a mistake")])
    done = asyncio.Event()

    async def step() -> None:
        if (end := next(ends, None)) is not None:
            raise end
        done.set()
        await asyncio.Event().wait()

    background = Background(step, failure_pause_s=0.01)
    background.start()
    background.start()
    async with asyncio.timeout(5):
        await done.wait()
    await background.aclose()
    await background.aclose()

    assert [(record.levelno, record.exc_info is not None) for record in caplog.records] == [(logging.ERROR, True)]
