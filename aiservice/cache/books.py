"""What is known of the entries in Redis beside themselves: look-ups in a hash there, a row for each in the index."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from aiservice.cache.frame import Frame
from aiservice.cache.model import CacheKey, CacheStats, EntryFacts
from aiservice.cache.notes import Notes
from aiservice.cache.port import CacheIndex
from aiservice.cache.scripts import COUNT
from aiservice.core.clock import Clock
from aiservice.core.errors import StoreUnavailable, Unexpected
from aiservice.stores.queries import whole
from aiservice.stores.redis import Redis

TEND_AFTER_S = 1.0
SWEEP_EVERY_S = 60.0
SWEEP_ROWS = 1_000
# By then every worker has written the rows of what it noted before a clearing that it had not yet heard of.
FORGET_AGAIN_S = 3.0
# Whatever Redis says, also that a command is wrong: a cache that is itself at fault must fail no request.
FAULTS = (StoreUnavailable, Unexpected)
COUNTS = "ai:ccounts"
COUNTS_MS = 90 * 86_400_000

Scope = tuple[str | None, str | None]


class Books:
    """Notes of this worker, written down each second as long as there are any.

    Hits by joining a flight whose entry cannot be asked for are counted, but as hits of no entry.
    """

    def __init__(
        self,
        redis: Redis,
        index: CacheIndex,
        clock: Clock,
        *,
        find: Callable[[CacheKey], Awaitable[Frame | None]],
        failed: Callable[[StoreUnavailable | Unexpected], None],
    ) -> None:
        """`find` looks for an entry, of whatever age; `failed` hears that something could not be written yet."""
        self.notes = Notes()
        self._redis = redis
        self._index = index
        self._clock = clock
        self._find = find
        self._failed = failed
        self._writing = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._tending: asyncio.Task[None] | None = None
        self._to_forget: list[tuple[float, Scope, int]] = []
        self._swept_s = clock.monotonic_s()

    def tend_later(self) -> None:
        """To be called whenever something was noted."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TEND_AFTER_S, self._tend)

    async def forget(self, tenant_id: str | None, model: str | None) -> int:
        """Drops the rows of what was cleared just now; says how many were live. Raises `StoreUnavailable`."""
        made_until_us = self._clock.now_us()
        await self._write()
        again_s = self._clock.monotonic_s() + FORGET_AGAIN_S
        self._to_forget.append((again_s, (tenant_id, model), made_until_us))
        self.tend_later()
        return await self._index.forget(tenant_id=tenant_id, model=model)

    async def stats(self) -> CacheStats:
        """Raises `StoreUnavailable`."""
        await self._write()
        entries, size = await self._index.totals()
        counts = cast(list[bytes | None], await self._redis.call("HMGET", COUNTS, "hits", "misses", key=COUNTS))
        hits, misses = (int(count or 0) for count in counts)
        return CacheStats(entries, size, hits, misses)

    async def most_hit(self, limit: int) -> list[EntryFacts]:
        """Raises `StoreUnavailable`."""
        await self._write()
        return await self._index.most_hit(limit)

    async def aclose(self) -> None:
        """Writes what is noted, if that can be done."""
        if self._tending is not None:
            await self._tending
        await self._tend_now()
        if self._timer is not None:
            self._timer.cancel()

    def _tend(self) -> None:
        self._timer = None
        if self._tending is None or self._tending.done():
            self._tending = asyncio.create_task(self._tend_now())
        else:
            self.tend_later()

    async def _tend_now(self) -> None:
        try:
            await self._write()
            await self._forget_again()
            await self._sweep()
        except FAULTS as error:
            self._failed(error)
        if self.notes.is_dirty or self._to_forget:
            self.tend_later()

    async def _write(self) -> None:
        """Writes down what is noted; raises `StoreUnavailable`, and keeps it noted, where that cannot be done."""
        async with self._writing:
            await whole(self._write_counts())
            await whole(self._write_rows())

    async def _write_counts(self) -> None:
        notes = self.notes
        for key, hits in notes.take_joined().items():
            frame = await self._find(key)
            if frame is not None:
                notes.add(key, frame, hits)
        hits, misses = notes.hits, notes.misses
        if hits or misses:
            await self._redis.run(COUNT, (COUNTS,), (hits, misses, COUNTS_MS))
            notes.hits -= hits
            notes.misses -= misses

    async def _write_rows(self) -> None:
        facts = self.notes.take()
        if not facts:
            return
        is_written = False
        try:
            await self._index.record(facts)
            is_written = True
        finally:
            if not is_written:
                self.notes.give_back(facts)

    async def _forget_again(self) -> None:
        """Rows of entries from before a clearing that came after it, from workers that had not heard of it."""
        now_s = self._clock.monotonic_s()
        for one in [one for one in self._to_forget if one[0] <= now_s]:
            _, (tenant_id, model), made_until_us = one
            await self._index.forget(tenant_id=tenant_id, model=model, made_until_us=made_until_us)
            self._to_forget.remove(one)

    async def _sweep(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._swept_s < SWEEP_EVERY_S:
            return
        self._swept_s = now_s
        has_more = True
        while has_more:
            has_more = await self._index.sweep(rows_max=SWEEP_ROWS) == SWEEP_ROWS
