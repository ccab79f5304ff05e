"""Asks a database again and again, for what other processes have changed in it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import NoReturn

# The least pause between two questions, however often the loop is woken.
REST_S = 0.05


async def repeat(
    ask: Callable[[], Coroutine[None, None, None]], *, every_s: float, wake: asyncio.Event | None = None
) -> NoReturn:
    """Runs `ask` until it is cancelled, `every_s` seconds after its last end. `ask` must handle its own errors.

    `wake` ends the pause early: what is set while `ask` runs has it run once more. However often it is set, there is
    one question at a time, one that waits, and 50 ms between them.
    A cancelled one still comes to its end: a query that is cut off leaves its connection's thread behind.
    """
    while True:
        if wake is not None:
            wake.clear()
        asking = asyncio.create_task(ask())
        try:
            await asyncio.shield(asking)
        except asyncio.CancelledError:
            await asking
            raise
        await _pause(every_s, wake)


async def _pause(pause_s: float, wake: asyncio.Event | None) -> None:
    if wake is None:
        await asyncio.sleep(pause_s)
        return
    rest_s = min(REST_S, pause_s)
    await asyncio.sleep(rest_s)
    try:
        async with asyncio.timeout(pause_s - rest_s):
            await wake.wait()
    except TimeoutError:
        return
