"""Random operations on a response cache agree, one by one, with a model that is as simple as can be.

Several keys, tenants and models, two workers where the backend is shared, a clock that stands still, runs, jumps and
goes back. `LONG=1` does 100,000 operations in each case.
"""

import os
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from aiservice.cache import Cache, CacheKey
from aiservice.cache.model import Entry
from aiservice.cache.payload import OVERHEAD_BYTES, written
from aiservice.cache.redis import RedisCache
from aiservice.cache.sqlite import SqliteCache
from aiservice.core.clock import ManualClock
from aiservice.core.settings import CacheSettings
from aiservice.core.types import Chunk, Completion, Tokens
from tests.conformance.caches import ALL, TIDY, Extreme, Opener, params

IS_LONG = bool(os.environ.get("LONG"))


def saying(text: str) -> Completion:
    return Completion("m", "e", (Chunk(text, "stop", Tokens(1, 1)),))


ANSWER = saying("")
EMPTY_BYTES = len(written(ANSWER))
LIFETIME_US = 90_000_000
KEYS = [CacheKey(f"{n:064x}", f"tenant {n % 2}", f"model {n // 2 % 2}") for n in range(1, 13)]
LEASE_IDS = ["one", "two", "three"]
AGES_S = [None, None, None, 0, 1, 30, 1_000]
STEPS_S = [0] * 25 + [0.000001, 0.1, 0.6, 1, 3, 5, 30, 70, 200, -0.000001, -1, -10, -300]


class WallClock(ManualClock):
    """Its monotonic time stands still: nothing is due in the background, at a moment that no model could know."""

    def monotonic_s(self) -> float:
        return 0.0


@dataclass
class Kept:
    completion: Completion
    created_us: int
    expires_us: int
    bytes: int
    hits: int = 0
    used: int = 0


@dataclass
class Held:
    lease_id: str
    expires_us: int
    wanted_us: int | None = None


class Model:
    """What the cache must do, without speed, files or workers. `gone` left for want of room or of time.

    `is_tidy` says that leases which lapsed long ago are swept by this clock.
    """

    def __init__(self, settings: CacheSettings, clock: ManualClock, *, is_tidy: bool = True) -> None:
        self.settings = settings
        self.clock = clock
        self.is_tidy = is_tidy
        self.entries: dict[CacheKey, Kept] = {}
        self.gone: dict[CacheKey, Kept] = {}
        self.leases: dict[CacheKey, Held] = {}
        self.hits = self.misses = self.uses = 0

    def is_good(self, kept: Kept, max_age_s: int | None) -> bool:
        now_us = self.clock.now_us()
        return now_us < kept.expires_us and (max_age_s is None or now_us - kept.created_us <= max_age_s * 1_000_000)

    def find(self, key: CacheKey, max_age_s: int | None) -> Kept | None:
        kept = self.entries.get(key)
        if kept is None or not self.is_good(kept, max_age_s):
            return None
        self.uses += 1
        self.hits += 1
        kept.hits, kept.used = kept.hits + 1, self.uses
        return kept

    def put(self, key: CacheKey, completion: Completion, lease_id: str | None) -> None:
        if lease_id is not None and not self.release(key, lease_id):
            return
        size = EMPTY_BYTES + len(completion.choices[0].text) + OVERHEAD_BYTES
        if size - OVERHEAD_BYTES > self.settings.entry_bytes_max:
            return
        self.entries.pop(key, None)
        self.gone.pop(key, None)
        if self.bytes() + size > self.settings.bytes_max:
            self.sweep()
        while self.bytes() + size > self.settings.bytes_max:
            oldest = min(self.entries, key=lambda key: self.entries[key].used)
            self.gone[oldest] = self.entries.pop(oldest)
        now_us = self.clock.now_us()
        self.uses += 1
        self.entries[key] = Kept(completion, now_us, now_us + LIFETIME_US, size, used=self.uses)

    def bytes(self) -> int:
        return sum(kept.bytes for kept in self.entries.values())

    def sweep(self) -> None:
        now_us = self.clock.now_us()
        for key in [key for key, kept in self.entries.items() if kept.expires_us <= now_us]:
            self.gone[key] = self.entries.pop(key)

    def claim(self, key: CacheKey, lease_id: str, max_age_s: int | None) -> tuple[bool, Kept | None]:
        kept = self.find(key, max_age_s)
        if kept is not None:
            self.misses -= 1
            return False, kept
        now_us = self.clock.now_us()
        held = self.leases.get(key)
        if held is not None and held.expires_us > now_us and held.lease_id != lease_id:
            held.expires_us, is_cut = min(held.expires_us, now_us + 4_000_000), held.expires_us > now_us + 4_000_000
            if is_cut or held.wanted_us is None or not 0 <= now_us - held.wanted_us <= 500_000:
                held.wanted_us = now_us
            return False, None
        if held is None or held.expires_us <= now_us:
            self.leases[key] = Held(lease_id, now_us + 4_000_000)
        else:
            self.renew(key, lease_id)
        if self.is_tidy:
            self.leases = {key: held for key, held in self.leases.items() if held.expires_us > now_us - 60_000_000}
        return True, None

    def last_call(self, key: CacheKey) -> None:
        held = self.leases.get(key)
        if held is not None and held.wanted_us is not None:
            held.wanted_us = min(held.wanted_us, self.clock.now_us() - 1_700_000)

    def renew(self, key: CacheKey, lease_id: str) -> bool:
        held = self.leases.get(key)
        if held is None or held.lease_id != lease_id:
            return False
        now_us = self.clock.now_us()
        held.expires_us = now_us + 4_000_000
        if held.wanted_us is None:
            return False
        is_wanted = held.wanted_us >= now_us - 2_000_000
        held.wanted_us = min(held.wanted_us, now_us)
        return is_wanted

    def release(self, key: CacheKey, lease_id: str) -> bool:
        if key not in self.leases or self.leases[key].lease_id != lease_id:
            return False
        del self.leases[key]
        return True

    def clear(self, tenant_id: str | None, model: str | None) -> int:
        now_us = self.clock.now_us()
        live = 0
        for key in KEYS:
            if tenant_id in (None, key.tenant_id) and model in (None, key.model):
                self.leases.pop(key, None)
                self.gone.pop(key, None)
                kept = self.entries.pop(key, None)
                live += kept is not None and kept.expires_us > now_us
        return live

    def joined(self, key: CacheKey, hits: int) -> None:
        self.hits += hits
        self.misses -= hits
        if key in self.entries:
            self.entries[key].hits += hits
            self.uses += 1
            self.entries[key].used = self.uses


