"""Several caches over one Redis, as the workers of several instances have them, and a look into the Redis."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis as Client

from aiservice.cache import CacheIndex, CacheKey
from aiservice.cache.eras import Eras
from aiservice.cache.memory import MemoryCacheIndex
from aiservice.cache.redis import RedisCache
from aiservice.core.clock import Clock, ManualClock
from aiservice.core.settings import CacheSettings
from aiservice.stores.redis import Redis, address_of
from tests.unit.cache.workers import SECRET

# A call that this machine's noise holds up must not count as an outage.
PATIENCE_S = 10.0
DEFAULT = CacheSettings()


class Sharing:
    """Opens caches over one Redis and one index, and closes them. `data` speaks to the Redis past them."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self.url = url
        self.clock = ManualClock()
        self.index: CacheIndex = MemoryCacheIndex(self.clock)
        self.data: Any = Client.from_url(url)
        self._stack = stack
        stack.callback(self.data.close)

    async def start(
        self, *, secret: bytes = SECRET, clock: Clock | None = None, timeout_s: float = PATIENCE_S, **settings: int
    ) -> RedisCache:
        kept = CacheSettings(**settings)
        return await opened(
            self.url, self._stack, clock or self.clock, self.index, timeout_s=timeout_s, secret=secret, settings=kept
        )


async def opened(
    url: str,
    stack: AsyncExitStack,
    clock: Clock,
    index: CacheIndex,
    *,
    timeout_s: float,
    secret: bytes = SECRET,
    settings: CacheSettings = DEFAULT,
) -> RedisCache:
    """A cache that the stack closes."""
    redis = Redis(address_of(url), timeout_s=timeout_s, name="cache")
    stack.push_async_callback(redis.aclose)
    await redis.start()
    cache = RedisCache(redis, settings, clock, secret=secret, index=index)
    stack.push_async_callback(cache.aclose)
    return cache


def entry_name(key: CacheKey) -> str:
    return Eras().place(key).entry(key)


def lease_name(key: CacheKey) -> str:
    return Eras().place(key).lease(key)


def era_names(key: CacheKey) -> tuple[str, ...]:
    return Eras().place(key).eras


@dataclass
class Noise:
    """How long this process stood still at most, for want of a core: what no deadline of its own can help."""

    worst_s: float = 0.0


@asynccontextmanager
async def noise() -> AsyncIterator[Noise]:
    """Measures it until the end."""
    loop, measured = asyncio.get_running_loop(), Noise()

    async def watch() -> None:
        while True:
            began_s = loop.time()
            await asyncio.sleep(0.005)
            measured.worst_s = max(measured.worst_s, loop.time() - began_s)

    watching = asyncio.create_task(watch())
    yield measured
    watching.cancel()
