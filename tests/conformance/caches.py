"""Every response cache by its name. What is opened several times at one place is as several workers that share it."""

import random
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from aiservice.cache import Cache
from aiservice.cache.memory import MemoryCache, MemoryCacheIndex
from aiservice.cache.redis import RedisCache
from aiservice.cache.sqlite import SqliteCache
from aiservice.core.clock import Clock
from aiservice.core.settings import CacheSettings
from aiservice.stores.redis import Redis, address_of

# A call that this machine's noise holds up must not count as an outage.
PATIENCE_S = 10.0
SECRET = b"s" * 32


class Extreme(random.Random):
    """A source that always draws the least, or always the most."""

    def __init__(self, *, is_most: bool) -> None:
        super().__init__(0)
        self._is_most = is_most

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return start - 1 if self._is_most else 0


@dataclass
class Place:
    """Where caches keep their entries, and what they have in common. `stack` closes them."""

    backend: str
    folder: Path
    settings: CacheSettings
    clock: Clock
    source: random.Random
    url: str
    stack: AsyncExitStack
    index: MemoryCacheIndex = field(init=False)

    def __post_init__(self) -> None:
        self.index = MemoryCacheIndex(self.clock)


async def memory_cache(place: Place) -> Cache:
    return MemoryCache(place.settings, place.clock, source=place.source)


async def sqlite_cache(place: Place) -> Cache:
    return SqliteCache(place.folder / "cache.db", place.settings, place.clock, secret=SECRET, source=place.source)


async def redis_cache(place: Place) -> Cache:
    redis = Redis(address_of(place.url), timeout_s=PATIENCE_S, name="cache")
    place.stack.push_async_callback(redis.aclose)
    await redis.start()
    cache = RedisCache(redis, place.settings, place.clock, secret=SECRET, index=place.index, source=place.source)
    cache.lease_clock = place.clock
    return cache


CACHES: Final[Mapping[str, Callable[[Place], Awaitable[Cache]]]] = {
    "memory": memory_cache,
    "sqlite": sqlite_cache,
    "redis": redis_cache,
    "redis_cluster": redis_cache,
}
URLS: Final[Mapping[str, str]] = {"redis": "redis_url", "redis_cluster": "redis_cluster_url"}
# Those that workers share; the others are one worker's own.
SHARED: Final = frozenset(CACHES) - {"memory"}
# Those that make room and sweep leases themselves, by the clock they are given. Redis does both by its own.
TIDY: Final = frozenset({"memory", "sqlite"})


def params(backends: frozenset[str]) -> list[object]:
    """For a fixture or a test; what needs a server is marked."""
    return [
        pytest.param(name, marks=pytest.mark.stores) if name in URLS else name for name in CACHES if name in backends
    ]


ALL: Final = params(frozenset(CACHES))


class Opener:
    """Opens caches at a place of their own; the stack closes them."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path, stack: AsyncExitStack) -> None:
        self._request = request
        self._folder = folder
        self._stack = stack

    async def open(
        self, backend: str, settings: CacheSettings, clock: Clock, *, source: random.Random, count: int = 1
    ) -> list[Cache]:
        """So many workers' caches, or one where each worker has its own."""
        url = self._request.getfixturevalue(URLS[backend]) if backend in URLS else ""
        place = Place(backend, self._folder, settings, clock, source, url, self._stack)
        caches = [await CACHES[backend](place) for _ in range(count if backend in SHARED else 1)]
        for cache in caches:
            self._stack.push_async_callback(cache.aclose)
        return caches
