"""What a worker remembers is never other than what the file has: each change reaches every worker at once.

A row that is changed behind the caches' backs tells where an answer came from: remembered, it is still the old one.
"""

import asyncio
import sqlite3

import pytest

from aiservice.cache import CacheKey, Claim, Entry
from aiservice.cache.payload import written
from aiservice.cache.sqlite import SqliteCache
from aiservice.cache.stamps import ERA, Stamps, slot_of
from tests.unit.cache.test_sqlite import damage
from tests.unit.cache.workers import ANSWER, KEY, TEND_AFTER_S, Workers, key, saying

NEW = saying("new")


def text_of(entry: Entry | None) -> str | None:
    return None if entry is None else entry.completion.choices[0].text


async def is_remembered(workers: Workers, cache: SqliteCache, wanted: CacheKey = KEY) -> bool:
    """Looks with the row taken away; puts it back."""
    (row,) = workers.sql("select * from ai_cache where cache_key = ?", wanted.digest)
    workers.sql("delete from ai_cache where cache_key = ?", wanted.digest)
    entry = await cache.get(wanted)
    workers.sql(f"insert into ai_cache values ({', '.join('?' * len(row))})", *row)
    return entry is not None


async def test_an_entry_is_remembered_from_the_first_look_on(workers: Workers) -> None:
    cache = workers.start()
    await cache.put(KEY, ANSWER)
    assert not await is_remembered(workers, cache)
    counts = [entry.hit_count for _ in range(3) if (entry := await cache.get(KEY))]
    assert counts == [1, 2, 3]
    assert await is_remembered(workers, cache)
    assert (await cache.stats()).hits == 4


async def test_a_replaced_entry_is_seen_by_every_worker_at_once(workers: Workers) -> None:
    caches = [workers.start() for _ in range(3)]
    for number in range(10):
        await caches[number % 3].put(KEY, saying(str(number)))
        for cache in caches:
            for _ in range(2):
                assert text_of(await cache.get(KEY)) == str(number)


async def test_an_entry_that_left_and_came_again_is_the_new_one_for_all(workers: Workers) -> None:
    first, second = workers.start(), workers.start()
    await first.put(KEY, ANSWER)
    await second.get(KEY)
    workers.sql("delete from ai_cache")
    assert text_of(await second.get(KEY)) == "Hi.", "what left for want of room may still be given"
    await first.put(KEY, NEW)
    assert text_of(await second.get(KEY)) == "new"


async def test_another_keys_change_lets_an_entry_be(workers: Workers) -> None:
    cache = workers.start()
    await cache.put(KEY, ANSWER)
    await cache.get(KEY)
    other = next(key(number) for number in range(100) if slot_of(key(number).digest) != slot_of(KEY.digest))
    await cache.put(other, ANSWER)
    assert await is_remembered(workers, cache)


async def test_a_clearing_is_seen_by_every_worker_at_once(workers: Workers) -> None:
    caches = [workers.start() for _ in range(3)]
    for number in range(9):
        await caches[0].put(KEY, ANSWER)
        for cache in caches:
            assert await cache.get(KEY) is not None
        assert await caches[number % 3].clear(tenant_id="acme") == 1
        for cache in caches:
            assert await cache.get(KEY) is None


async def test_time_is_looked_at_on_every_hit(workers: Workers) -> None:
    cache = workers.start(ttl_s=100)
    await cache.put(KEY, ANSWER)
    entry = await cache.get(KEY)
    assert entry is not None
    workers.clock.advance_s(10)
    assert await cache.get(KEY, max_age_s=9) is None
    assert await cache.get(KEY, max_age_s=10) is not None
    workers.clock.set_us(entry.expires_at_us)
    assert await cache.get(KEY) is None
    workers.clock.set_us(entry.expires_at_us - 1)
    assert await cache.get(KEY) is not None, "a clock that goes back"


async def test_an_entry_that_was_changed_is_dropped_for_all(workers: Workers) -> None:
    first, second = workers.start(), workers.start()
    await first.put(KEY, ANSWER)
    await first.get(KEY)
    workers.sql("update ai_cache set response_data = x'00'")
    assert text_of(await first.get(KEY)) == "Hi.", "it was genuine when it was read"
    assert await second.get(KEY) is None
    assert await first.get(KEY) is None


