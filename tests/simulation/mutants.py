"""Rooms that are wrong in one way each: what the simulation must notice."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from aiservice.cache import Cache, CacheKey, Claim, Entry, ResponseCache
from aiservice.cache.sqlite import SqliteCache
from aiservice.core.settings import CacheSettings
from aiservice.core.types import Generation
from aiservice.limits.bucket import State
from aiservice.limits.model import Bucket, Decision, Take
from aiservice.limits.sqlite import SqliteLimiter
from aiservice.usage import Spool, UsageRecord
from tests.simulation.doubles import Disk, JournaledCache, SharedStore, WorkerClock, World
from tests.simulation.mortal import MortalProcess
from tests.simulation.worker import SHAPE, Parts

LATE_S = 0.03


class RememberedLimits(Parts):
    """A limiter that goes by what it saw last, whatever other workers have taken since."""

    def limiter(self, path: Path, clock: WorkerClock) -> SqliteLimiter:
        return _RememberingLimiter(path, clock)


class DoubleRefunds(Parts):
    """A limiter that closes a take as often as it is told to, and tells itself twice."""

    def limiter(self, path: Path, clock: WorkerClock) -> SqliteLimiter:
        return _GenerousLimiter(path, clock)


class NoSettlements(Parts):
    """A limiter that leaves every take as it was estimated."""

    def limiter(self, path: Path, clock: WorkerClock) -> SqliteLimiter:
        return _UnsettledLimiter(path, clock)


class LateWrites(Parts):
    """A spool whose records are acknowledged before they are written."""

    def disk(self, world: World, process: MortalProcess) -> Disk:
        return _LateDisk(world, process)


class EagerRotation(Parts):
    """A spool that begins a new file before it has noted that the request is open."""

    def spool(self, root: Path, clock: WorkerClock, disk: Disk) -> Spool:
        return _EagerSpool(root, clock=clock, shape=SHAPE, write=disk.write)


class RepeatedRows(Parts):
    """A database that takes a row as often as it comes."""

    def store(self, world: World) -> SharedStore:
        return _RepeatingStore(world)


class TrustedPrimary(Parts):
    """A database whose rows count as replicated when they are committed."""

    def store(self, world: World) -> SharedStore:
        return _TrustingStore(world)


class NoLeases(Parts):
    """A cache that lets everybody lead."""

    def cache(self, cache: SqliteCache) -> Cache:
        return _LeaselessCache(cache, World(0, asyncio.get_running_loop()))


class DeafLeaders(Parts):
    """A cache that tells no leader of those who wait elsewhere."""

    def cache(self, cache: SqliteCache) -> Cache:
        return _DeafCache(cache, World(0, asyncio.get_running_loop()))


class WantedForEver(Parts):
    """A cache that tells every leader that somebody waits elsewhere."""

    def cache(self, cache: SqliteCache) -> Cache:
        return _NoisyCache(cache, World(0, asyncio.get_running_loop()))


class HoardedEntries(Parts):
    """A cache that gives what it gave before, cleared or expired or not."""

    def cache(self, cache: SqliteCache) -> Cache:
        return _HoardingCache(cache, World(0, asyncio.get_running_loop()))


class OneTenant(Parts):
    """A cache whose keys leave out the tenant."""

    def response_cache(self, settings: CacheSettings, cache: Cache) -> ResponseCache:
        return _OpenCache(settings, cache)


class _RememberingLimiter(SqliteLimiter):
    def __init__(self, path: Path, clock: WorkerClock) -> None:
        super().__init__(path, clock)
        self._seen: dict[str, State] = {}

    def _take_all(self, takes: Sequence[Take]) -> Sequence[Decision]:
        for take in takes:
            for cost in take.costs:
                self._forget(cost.bucket)
        return super()._take_all(takes)

    def _forget(self, bucket: Bucket) -> None:
        """Puts back into the file what this worker believes, and believes what stands there at first."""
        now_us = self._clock.now_us()
        row = self._file.cursor.execute("select level, stamp_us from buckets where key = ?", (bucket.key,)).fetchone()
        if row is None:
            return
        level, stamp_us = self._seen.setdefault(bucket.key, State(*row))
        self._keep(bucket, State(level, stamp_us), now_us)


class _GenerousLimiter(SqliteLimiter):
    async def refund(self, take: Take) -> None:
        await super().refund(take)
        self._file.cursor.execute("delete from closed_takes where request_id = ?", (take.request_id,))
        await super().refund(take)


class _UnsettledLimiter(SqliteLimiter):
    async def settle(self, take: Take, amounts: Sequence[int]) -> None:
        await super().settle(take, [cost.amount for cost in take.costs])


class _LateDisk(Disk):
    def _written(self, descriptor: int, data: bytes, offset: int) -> int:
        own = os.dup(descriptor)
        asyncio.get_running_loop().call_later(LATE_S, self._write_at_last, own, data, offset)
        return len(data)

    def _write_at_last(self, descriptor: int, data: bytes, offset: int) -> None:
        os.pwrite(descriptor, data, offset)
        os.close(descriptor)


class _EagerSpool(Spool):
    def _append(self, *value: object) -> object:
        file = super()._append(*value)
        self._rotate_when_grown()
        return file


class _RepeatingStore(SharedStore):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._repeated: list[UsageRecord] = []

    @property
    def rows(self) -> list[UsageRecord]:
        return [*super().rows, *self._repeated]

    async def insert(self, rows: Sequence[UsageRecord]) -> int:
        known = {row.id for row in super().rows}
        self._repeated += [row for row in rows if row.id in known]
        return await super().insert(rows)


class _TrustingStore(SharedStore):
    async def unreplicated(self, ids: Sequence[str]) -> Sequence[str]:
        return await self.absent(ids)


class _LeaselessCache(JournaledCache):
    async def claim(self, key: CacheKey, lease_id: str, *, max_age_s: float | None = None) -> Claim:
        await super().claim(key, lease_id, max_age_s=max_age_s)
        return Claim(True)


class _DeafCache(JournaledCache):
    async def renew(self, key: CacheKey, lease_id: str) -> bool:
        await super().renew(key, lease_id)
        return False


class _NoisyCache(JournaledCache):
    async def renew(self, key: CacheKey, lease_id: str) -> bool:
        await super().renew(key, lease_id)
        return True


class _HoardingCache(JournaledCache):
    def __init__(self, cache: Cache, world: World) -> None:
        super().__init__(cache, world)
        self._hoard: dict[str, Entry] = {}

    async def get(self, key: CacheKey, *, max_age_s: int | None = None) -> Entry | None:
        entry = self._hoard.get(key.digest) or await super().get(key, max_age_s=max_age_s)
        if entry is not None:
            self._hoard[key.digest] = entry
        return entry


class _OpenCache(ResponseCache):
    def key(self, generation: Generation, *, tenant_id: str, model: str, model_digest: str) -> CacheKey:
        return super().key(generation, tenant_id="everybody", model=model, model_digest=model_digest)
