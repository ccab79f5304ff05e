"""What every response cache does. A new backend is one more row in `CACHES`."""

import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from aiservice.cache import Cache, CacheKey
from aiservice.cache.memory import MemoryCache
from aiservice.cache.payload import OVERHEAD_BYTES, written
from aiservice.cache.sqlite import SqliteCache
from aiservice.core.clock import Clock, ManualClock
from aiservice.core.settings import CacheSettings
from aiservice.core.types import Completion, Tokens

SETTINGS = CacheSettings(ttl_s=1_000, bytes_max=1_048_576, entry_bytes_max=300_000)
ANSWER = Completion("smollm2:135m", "llamacpp", "Docker is … 😀\0\n", "stop", Tokens(34, 100))


class Extreme(random.Random):
    """A source that always draws the least, or always the most."""

    def __init__(self, *, is_most: bool) -> None:
        super().__init__(0)
        self._is_most = is_most

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return start - 1 if self._is_most else 0


def sqlite_cache(folder: Path, clock: Clock, source: random.Random) -> Cache:
    return SqliteCache(folder / "cache.db", SETTINGS, clock, secret=b"s" * 32, source=source)


CACHES: dict[str, Callable[[Path, Clock, random.Random], Cache]] = {
    "memory": lambda _, clock, source: MemoryCache(SETTINGS, clock, source=source),
    "sqlite": sqlite_cache,
}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def source() -> random.Random:
    return Extreme(is_most=False)


@pytest.fixture(params=CACHES)
async def cache(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock, source: random.Random
) -> AsyncIterator[Cache]:
    cache = CACHES[request.param](tmp_path, clock, source)
    yield cache
    assert cache.failures == 0
    await cache.aclose()


def key(name: str, tenant_id: str = "acme", model: str = "m") -> CacheKey:
    return CacheKey(f"{name:_>64}", tenant_id, model)


def answer_of(size: int) -> Completion:
    """An answer that counts exactly so many bytes."""
    empty = len(written(replace(ANSWER, text=""))) + OVERHEAD_BYTES
    return replace(ANSWER, text="x" * (size - empty))


async def has(cache: Cache, name: str) -> bool:
    return await cache.get(key(name)) is not None


async def test_an_answer_comes_back_as_it_was(cache: Cache, clock: ManualClock) -> None:
    await cache.put(key("a"), ANSWER)
    clock.advance_s(5)
    entry = await cache.get(key("a"))
    assert entry is not None
    assert entry.completion == ANSWER
    assert entry.created_at_us == clock.now_us() - 5_000_000
    assert await cache.get(key("b")) is None


async def test_hits_are_counted_per_entry_and_all_together(cache: Cache) -> None:
    await cache.put(key("a"), ANSWER)
    counts = [entry.hit_count for _ in range(3) if (entry := await cache.get(key("a")))]
    assert counts == [1, 2, 3]
    await cache.get(key("b"))
    stats = await cache.stats()
    assert (stats.entries, stats.hits, stats.misses) == (1, 3, 1)
    after = await cache.get(key("a"))
    assert after is not None
    assert after.hit_count == 4


@pytest.mark.parametrize(("source", "lifetime_s"), [(Extreme(is_most=False), 900), (Extreme(is_most=True), 1_100)])
async def test_an_entry_lives_for_the_ttl_give_or_take_a_tenth(
    cache: Cache, clock: ManualClock, lifetime_s: int
) -> None:
    await cache.put(key("a"), ANSWER)
    entry = await cache.get(key("a"))
    assert entry is not None
    assert entry.expires_at_us - entry.created_at_us == lifetime_s * 1_000_000
    clock.set_us(entry.expires_at_us - 1)
    assert await has(cache, "a")
    clock.set_us(entry.expires_at_us)
    assert not await has(cache, "a")
    assert (await cache.stats()).entries == 0


async def test_an_older_entry_than_was_asked_for_is_a_miss_and_stays(cache: Cache, clock: ManualClock) -> None:
    await cache.put(key("a"), ANSWER)
    assert await cache.get(key("a"), max_age_s=0) is not None
    clock.advance_s(10)
    assert await cache.get(key("a"), max_age_s=10) is not None
    clock.advance_s(0.000001)
    assert await cache.get(key("a"), max_age_s=10) is None
    assert await cache.get(key("a"), max_age_s=11) is not None