@pytest.mark.parametrize("slot", [ERA, slot_of(KEY.digest)])
async def test_after_a_writer_died_at_it_the_file_is_asked_until_it_is_mended(workers: Workers, slot: int) -> None:
    cache = workers.start()
    await cache.put(KEY, ANSWER)
    await cache.get(KEY)
    dead = Stamps(workers.path.with_name("cache.db-stamps"))
    dead.open()
    change = dead.changing(slot)
    change.__enter__()
    for _ in range(3):
        assert not await is_remembered(workers, cache)
        assert text_of(await cache.get(KEY)) == "Hi."
    await asyncio.sleep(TEND_AFTER_S + 0.1)
    await cache.get(KEY)
    assert await is_remembered(workers, cache)
    change.__exit__(None, None, None)


async def test_while_a_writer_is_at_work_nothing_is_mended(workers: Workers) -> None:
    cache = workers.start()
    await cache.put(KEY, ANSWER)
    writer = sqlite3.connect(workers.path, isolation_level=None)
    writer.execute("begin immediate")
    living = Stamps(workers.path.with_name("cache.db-stamps"))
    living.open()
    with living.changing(slot_of(KEY.digest)):
        await cache.get(KEY)
        await asyncio.sleep(TEND_AFTER_S + 0.3)
        assert cache._recent.find(KEY.digest, None, 0) is None
    writer.execute("rollback")
    writer.close()
    assert cache.failures > 0


async def test_a_file_made_anew_is_gone_over_to_at_once(workers: Workers) -> None:
    """The others do not wait for their second: what is cleared in the new file is gone for them too."""
    first, second = workers.start(), workers.start()
    await first.put(KEY, ANSWER)
    assert text_of(await second.get(KEY)) == "Hi."
    damage(workers.path)
    await first.put(KEY, NEW)
    for _ in range(2):
        assert text_of(await second.get(KEY)) == "new"
    assert await first.clear() == 1
    assert await second.get(KEY) is None
    assert (first.failures, second.failures) == (0, 0)


def remade(workers: Workers) -> SqliteCache:
    """Another worker makes the file anew, as it does with a ruined one; to the others the old one still reads well."""
    for suffix in ("", "-wal", "-shm"):
        workers.path.with_name(f"cache.db{suffix}").unlink()
    return workers.start()


async def test_a_file_that_another_made_anew_is_gone_over_to_at_once(workers: Workers) -> None:
    old = workers.start()
    await old.put(KEY, ANSWER)
    await old.put(key(1), ANSWER)
    assert text_of(await old.get(KEY)) == "Hi."
    new = remade(workers)
    await new.put(KEY, NEW)
    for _ in range(2):
        assert text_of(await old.get(KEY)) == "new"
    assert await old.get(key(1)) is None, "it was not read from the new file"
    assert await new.clear() == 1
    assert await old.get(KEY) is None


async def test_a_waiter_goes_over_to_a_file_made_anew_too(workers: Workers) -> None:
    leader, waiter = workers.start(), workers.start()
    await leader.claim(KEY, "one")
    for _ in range(2):
        assert await waiter.claim(KEY, "two") == Claim(False)
    new = remade(workers)
    assert await new.claim(KEY, "three") == Claim(True)
    await new.put(KEY, NEW, lease_id="three")
    assert text_of((await waiter.claim(KEY, "two")).entry) == "new"


async def test_files_deleted_by_hand_are_made_anew(workers: Workers) -> None:
    first, second = workers.start(), workers.start()
    for cache in (first, second):
        await cache.put(KEY, ANSWER)
        await cache.get(KEY)
    for part in workers.path.parent.glob("cache.db*"):
        part.unlink()
    await asyncio.sleep(TEND_AFTER_S + 0.2)
    assert await first.get(KEY) is None
    await first.put(KEY, NEW)
    assert text_of(await second.get(KEY)) == "new"
    assert await second.clear() == 1
    assert await first.get(KEY) is None


async def test_what_is_remembered_is_bounded(workers: Workers) -> None:
    cache = workers.start(bytes_max=1_048_576)
    large = saying("x" * 60_000)
    for number in range(4):
        await cache.put(key(number), large)
        await cache.get(key(number))
    assert [await is_remembered(workers, cache, key(number)) for number in (3, 2, 1, 0)] == [True, True, False, False]


