"""Every response cache by its name. What is opened twice on one folder is as two workers of one machine."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from aiservice.cache import Cache
from aiservice.cache.memory import MemoryCache
from aiservice.cache.sqlite import SqliteCache
from aiservice.core.clock import Clock
from aiservice.core.settings import CacheSettings

Open = Callable[[Path, CacheSettings, Clock, random.Random], Cache]


class Extreme(random.Random):
    """A source that always draws the least, or always the most."""

    def __init__(self, *, is_most: bool) -> None:
        super().__init__(0)
        self._is_most = is_most

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return start - 1 if self._is_most else 0


def memory_cache(_: Path, settings: CacheSettings, clock: Clock, source: random.Random) -> Cache:
    return MemoryCache(settings, clock, source=source)


def sqlite_cache(folder: Path, settings: CacheSettings, clock: Clock, source: random.Random) -> Cache:
    return SqliteCache(folder / "cache.db", settings, clock, secret=b"s" * 32, source=source)


CACHES: Final[Mapping[str, Open]] = {"memory": memory_cache, "sqlite": sqlite_cache}
# Those that workers share; the others are one worker's own.
SHARED: Final = frozenset({"sqlite"})
