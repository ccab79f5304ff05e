"""The cache of one process: the twin that tests run on."""

import random
from collections import OrderedDict
from dataclasses import dataclass

from aiservice.cache import payload as payloads
from aiservice.cache.model import CacheKey, CacheStats, Entry
from aiservice.core.clock import Clock
from aiservice.core.settings import CacheSettings
from aiservice.core.types import Completion


@dataclass(slots=True)
class _Kept:
    key: CacheKey
    completion: Completion
    bytes: int
    created_at_us: int
    expires_at_us: int
    hit_count: int = 0


class MemoryCache:
    """Entries in a dictionary, the least recently used first. Never fails."""

    def __init__(self, settings: CacheSettings, clock: Clock, *, source: random.Random | None = None) -> None:
        self.failures = 0
        self._settings = settings
        self._clock = clock
        self._random = source or random.SystemRandom()
        self._entries: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0
        self._hits = 0
        self._misses = 0

    async def get(self, key: CacheKey, *, max_age_s: int | None = None) -> Entry | None:
        now_us = self._clock.now_us()
        kept = self._entries.get(key.digest)
        if kept is None or kept.expires_at_us <= now_us or _is_older(kept, max_age_s, now_us):
            self._misses += 1
            return None
        self._hits += 1
        kept.hit_count += 1
        self._entries.move_to_end(key.digest)
        return Entry(kept.completion, kept.created_at_us, kept.expires_at_us, kept.hit_count)

    async def put(self, key: CacheKey, completion: Completion) -> None:
        payload = payloads.written(completion)
        if payloads.is_too_large(payload, self._settings):
            return
        now_us = self._clock.now_us()
        size = payloads.size_bytes(payload)
        self._drop(key.digest)
        while self._bytes + size > self._settings.bytes_max:
            self._drop(next(iter(self._entries)))
        expires_us = now_us + payloads.lifetime_us(self._settings, self._random)
        self._entries[key.digest] = _Kept(key, completion, size, now_us, expires_us)
        self._bytes += size

    async def clear(self, *, tenant_id: str | None = None, model: str | None = None) -> int:
        now_us = self._clock.now_us()
        cleared = [
            kept
            for kept in self._entries.values()
            if tenant_id in (None, kept.key.tenant_id) and model in (None, kept.key.model)
        ]
        for kept in cleared:
            self._drop(kept.key.digest)
        return sum(kept.expires_at_us > now_us for kept in cleared)

    async def stats(self) -> CacheStats:
        now_us = self._clock.now_us()
        live = [kept.bytes for kept in self._entries.values() if kept.expires_at_us > now_us]
        return CacheStats(len(live), sum(live), self._hits, self._misses)

    async def aclose(self) -> None:
        """Holds nothing open."""

    def _drop(self, digest: str) -> None:
        kept = self._entries.pop(digest, None)
        if kept is not None:
            self._bytes -= kept.bytes


def _is_older(kept: _Kept, max_age_s: int | None, now_us: int) -> bool:
    return max_age_s is not None and now_us - kept.created_at_us > max_age_s * 1_000_000