async def test_who_waits_only_reads(workers: Workers) -> None:
    """A file that another worker writes to does not hold up those who ask again, nor does their asking hold it."""
    first, second = workers.start(), workers.start()
    await first.claim(KEY, "one")
    await second.claim(KEY, "two")
    holder = sqlite3.connect(workers.path, isolation_level=None)
    holder.execute("begin immediate")
    for _ in range(100):
        assert await second.claim(KEY, "two") == Claim(False)
    assert second.failures == 0
    workers.clock.advance_s(0.6)
    assert await second.claim(KEY, "two") == Claim(True), "it could not be said that someone waits: everyone leads"
    assert second.failures == 1
    holder.execute("rollback")
    holder.close()


async def test_where_the_store_is_down_everyone_leads_and_no_request_fails(workers: Workers) -> None:
    cache = workers.start()
    holder = sqlite3.connect(workers.path, isolation_level=None)
    holder.execute("begin immediate")
    assert await cache.claim(KEY, "one") == Claim(True)
    assert await cache.claim(KEY, "two") == Claim(True)
    assert not await cache.renew(KEY, "one")
    await cache.release(KEY, "one")
    assert cache.failures == 4
    holder.execute("rollback")
    holder.close()
    await cache.put(KEY, ANSWER, lease_id="one")
    assert await cache.get(KEY) is None, "who has no lease cannot know what was cleared"


def fill(workers: Workers, entries: int) -> None:
    """Entries of two tenants and two models, all alive."""
    now_us = workers.clock.now_us()
    workers.sql("delete from ai_cache")
    workers.sql("delete from ai_cache_scopes")
    workers.sql(
        "with recursive number (n) as (select 1 union all select n + 1 from number where n < ?) "
        "insert into ai_cache (serial, cache_key, tenant_id, model_used, created_at, expires_at, last_used_at, bytes, "
        "mac, response_data) select (select serial from ai_cache_state) + n, 'key ' || n, 'tenant ' || (n % 2), "
        "'model ' || (n / 2 % 2), ?, ?, ?, 600, x'00', x'00' from number",
        entries,
        now_us,
        now_us + 1_000_000_000,
        now_us,
    )
    workers.sql("update ai_cache_state set serial = serial + ?", entries)


async def cost_of_clearing(cache: SqliteCache, **scope: str) -> tuple[int, int, int]:
    """Entries, written rows and steps of SQLite's machine."""
    steps: list[None] = []
    connection = cache._file.cursor.connection
    connection.set_progress_handler(lambda: steps.append(None), 1)
    before = connection.total_changes
    entries = await cache.clear(**scope)
    connection.set_progress_handler(None, 0)
    return entries, connection.total_changes - before, len(steps)


@pytest.mark.parametrize(
    ("scope", "part"),
    [
        ({"tenant_id": "tenant 0"}, 2),
        ({"model": "model 1"}, 2),
        ({"tenant_id": "tenant 1", "model": "model 0"}, 4),
        ({}, 1),
    ],
)
async def test_a_clearing_costs_the_same_whatever_the_number_of_entries(
    workers: Workers, scope: dict[str, str], part: int
) -> None:
    cache = workers.start()
    costs = []
    for entries in (8, 800, 8_000):
        fill(workers, entries)
        cleared, written, steps = await cost_of_clearing(cache, **scope)
        assert cleared == entries // part
        costs.append((written, steps))
    assert len(set(costs)) == 1, costs
    assert costs[0][0] <= 5, "a row for each pair of tenant and model, and one for all"


async def test_a_hundred_thousand_entries_are_cleared_like_eight(workers: Workers) -> None:
    cache = workers.start()
    fill(workers, 8)
    few, *cost = await cost_of_clearing(cache, tenant_id="tenant 0")
    fill(workers, 100_000)
    many, *cost_again = await cost_of_clearing(cache, tenant_id="tenant 0")
    assert (few, many) == (4, 50_000)
    assert cost_again == cost
    assert (await cache.stats()).entries == 50_000


async def test_an_answer_that_comes_while_the_lease_is_being_taken_is_found(workers: Workers) -> None:
    """The look before the transaction finds nothing; the leader's answer is there when it begins."""
    first, second = workers.start(), workers.start()
    connection = second._file.cursor.connection

    def answer(statement: str) -> None:
        if statement == "begin immediate":
            connection.set_trace_callback(None)
            first._file.run(first._put, (KEY, written(ANSWER), None))

    connection.set_trace_callback(answer)
    claim = await second.claim(KEY, "two")
    assert not claim.is_leader
    assert text_of(claim.entry) == "Hi."
    assert workers.sql("select count(*) from ai_cache_leases") == [(0,)]
