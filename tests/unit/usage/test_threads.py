"""Work in a thread ends before its caller does."""

import asyncio
import threading

import pytest

from aiservice.usage.threads import run_to_end


async def test_result_and_error_come_back():
    assert await run_to_end(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await run_to_end(divmod, 7, 0)


async def test_a_cancelled_caller_waits_for_the_thread():
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(5)
        done.set()

    caller = asyncio.create_task(run_to_end(work))
    await asyncio.to_thread(begun.wait, 5)
    caller.cancel()
    await asyncio.sleep(0.02)
    assert not caller.done()
    go_on.set()

    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done.is_set()