class Comparison:
    """Does to the caches and to the model the same, and compares."""

    def __init__(self, caches: list[Cache], model: Model, chance: random.Random, sizes: range) -> None:
        self.caches = caches
        self.model = model
        self.chance = chance
        self.sizes = sizes
        self.number = 0
        self.keepers: dict[CacheKey, Cache] = {}
        self.made_us: set[int] = set()

    @property
    def cache(self) -> Cache:
        return self.chance.choice(self.caches)

    async def level(self) -> None:
        """An index is a second behind each worker: what changes what was noted comes after all was written."""
        for cache in self.caches:
            if isinstance(cache, RedisCache):
                await cache.stats()

    def same(self, entry: Entry | None, kept: Kept | None) -> None:
        assert (entry is None) == (kept is None)
        if entry is not None and kept is not None:
            assert entry.completion == kept.completion
            assert (entry.created_at_us, entry.expires_at_us) == (kept.created_us, kept.expires_us)
            assert len(self.caches) > 1 or entry.hit_count == kept.hits

    async def get(self, key: CacheKey) -> None:
        max_age_s = self.chance.choice(AGES_S)
        entry = await self.cache.get(key, max_age_s=max_age_s)
        gone = self.model.gone.get(key)
        if entry is not None and gone is not None:
            assert self.model.is_good(gone, max_age_s)
            assert entry.completion == gone.completion
            self.model.hits += 1
            return
        kept = self.model.find(key, max_age_s)
        self.model.misses += kept is None
        self.same(entry, kept)

    async def put(self, key: CacheKey) -> None:
        self.number += 1
        lease_id = self.chance.choice([None, *LEASE_IDS])
        held = self.model.leases.get(key)
        if held is not None and self.chance.random() < 0.5:
            lease_id = held.lease_id
        completion = saying(str(self.number).ljust(self.chance.choice(self.sizes)))
        await self.level()
        cache = self.keepers[key] = self.cache
        while isinstance(cache, RedisCache) and self.model.clock.now_us() in self.made_us:
            # In an index an entry and the one in its place are told apart by when they were made.
            self.model.clock.advance_s(0.000001)
        self.made_us.add(self.model.clock.now_us())
        await cache.put(key, completion, lease_id=lease_id)
        self.model.put(key, completion, lease_id)

    async def claim(self, key: CacheKey) -> None:
        lease_id, max_age_s = self.chance.choice(LEASE_IDS), self.chance.choice(AGES_S)
        claim = await self.cache.claim(key, lease_id, max_age_s=max_age_s)
        is_leader, kept = self.model.claim(key, lease_id, max_age_s)
        assert claim.is_leader == is_leader
        self.same(claim.entry, kept)

    async def renew(self, key: CacheKey) -> None:
        lease_id = self.chance.choice(LEASE_IDS)
        assert await self.cache.renew(key, lease_id) == self.model.renew(key, lease_id)

    async def release(self, key: CacheKey) -> None:
        lease_id = self.chance.choice(LEASE_IDS)
        await self.cache.release(key, lease_id)
        if not self.model.release(key, lease_id):
            self.model.last_call(key)

    async def joined(self, key: CacheKey) -> None:
        hits = self.chance.randrange(1, 4)
        await self.keepers.get(key, self.cache).joined(key, hits)
        self.model.joined(key, hits)

    async def clear(self, key: CacheKey) -> None:
        scope = {"tenant_id": self.chance.choice([None, key.tenant_id]), "model": self.chance.choice([None, key.model])}
        await self.level()
        assert await self.cache.clear(**scope) == self.model.clear(scope["tenant_id"], scope["model"])

    async def look(self, _: CacheKey) -> None:
        """Everything that can be seen from outside."""
        for cache in self.caches:
            stats = await cache.stats()
        now_us = self.model.clock.now_us()
        live = {key: kept for key, kept in self.model.entries.items() if kept.expires_us > now_us}
        assert (stats.entries, stats.bytes) == (len(live), sum(kept.bytes for kept in live.values()))
        assert (stats.hits, stats.misses) == (self.model.hits, self.model.misses)
        facts = await self.cache.entries(100)
        assert {
            (one.digest, one.tenant_id, one.model, one.bytes, one.created_at_us, one.hit_count) for one in facts
        } == {
            (key.digest, key.tenant_id, key.model, kept.bytes, kept.created_us, kept.hits) for key, kept in live.items()
        }
        hits = [one.hit_count for one in facts]
        assert hits == sorted(hits, reverse=True)
        assert [one.hit_count for one in await self.cache.entries(2)] == hits[:2]

    async def tend(self, _: CacheKey) -> None:
        """What the loop does in the background."""
        if isinstance(cache := self.cache, SqliteCache):
            cache._tend()
            self.model.sweep()

    async def run(self, steps_s: Sequence[float], weights: dict[str, int], *, operations: int) -> None:
        count = 100_000 if IS_LONG else operations
        names = self.chance.choices(list(weights), list(weights.values()), k=count)
        for position, name in enumerate(names):
            self.model.clock.advance_s(self.chance.choice(steps_s))
            try:
                await getattr(self, name)(self.chance.choice(KEYS))
            except AssertionError as error:
                error.add_note(f"operation {position}: {name}")
                raise


