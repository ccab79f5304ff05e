"""Asks a database again and again, for what other processes have changed in it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import NoReturn


async def repeat(ask: Callable[[], Coroutine[None, None, None]], *, every_s: float) -> NoReturn:
    """Runs `ask` until it is cancelled, `every_s` seconds after its last end. `ask` must handle its own errors.

    A cancelled one still comes to its end: a query that is cut off leaves its connection's thread behind.
    """
    while True:
        asking = asyncio.create_task(ask())
        try:
            await asyncio.shield(asking)
        except asyncio.CancelledError:
            await asking
            raise
        await asyncio.sleep(every_s)
