"""What is written down of the entries in Redis: by itself, once, and as soon as it can be."""

import asyncio
from collections.abc import Sequence

import pytest

from aiservice.cache.books import FORGET_AGAIN_S, SWEEP_EVERY_S, SWEEP_ROWS
from aiservice.cache.memory import MemoryCacheIndex
from aiservice.cache.model import EntryFacts
from aiservice.cache.redis import RedisCache
from aiservice.core.clock import Clock
from aiservice.core.errors import StoreUnavailable, Unexpected
from tests.unit.cache.shared import Sharing, entry_name
from tests.unit.cache.workers import ANSWER, KEY, key, saying

pytestmark = pytest.mark.stores

PATIENCE_S = 5.0


class Index(MemoryCacheIndex):
    """An index in a database that is slow, or away."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.is_away = False
        self.begins_after_s = 0.0
        self.ends_after_s = 0.0
        self.records = 0

    async def record(self, facts: Sequence[EntryFacts]) -> None:
        await asyncio.sleep(self.begins_after_s)
        if self.is_away:
            raise StoreUnavailable(detail="the database is away")
        self.records += 1
        await super().record(facts)
        await asyncio.sleep(self.ends_after_s)


@pytest.fixture
def index(sharing: Sharing) -> Index:
    sharing.index = index = Index(sharing.clock)
    return index


async def tend(cache: RedisCache) -> None:
    """What the loop does in the background."""
    await cache._books._tend_now()


async def test_notes_are_written_within_a_second_or_two_without_being_asked_for(sharing: Sharing, index: Index) -> None:
    cache = await sharing.start()
    await cache.put(KEY, ANSWER)
    await cache.get(KEY)
    await cache.get(key(2))
    async with asyncio.timeout(PATIENCE_S):
        while not sharing.data.exists("ai:ccounts") or await index.totals() == (0, 0):
            await asyncio.sleep(0.05)
    assert sharing.data.hgetall("ai:ccounts") == {b"hits": b"1", b"misses": b"1"}
    assert [facts.hit_count for facts in await index.most_hit(10)] == [1]
    await asyncio.sleep(1.2)
    assert index.records == 1, "nothing new, nothing written"


async def test_a_database_slower_than_the_pause_is_not_asked_twice_at_once(sharing: Sharing, index: Index) -> None:
    cache = await sharing.start()
    index.ends_after_s = 0.1
    await cache.put(KEY, ANSWER)
    cache._books._tend()
    await asyncio.sleep(0.05)
    await cache.get(KEY)
    cache._books._tend()
    await asyncio.sleep(0.1)
    assert index.records == 1
    async with asyncio.timeout(PATIENCE_S):
        while index.records == 1:
            await asyncio.sleep(0.05)
    assert [facts.hit_count for facts in await index.most_hit(10)] == [1]


async def test_the_last_notes_are_written_when_a_worker_ends(sharing: Sharing, index: Index) -> None:
    cache = await sharing.start()
    await cache.put(KEY, ANSWER)
    await cache.get(KEY)
    await cache.aclose()
    assert [facts.hit_count for facts in await index.most_hit(10)] == [1]
    assert sharing.data.hget("ai:ccounts", "hits") == b"1"


async def test_look_ups_of_all_workers_are_one_sum(sharing: Sharing) -> None:
    caches = [await sharing.start() for _ in range(3)]
    await caches[0].put(KEY, ANSWER)
    for cache in caches:
        for _ in range(4):
            await cache.get(KEY)
        await cache.get(key(2))
    for cache in caches:
        stats = await cache.stats()
    assert (stats.entries, stats.hits, stats.misses) == (1, 12, 3)
    assert [facts.hit_count for facts in await caches[0].entries(10)] == [12]


async def test_while_the_index_is_away_requests_go_on_and_nothing_noted_is_lost(sharing: Sharing, index: Index) -> None:
    cache = await sharing.start()
    index.is_away = True
    await cache.put(KEY, ANSWER)
    for _ in range(3):
        assert await cache.get(KEY) is not None
        await tend(cache)
    assert cache.failures == 3
    for ask in (cache.stats, lambda: cache.entries(10), cache.clear):
        with pytest.raises(StoreUnavailable):
            await ask()
    assert await cache.get(KEY) is None, "it was cleared all the same"
    index.is_away = False
    assert [facts.hit_count for facts in await cache.entries(10)] == [3]
    assert sharing.data.hget("ai:ccounts", "hits") == b"3"
    assert await cache.clear() == 1


async def test_look_ups_that_could_not_be_added_are_added_later(sharing: Sharing) -> None:
    cache = await sharing.start()
    sharing.data.rpush("ai:ccounts", "a list")
    await cache.get(KEY)
    await tend(cache)
    assert cache.failures == 1
    with pytest.raises(Unexpected):
        await cache.stats()
    await cache.get(KEY)
    sharing.data.delete("ai:ccounts")
    assert (await cache.stats()).misses == 2


async def test_operators_who_ask_at_once_see_the_same(sharing: Sharing, index: Index) -> None:
    cache = await sharing.start()
    await cache.put(KEY, ANSWER)
    await cache.get(KEY)
    index.begins_after_s = 0.05
    stats = await asyncio.gather(*(cache.stats() for _ in range(3)))
    assert [(one.entries, one.hits) for one in stats] == [(1, 1)] * 3


@pytest.mark.parametrize("delay", ["begins_after_s", "ends_after_s"])
async def test_an_operator_who_does_not_wait_takes_nothing_away(sharing: Sharing, index: Index, delay: str) -> None:
    cache = await sharing.start()
    await cache.put(KEY, ANSWER)
    await cache.get(KEY)
    setattr(index, delay, 0.05)
    asked = [asyncio.create_task(cache.stats()) for _ in range(3)]
    await asyncio.sleep(0.02)
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    stats = await cache.stats()
    assert (stats.entries, stats.hits) == (1, 1)
    assert [facts.hit_count for facts in await cache.entries(10)] == [1]


async def test_who_joined_counts_for_the_entry_that_another_worker_made(sharing: Sharing) -> None:
    cache, other = await sharing.start(), await sharing.start()
    await cache.put(KEY, ANSWER)
    await other.joined(KEY, 3)
    await other.joined(key(2), 1)
    stats = await other.stats()
    assert (stats.hits, stats.misses) == (4, -4)
    assert [facts.hit_count for facts in await cache.entries(10)] == [3]


async def test_rows_of_what_was_cleared_leave_also_when_they_come_late(sharing: Sharing, index: Index) -> None:
    """Another worker wrote down what it had noted before it heard of the clearing."""
    cache, other = await sharing.start(), await sharing.start()
    await other.put(KEY, ANSWER)
    await other.put(key(2, "stranger"), ANSWER)
    await cache.clear(tenant_id="acme")
    sharing.clock.advance_s(1)
    await other.put(key(3), ANSWER)
    assert len(await other.entries(10)) == 3
    await tend(cache)
    assert (await index.totals())[0] == 3, "not yet"
    sharing.clock.advance_s(FORGET_AGAIN_S)
    await tend(cache)
    assert {facts.digest for facts in await index.most_hit(10)} == {key(2).digest, key(3).digest}


async def test_an_index_that_was_away_forgets_later(sharing: Sharing, index: Index) -> None:
    cache, other = await sharing.start(), await sharing.start()
    await other.put(KEY, ANSWER)
    await cache.clear()
    await other.stats()
    sharing.clock.advance_s(FORGET_AGAIN_S)
    index.is_away = True
    await cache.get(KEY)
    await cache.put(KEY, ANSWER)
    await tend(cache)
    assert (await index.totals())[0] == 1
    index.is_away = False
    await tend(cache)
    assert [facts.created_at_us for facts in await index.most_hit(10)] == [sharing.clock.now_us()]


async def test_expired_rows_are_swept_each_minute(sharing: Sharing, index: Index) -> None:
    cache = await sharing.start(ttl_s=10)
    rows = SWEEP_ROWS + 10
    await index.record([EntryFacts(f"{n:064x}", "acme", "m", 1_000, 0, 1, 0) for n in range(rows)])
    sharing.clock.advance_s(SWEEP_EVERY_S - 1)
    await tend(cache)
    assert len(index._rows) == rows
    sharing.clock.advance_s(1)
    await tend(cache)
    assert len(index._rows) == 0


async def test_a_row_that_was_lost_is_there_again_with_the_next_hit(sharing: Sharing, index: Index) -> None:
    """Its worker was killed before it could write it."""
    cache, other = await sharing.start(), await sharing.start()
    await cache.put(KEY, saying("found"))
    cache._notes.take()
    await other.get(KEY)
    (facts,) = await other.entries(10)
    frame = sharing.data.get(entry_name(KEY))
    assert (facts.digest, facts.tenant_id, facts.model, facts.hit_count) == (KEY.digest, "acme", "m", 1)
    assert facts.created_at_us == int.from_bytes(frame[33:41], "big")
