"""The cache of one process, and an index in memory: the twins that tests run on."""

import random
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from aiservice.cache import payload as payloads
from aiservice.cache.lease import LOST_AFTER_US, Lease, claimed, last_call_us
from aiservice.cache.model import CacheKey, CacheStats, Claim, Entry, EntryFacts
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
        self.era = 0
        self._settings = settings
        self._clock = clock
        self._random = source or random.SystemRandom()
        self._entries: OrderedDict[str, _Kept] = OrderedDict()
        self._leases: dict[CacheKey, Lease] = {}
        self._bytes = 0
        self._hits = 0
        self._misses = 0

    async def get(self, key: CacheKey, *, max_age_s: int | None = None) -> Entry | None:
        entry = self._find(key, max_age_s)
        if entry is None:
            self._misses += 1
        return entry

    async def put(self, key: CacheKey, completion: Completion, *, lease_id: str | None = None) -> None:
        may_keep = lease_id is None or self._end(key, lease_id)
        payload = payloads.written(completion)
        if not may_keep or payloads.is_too_large(payload, self._settings):
            return
        now_us = self._clock.now_us()
        size = payloads.size_bytes(payload)
        self._drop(key.digest)
        self._make_room(size, now_us)
        expires_us = now_us + payloads.lifetime_us(self._settings, self._random)
        self._entries[key.digest] = _Kept(key, completion, size, now_us, expires_us)
        self._bytes += size

    async def claim(self, key: CacheKey, lease_id: str, *, max_age_s: float | None = None) -> Claim:
        entry = self._find(key, max_age_s)
        if entry is not None:
            self._misses -= 1
            return Claim(False, entry)
        now_us = self._clock.now_us()
        is_leader, lease = claimed(self._leases.get(key), lease_id, now_us)
        self._leases[key] = lease
        if is_leader:
            self._leases = {key: one for key, one in self._leases.items() if one.expires_at_us > now_us - LOST_AFTER_US}
        return Claim(is_leader)

    async def renew(self, key: CacheKey, lease_id: str) -> bool:
        lease = self._leases.get(key)
        if lease is None or lease.id != lease_id:
            return False
        now_us = self._clock.now_us()
        self._leases[key] = lease.renewed(now_us)
        return lease.is_wanted(now_us)

    async def release(self, key: CacheKey, lease_id: str) -> None:
        lease = self._leases.get(key)
        if not self._end(key, lease_id) and lease is not None and lease.wanted_at_us is not None:
            wanted_at_us = min(lease.wanted_at_us, last_call_us(self._clock.now_us()))
            self._leases[key] = replace(lease, wanted_at_us=wanted_at_us)

    async def joined(self, key: CacheKey, hits: int) -> None:
        self._hits += hits
        self._misses -= hits
        kept = self._entries.get(key.digest)
        if kept is not None:
            kept.hit_count += hits
            self._entries.move_to_end(key.digest)

    async def clear(self, *, tenant_id: str | None = None, model: str | None = None) -> int:
        self.era += 1
        now_us = self._clock.now_us()
        for key in [key for key in self._leases if _is_within(key, tenant_id, model)]:
            del self._leases[key]
        cleared = [kept for kept in self._entries.values() if _is_within(kept.key, tenant_id, model)]
        for kept in cleared:
            self._drop(kept.key.digest)
        return sum(kept.expires_at_us > now_us for kept in cleared)

    async def stats(self) -> CacheStats:
        live = [kept.bytes for kept in self._live()]
        return CacheStats(len(live), sum(live), self._hits, self._misses)

    async def entries(self, limit: int) -> list[EntryFacts]:
        most = sorted(self._live(), key=lambda kept: -kept.hit_count)
        return [
            EntryFacts(
                kept.key.digest,
                kept.key.tenant_id,
                kept.key.model,
                kept.bytes,
                kept.created_at_us,
                kept.expires_at_us,
                kept.hit_count,
            )
            for kept in most[:limit]
        ]

    async def aclose(self) -> None:
        """Holds nothing open."""

    def _find(self, key: CacheKey, max_age_s: float | None) -> Entry | None:
        now_us = self._clock.now_us()
        kept = self._entries.get(key.digest)
        if kept is None or kept.expires_at_us <= now_us or _is_older(kept, max_age_s, now_us):
            return None
        self._hits += 1
        kept.hit_count += 1
        self._entries.move_to_end(key.digest)
        return Entry(kept.completion, kept.created_at_us, kept.expires_at_us, kept.hit_count)

    def _live(self) -> Iterator[_Kept]:
        now_us = self._clock.now_us()
        return (kept for kept in self._entries.values() if kept.expires_at_us > now_us)

    def _make_room(self, size: int, now_us: int) -> None:
        """Drops what has expired, then what has been used least recently, until `size` fits."""
        if self._bytes + size <= self._settings.bytes_max:
            return
        for digest in [digest for digest, kept in self._entries.items() if kept.expires_at_us <= now_us]:
            self._drop(digest)
        while self._bytes + size > self._settings.bytes_max:
            self._drop(next(iter(self._entries)))

    def _end(self, key: CacheKey, lease_id: str) -> bool:
        """Ends the lease; says whether it stood."""
        lease = self._leases.get(key)
        if lease is None or lease.id != lease_id:
            return False
        del self._leases[key]
        return True

    def _drop(self, digest: str) -> None:
        kept = self._entries.pop(digest, None)
        if kept is not None:
            self._bytes -= kept.bytes


class MemoryCacheIndex:
    """Rows in a dictionary. Never fails."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[str, EntryFacts] = {}

    async def record(self, facts: Sequence[EntryFacts]) -> None:
        for new in facts:
            old = self._rows.get(new.digest)
            is_same = old is not None and old.created_at_us == new.created_at_us
            hits = old.hit_count + new.hit_count if old is not None and is_same else new.hit_count
            self._rows[new.digest] = replace(new, hit_count=hits)

    async def forget(
        self, *, tenant_id: str | None = None, model: str | None = None, made_until_us: int | None = None
    ) -> int:
        now_us = self._clock.now_us()
        gone = [
            row
            for row in self._rows.values()
            if tenant_id in (None, row.tenant_id)
            and model in (None, row.model)
            and (made_until_us is None or row.created_at_us <= made_until_us)
        ]
        for row in gone:
            del self._rows[row.digest]
        return sum(row.expires_at_us > now_us for row in gone)

    async def sweep(self, *, rows_max: int) -> int:
        now_us = self._clock.now_us()
        expired = [digest for digest, row in self._rows.items() if row.expires_at_us <= now_us][:rows_max]
        for digest in expired:
            del self._rows[digest]
        return len(expired)

    async def totals(self) -> tuple[int, int]:
        live = self._live()
        return len(live), sum(row.bytes for row in live)

    async def most_hit(self, limit: int) -> list[EntryFacts]:
        return sorted(self._live(), key=lambda row: -row.hit_count)[:limit]

    def _live(self) -> list[EntryFacts]:
        now_us = self._clock.now_us()
        return [row for row in self._rows.values() if row.expires_at_us > now_us]


def _is_within(key: CacheKey, tenant_id: str | None, model: str | None) -> bool:
    return tenant_id in (None, key.tenant_id) and model in (None, key.model)


def _is_older(kept: _Kept, max_age_s: float | None, now_us: int) -> bool:
    return max_age_s is not None and now_us - kept.created_at_us > max_age_s * 1_000_000