async def test_a_newer_answer_replaces_the_older(cache: Cache, clock: ManualClock) -> None:
    await cache.put(key("a"), ANSWER)
    await cache.get(key("a"))
    clock.advance_s(500)
    await cache.put(key("a"), replace(ANSWER, text="new"))
    clock.advance_s(500)
    entry = await cache.get(key("a"))
    assert entry is not None
    assert (entry.completion.text, entry.hit_count) == ("new", 1)
    assert (await cache.stats()).entries == 1


async def test_an_answer_above_the_entry_bound_is_not_kept(cache: Cache) -> None:
    bound = SETTINGS.entry_bytes_max + OVERHEAD_BYTES
    await cache.put(key("a"), answer_of(bound))
    await cache.put(key("b"), answer_of(bound + 1))
    assert await has(cache, "a")
    assert not await has(cache, "b")
    assert (await cache.stats()).bytes == bound


async def test_all_entries_together_stay_within_the_bound_and_the_least_used_leave(
    cache: Cache, clock: ManualClock
) -> None:
    quarter = SETTINGS.bytes_max // 4
    for name in "abcd":
        await cache.put(key(name), answer_of(quarter))
        clock.advance_s(1)
    assert (await cache.stats()).bytes == SETTINGS.bytes_max
    for name in "ac":
        assert await has(cache, name)
        clock.advance_s(1)
    await cache.put(key("e"), answer_of(quarter))
    assert (await cache.stats()).entries == 4, "one left for one that came"
    clock.advance_s(1)
    await cache.put(key("f"), answer_of(quarter - 100))
    stats = await cache.stats()
    assert (stats.entries, stats.bytes) == (4, SETTINGS.bytes_max - 100)
    assert [await has(cache, name) for name in "abcdef"] == [True, False, True, False, True, True]


async def test_replacing_an_entry_needs_no_other_to_leave(cache: Cache, clock: ManualClock) -> None:
    quarter = SETTINGS.bytes_max // 4
    for name in "abcd":
        await cache.put(key(name), answer_of(quarter))
        clock.advance_s(1)
    await cache.put(key("d"), answer_of(quarter))
    assert [await has(cache, name) for name in "abcd"] == [True] * 4


PLACES = [("a", "acme", "m"), ("b", "acme", "n"), ("c", "other", "m"), ("d", "other", "n")]


@pytest.mark.parametrize(
    ("tenant_id", "model", "left"),
    [
        (None, None, []),
        ("acme", None, ["c", "d"]),
        (None, "m", ["b", "d"]),
        ("acme", "m", ["b", "c", "d"]),
        ("nobody", None, ["a", "b", "c", "d"]),
        (None, "none", ["a", "b", "c", "d"]),
        ("acme", "none", ["a", "b", "c", "d"]),
    ],
)
async def test_clearing_takes_what_it_names_and_no_more(
    cache: Cache, tenant_id: str | None, model: str | None, left: list[str]
) -> None:
    for name, owner, of in PLACES:
        await cache.put(key(name, owner, of), ANSWER)
    assert await cache.clear(tenant_id=tenant_id, model=model) == 4 - len(left)
    found = [name for name, owner, of in PLACES if await cache.get(key(name, owner, of)) is not None]
    assert found == left
    assert (await cache.stats()).entries == len(left)
    assert await cache.clear(tenant_id=tenant_id, model=model) == 0, "what is gone is not counted again"


async def test_expired_entries_are_not_counted_as_cleared(cache: Cache, clock: ManualClock) -> None:
    await cache.put(key("a"), ANSWER)
    clock.advance_s(600)
    await cache.put(key("b"), ANSWER)
    clock.advance_s(600)
    assert await cache.clear() == 1


async def test_what_is_put_after_a_clearing_is_kept(cache: Cache) -> None:
    for _ in range(3):
        await cache.put(key("a"), ANSWER)
        assert await has(cache, "a")
        assert await cache.clear(tenant_id="acme") == 1
        assert not await has(cache, "a")


async def test_a_clock_that_goes_back_does_no_harm(cache: Cache, clock: ManualClock) -> None:
    await cache.put(key("a"), ANSWER)
    clock.advance_s(-86_400)
    assert await cache.get(key("a"), max_age_s=0) is not None
    await cache.put(key("b"), ANSWER)
    clock.advance_s(950)
    assert await has(cache, "a")
    assert not await has(cache, "b")


async def test_a_clock_that_leaps_forward_expires_everything(cache: Cache, clock: ManualClock) -> None:
    await cache.put(key("a"), ANSWER)
    clock.advance_s(10 * 365 * 86_400)
    assert not await has(cache, "a")
    await cache.put(key("a"), ANSWER)
    assert await has(cache, "a")
