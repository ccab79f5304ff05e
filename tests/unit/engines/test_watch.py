import asyncio
import time

import pytest

from aiservice.core.errors import EngineTimeout
from aiservice.core.types import Deadline
from aiservice.engines.watch import Watch

LONG_S = 5.0


def deadline(*, first_token_s: float = LONG_S, between_tokens_s: float = LONG_S, total_s: float = LONG_S) -> Deadline:
    return Deadline(LONG_S, first_token_s, between_tokens_s, total_s)


async def wait(watch: Watch, seconds: float) -> None:
    with watch:
        await asyncio.sleep(seconds)


async def test_a_wait_within_all_limits_passes():
    watch = Watch(deadline(), is_streamed=True)

    await wait(watch, 0.01)

    watch.close()


async def test_first_token():
    start = time.monotonic()

    with pytest.raises(EngineTimeout, match=r"did not begin its answer within 0\.05 s"):
        await wait(Watch(deadline(first_token_s=0.05), is_streamed=True), LONG_S)
    assert 0.04 < time.monotonic() - start < 1.0


async def test_first_token_counts_over_several_waits():
    watch = Watch(deadline(first_token_s=0.06), is_streamed=True)
    await wait(watch, 0.04)

    with pytest.raises(EngineTimeout, match="did not begin"):
        await wait(watch, 0.04)


async def test_between_tokens_begins_anew_with_each():
    watch = Watch(deadline(first_token_s=0.04, between_tokens_s=0.1), is_streamed=True)
    for _ in range(4):
        watch.note_token()
        await wait(watch, 0.04)
    watch.note_token()

    with pytest.raises(EngineTimeout, match=r"silent for 0\.1 s"):
        await wait(watch, LONG_S)


async def test_a_shorter_limit_between_tokens_takes_over_from_the_first():
    watch = Watch(deadline(between_tokens_s=0.03), is_streamed=True)
    await wait(watch, 0.001)
    watch.note_token()

    with pytest.raises(EngineTimeout, match="silent"):
        await wait(watch, 1.0)


async def test_time_outside_of_a_wait_does_not_count_between_tokens():
    watch = Watch(deadline(between_tokens_s=0.05), is_streamed=True)
    watch.note_token()
    await wait(watch, 0.001)
    watch.note_token()
    await asyncio.sleep(0.1)

    await wait(watch, 0.01)

    watch.close()


async def test_total():
    watch = Watch(deadline(total_s=0.08), is_streamed=True)

    async def tokens() -> None:
        while True:
            watch.note_token()
            await wait(watch, 0.01)

    with pytest.raises(EngineTimeout, match=r"did not finish its answer within 0\.08 s"):
        await tokens()


async def test_a_plain_call_has_the_total_limit_alone():
    watch = Watch(deadline(first_token_s=0.01, total_s=0.05), is_streamed=False)
    await wait(watch, 0.02)

    with pytest.raises(EngineTimeout, match="did not finish"):
        await wait(watch, LONG_S)


async def test_a_cancellation_from_outside_stays_one():
    task = asyncio.create_task(wait(Watch(deadline(), is_streamed=True), LONG_S))
    await asyncio.sleep(0.01)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_in_the_same_turn_goes_first():
    watch = Watch(deadline(first_token_s=0.02), is_streamed=True)
    task = asyncio.create_task(wait(watch, LONG_S))
    await asyncio.sleep(0)
    # Set after the watch's own timer, for the same moment: both fire before the task runs again.
    asyncio.get_running_loop().call_later(0.02, task.cancel)
    time.sleep(0.03)

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_task_can_go_on_after_a_timeout():
    with pytest.raises(EngineTimeout):
        await wait(Watch(deadline(first_token_s=0.01), is_streamed=True), LONG_S)

    await asyncio.sleep(0.01)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_closed_watch_fires_no_more():
    watch = Watch(deadline(first_token_s=0.3), is_streamed=True)
    await wait(watch, 0.001)

    watch.close()

    await asyncio.sleep(0.35)