EVEN = {"get": 30, "put": 20, "claim": 25, "renew": 8, "release": 4, "joined": 4, "clear": 3, "look": 4, "tend": 2}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("backend", ALL)
async def test_every_answer_is_the_models(
    backend: str, workers: int, request: pytest.FixtureRequest, tmp_path: Path, stack: AsyncExitStack
) -> None:
    settings, clock = CacheSettings(ttl_s=100, entry_bytes_max=2_000), WallClock()
    opener = Opener(request, tmp_path, stack)
    caches = await opener.open(backend, settings, clock, source=Extreme(is_most=False), count=workers)
    model = Model(settings, clock, is_tidy=backend in TIDY)
    await Comparison(caches, model, random.Random(workers), range(0, 2_100, 50)).run(STEPS_S, EVEN, operations=10_000)
    assert [cache.failures for cache in caches] == [0] * len(caches)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", params(TIDY))
async def test_what_makes_room_is_what_the_model_would_drop(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path, stack: AsyncExitStack
) -> None:
    """The clock never goes back here, and no two uses are at the same time: the order of use is known."""
    settings, clock = CacheSettings(ttl_s=100, bytes_max=1_048_576, entry_bytes_max=400_000), WallClock()
    opener = Opener(request, tmp_path, stack)
    caches = await opener.open(backend, settings, clock, source=Extreme(is_most=False))
    comparison = Comparison(caches, Model(settings, clock), random.Random(3), range(0, 400_000, 40_000))
    await comparison.run(
        [*[0.000001, 0.001, 0.1, 1] * 20, 60], EVEN | {"put": 40, "clear": 1, "tend": 1}, operations=3_000
    )
    assert caches[0].failures == 0
