"""What the tests of the Redis client share."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from aiservice.core.errors import StoreUnavailable
from aiservice.stores.redis import Redis

Connect = Callable[..., Awaitable[Redis]]
WAIT_S = 10.0


async def until(is_so: Callable[[], bool], *, within_s: float = WAIT_S) -> None:
    """Waits until it is so; raises `TimeoutError`."""
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.002)


async def failure(call: Awaitable[object]) -> tuple[str, float]:
    """What a call that is not answered says, and after how many seconds."""
    started_s = time.perf_counter()
    with pytest.raises(StoreUnavailable) as raised:
        await call
    return str(raised.value.detail), time.perf_counter() - started_s


def echo(command: list[bytes]) -> object:
    """An answer of a scripted server: the last argument."""
    return command[-1]
