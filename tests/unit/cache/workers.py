"""Several caches on one file, as the workers of one machine have them, and a look into the file."""

from pathlib import Path
from typing import Any

from aiservice.cache import CacheKey
from aiservice.cache.sqlite import SqliteCache
from aiservice.core.clock import ManualClock
from aiservice.core.settings import CacheSettings
from aiservice.core.types import Chunk, Completion, Tokens
from aiservice.stores.databases import open_hot

TEND_AFTER_S = 0.1
SECRET = b"a secret of at least thirty-two bytes"
ANSWER = Completion("smollm2:135m", "llamacpp", (Chunk("Hi.", "stop", Tokens(3, 2)),))


def saying(text: str) -> Completion:
    return Completion(ANSWER.model, ANSWER.engine, (Chunk(text, "stop", Tokens(3, 2)),))


KEY = CacheKey("a" * 64, "acme", "m")


def key(number: int, tenant_id: str = "acme", model: str = "m") -> CacheKey:
    return CacheKey(f"{number:064x}", tenant_id, model)


class Workers:
    """Several caches on one file, and a look into it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "cache.db"
        self.clock = ManualClock()
        self._open: list[SqliteCache] = []

    def start(self, *, secret: bytes = SECRET, **settings: int) -> SqliteCache:
        kept = CacheSettings(**settings)
        cache = SqliteCache(self.path, kept, self.clock, secret=secret, tend_after_s=TEND_AFTER_S)
        self._open.append(cache)
        return cache

    def sql(self, statement: str, *values: Any) -> list[Any]:
        connection = open_hot(self.path, synchronous="OFF")
        rows = connection.execute(statement, values).fetchall()
        connection.close()
        return rows

    async def stop(self) -> None:
        for cache in self._open:
            await cache.aclose()
