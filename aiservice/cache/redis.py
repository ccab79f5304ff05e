"""The cache that the workers of all instances share: entries and leases in Redis, their index in the main database."""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import cast

from aiservice.cache import payload as payloads
from aiservice.cache.books import FAULTS, Books
from aiservice.cache.eras import ERAS_BYTES, Eras, Place, fresh, joined, names_of
from aiservice.cache.frame import Frame, Framing, is_of
from aiservice.cache.model import CacheKey, CacheStats, Claim, Entry, EntryFacts
from aiservice.cache.port import CacheIndex
from aiservice.cache.scripts import CLAIM, PUT, RELEASE, RENEW
from aiservice.cache.seal import AesSeal, MacSeal
from aiservice.core.clock import Clock
from aiservice.core.errors import AIServiceError
from aiservice.core.settings import CacheSettings
from aiservice.core.types import Completion
from aiservice.stores.redis import Redis, Reply, Script

WARN_EVERY_S = 1.0
# An era lives longer than what belongs to it: entries, and answers in the making. One with less left is given more.
ERA_SPARE_MS = 600_000
ERA_MORE_MS = 3_600_000
PUTS_MAX = 3

Arguments = Sequence[str | bytes | int]
logger = logging.getLogger(__name__)


class RedisCache:
    """Each entry is sealed with its key, times and eras; a look-up is one MGET, a claim one script.

    Entries leave by Redis' own rules: `maxmemory` and its policy bound them, not `CACHE_BYTES_MAX`. Leases go by Redis'
    time, so that they hold between machines; entries go by the worker's clock, and no longer than their TTL by Redis'.
    Counts and the index are written each second; who is killed loses those of his last. `stats` and `entries` read the
    index: an entry that Redis evicted or lost is in them until it would have expired. `hit_count` of an entry is what
    this worker knows of.
    """

    def __init__(
        self,
        redis: Redis,
        settings: CacheSettings,
        clock: Clock,
        *,
        secret: bytes,
        index: CacheIndex,
        source: random.Random | None = None,
    ) -> None:
        """`secret` seals the entries and is the same for all instances. `redis` is started and closed elsewhere."""
        self.failures = 0
        self.lease_clock: Clock | None = None
        """Whose time leases go by; None is Redis' own. Tests in which time jumps set it."""
        self._redis = redis
        self._settings = settings
        self._clock = clock
        seal = AesSeal(secret) if settings.is_encrypted else MacSeal(secret)
        self._framing = Framing(seal, bytes_max=payloads.recent_bytes_max(settings))
        self._random = source or random.SystemRandom()
        self._eras = Eras()
        self._era_ms_least = settings.ttl_s * 1_100 + ERA_SPARE_MS
        self._books = Books(redis, index, clock, find=self._find, failed=self._failed)
        self._notes = self._books.notes
        self._warned_s = float("-inf")

    @property
    def era(self) -> int:
        return self._eras.number

    async def get(self, key: CacheKey, *, max_age_s: int | None = None) -> Entry | None:
        entry = None
        try:
            frame = await self._find(key)
        except FAULTS as error:
            self._eras.doubt()
            self._failed(error)
        else:
            if frame is not None and self._is_good(frame, max_age_s):
                entry = self._hit(key, frame)
        if entry is None:
            self._notes.misses += 1
        self._books.tend_later()
        return entry

    async def put(self, key: CacheKey, completion: Completion, *, lease_id: str | None = None) -> None:
        payload = payloads.written(completion)
        if not payloads.is_too_large(payload, self._settings):
            await self._put(key, payload, lease_id or "")
        elif lease_id is not None:
            await self.release(key, lease_id)

    async def claim(self, key: CacheKey, lease_id: str, *, max_age_s: float | None = None) -> Claim:
        claim = await self._claim(key, lease_id, max_age_s)
        if claim is None:
            claim = await self._claim(key, lease_id, max_age_s)
        return claim or Claim(True)

    async def renew(self, key: CacheKey, lease_id: str) -> bool:
        return await self._run(RENEW, key, self._leasing(lease_id)) == 1

    async def release(self, key: CacheKey, lease_id: str) -> None:
        await self._run(RELEASE, key, self._leasing(lease_id))

    async def joined(self, key: CacheKey, hits: int) -> None:
        self._notes.joined(key, hits)
        self._books.tend_later()

    async def clear(self, *, tenant_id: str | None = None, model: str | None = None) -> int:
        """Removes era tokens: one for a tenant, with a model or without, else one of each shard.

        When it returns no worker gives an entry from before. Those that it says were live are those of the index.
        """
        names = names_of(tenant_id, model)
        removals = (self._redis.call("DEL", name, key=name) for name in names)
        replies = await asyncio.gather(*removals, return_exceptions=True)
        self._eras.clear()
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return await self._books.forget(tenant_id, model)

    async def stats(self) -> CacheStats:
        return await self._books.stats()

    async def entries(self, limit: int) -> list[EntryFacts]:
        return await self._books.most_hit(limit)

    async def aclose(self) -> None:
        await self._books.aclose()

    async def _find(self, key: CacheKey) -> Frame | None:
        """The entry, if its eras stand, of whatever age; raises what the call raises."""
        place = self._eras.place(key)
        name = place.entry(key)
        reply = cast(list[bytes | None], await self._redis.call("MGET", name, *place.eras, key=name))
        data = reply[0]
        standing = joined(reply[1:])
        self._eras.see(place, standing)
        if data is None or not is_of(data, standing):
            return None
        frame = self._framing.read(key, data)
        if frame is None:
            await self._drop(key, place)
        return frame

    def _is_good(self, frame: Frame, max_age_s: int | None) -> bool:
        now_us = self._clock.now_us()
        if frame.expires_at_us <= now_us:
            return False
        return max_age_s is None or now_us - frame.created_at_us <= max_age_s * 1_000_000

    def _hit(self, key: CacheKey, frame: Frame) -> Entry:
        hit_count = self._notes.hit(key, frame)
        return Entry(frame.completion, frame.created_at_us, frame.expires_at_us, hit_count)

    async def _claim(self, key: CacheKey, lease_id: str, max_age_s: float | None) -> Claim | None:
        """None where the entry that was found cannot be read: it is dropped then, and another claim finds none."""
        age_us = b"" if max_age_s is None else round(max_age_s * 1_000_000)
        reply = await self._run(CLAIM, key, (*self._leasing(lease_id), self._clock.now_us(), age_us))
        if reply is None:
            return Claim(True)
        state, standing, *found = cast(list[bytes], reply)
        place = self._eras.place(key)
        self._eras.see(place, standing)
        if not found:
            return Claim(state == b"leads")
        frame = self._framing.read(key, found[0])
        if frame is None:
            await self._drop(key, place)
            return None
        self._notes.misses -= 1
        self._books.tend_later()
        return Claim(False, self._hit(key, frame))

    async def _drop(self, key: CacheKey, place: Place) -> None:
        self._warn(f"an entry was changed or is of another version, and is dropped: {key.digest}")
        name = place.entry(key)
        try:
            await self._redis.call("DEL", name, key=name)
        except FAULTS as error:
            self._failed(error)

    async def _put(self, key: CacheKey, payload: bytes, lease_id: str) -> None:
        """The entry must be sealed with the eras that stand; if they are others than was known it is sealed again."""
        place = self._eras.place(key)
        created_us = self._clock.now_us()
        lifetime_us = payloads.lifetime_us(self._settings, self._random)
        expires_us = created_us + lifetime_us
        for _ in range(PUTS_MAX):
            eras, frame = place.standing, b""
            if len(eras) == ERAS_BYTES:
                frame = self._framing.made(key, payload, eras=eras, created_us=created_us, expires_us=expires_us)
            args = (*self._leasing(lease_id), eras, frame, -(-lifetime_us // 1_000))
            reply = await self._run(PUT, key, args)
            if reply is None:
                return
            state, standing = cast(list[bytes], reply)
            self._eras.see(place, standing)
            if state == b"kept":
                size = payloads.size_bytes(payload)
                self._notes.kept(key, size, created_us=created_us, expires_us=expires_us)
                self._books.tend_later()
            if state != b"eras":
                return

    def _leasing(self, lease_id: str) -> Arguments:
        """What each script is told first; see `rules.lua`."""
        now_us = b"" if self.lease_clock is None else self.lease_clock.now_us()
        least_ms = self._era_ms_least
        return lease_id, now_us, fresh(), least_ms, least_ms + ERA_MORE_MS

    async def _run(self, script: Script, key: CacheKey, args: Arguments) -> Reply:
        """The script's reply, which is never None; None and a counted warning where the store cannot be used."""
        place = self._eras.place(key)
        try:
            return await self._redis.run(script, (place.entry(key), place.lease(key), *place.eras), args)
        except FAULTS as error:
            self._failed(error)
            return None

    def _failed(self, error: AIServiceError) -> None:
        self.failures += 1
        self._warn(f"it cannot be used: {error.detail}")

    def _warn(self, reason: str) -> None:
        """At most once each second, however many requests find the same."""
        now_s = self._clock.monotonic_s()
        if now_s - self._warned_s >= WARN_EVERY_S:
            self._warned_s = now_s
            logger.warning("the cache: %s", reason)
