"""A query comes to its end, whoever waits for it."""

import asyncio

import pytest

from aiservice.stores.queries import whole


async def test_its_answer_is_given():
    assert await whole(asyncio.sleep(0, "answer")) == "answer"


async def test_it_ends_before_the_one_who_was_cancelled_goes_on():
    may_end, has_ended = asyncio.Event(), asyncio.Event()

    async def query() -> None:
        await may_end.wait()
        has_ended.set()

    waiting = asyncio.create_task(whole(query()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    may_end.set()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert has_ended.is_set()


async def test_a_query_that_fails_after_all_does_not_hide_the_cancel():
    may_end = asyncio.Event()

    async def query() -> None:
        await may_end.wait()
        raise OSError

    waiting = asyncio.create_task(whole(query()))
    await asyncio.sleep(0)
    waiting.cancel()
    may_end.set()

    with pytest.raises(asyncio.CancelledError):
        await waiting
