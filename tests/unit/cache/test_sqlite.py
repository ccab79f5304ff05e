"""What only the SQLite cache has to do: trust nothing in its file, survive it, and keep the workers of one mind."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from msgspec.structs import replace

from aiservice.cache import CacheKey
from aiservice.cache.seal import MacSeal, head_of
from aiservice.cache.sqlite import EVICT_ROWS, SWEEP_ROWS, TALLY_MAX, SqliteCache
from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.core.settings import CacheSettings
from aiservice.stores.databases import open_hot
from tests.unit.cache.workers import ANSWER, KEY, SECRET, TEND_AFTER_S, Workers, key, saying


async def test_an_entry_of_one_worker_is_found_by_another(workers: Workers) -> None:
    first, second = workers.start(), workers.start()
    await first.put(KEY, ANSWER)
    entry = await second.get(KEY)
    assert entry is not None
    assert entry.completion == ANSWER


async def test_the_table_has_the_columns_of_the_contract(workers: Workers) -> None:
    cache = workers.start()
    await cache.put(KEY, ANSWER)
    await cache.get(KEY)
    await cache.stats()
    ((digest, data, model, hits),) = workers.sql("select cache_key, response_data, model_used, hit_count from ai_cache")
    assert (digest, model, hits) == (KEY.digest, "m", 1)
    assert b'"text":"Hi."' in data
    ((created, expires),) = workers.sql("select created_at, expires_at from ai_cache")
    assert expires > created == workers.clock.now_us()


@pytest.mark.parametrize(
    "change",
    [
        "update ai_cache set response_data = cast(replace(response_data, 'Hi', 'Ho') as blob)",
        "update ai_cache set mac = zeroblob(32)",
        "update ai_cache set mac = zeroblob(0)",
        "update ai_cache set mac = 'text'",
        "update ai_cache set response_data = 'text'",
        "update ai_cache set response_data = 1",
        "update ai_cache set created_at = 'text'",
        "update ai_cache set created_at = -1",
        "update ai_cache set expires_at = expires_at + 1",
        "update ai_cache set created_at = created_at + 1",
        "update ai_cache set cache_key = replace(cache_key, 'a', 'b')",
    ],
)
async def test_a_changed_entry_is_a_miss_and_leaves(workers: Workers, change: str) -> None:
    cache = workers.start()
    await cache.put(KEY, ANSWER)
    workers.sql(change)
    wanted = replace(KEY, digest="b" * 64) if "cache_key" in change else KEY
    assert await cache.get(wanted) is None
    assert workers.sql("select count(*) from ai_cache") == [(0,)]
    assert (await cache.stats()).misses == 1


async def test_an_entry_of_another_secret_is_a_miss(workers: Workers) -> None:
    await workers.start().put(KEY, ANSWER)
    assert await workers.start(secret=b"another secret of thirty-two byte").get(KEY) is None


@pytest.mark.parametrize("payload", [b'{"model":"m"}', b"\x80\x04\x95\x1e\x00\x00\x00"])
async def test_an_entry_that_is_genuine_but_no_answer_is_a_miss(workers: Workers, payload: bytes) -> None:
    """Bytes of another version, or a pickle, which is not opened."""
    cache = workers.start()
    await cache.put(KEY, ANSWER)
    ((created, expires),) = workers.sql("select created_at, expires_at from ai_cache")
    mac, _ = MacSeal(SECRET).closed(head_of(KEY, created, expires), KEY.tenant_id, payload)
    workers.sql("update ai_cache set response_data = ?, mac = ?", payload, mac)
    assert await cache.get(KEY) is None
    assert workers.sql("select count(*) from ai_cache") == [(0,)]


async def test_hits_and_misses_of_all_workers_are_summed(workers: Workers) -> None:
    first, second = workers.start(), workers.start()
    await first.put(KEY, ANSWER)
    for cache in (first, second, second):
        await cache.get(KEY)
        await cache.get(key(1))
    await first.stats()
    stats = await second.stats()
    assert (stats.hits, stats.misses) == (3, 3)
    again = await workers.start().get(KEY)
    assert again is not None
    assert again.hit_count == 4


async def test_hits_of_many_entries_are_written_at_once(workers: Workers) -> None:
    cache = workers.start()
    for number in range(TALLY_MAX):
        await cache.put(key(number), ANSWER)
    for number in range(TALLY_MAX - 1):
        await cache.get(key(number))
        await cache.get(key(number))
    assert workers.sql("select hits from ai_cache_state") == [(0,)]
    await cache.get(key(TALLY_MAX - 1))
    assert workers.sql("select hits from ai_cache_state") == [(2 * TALLY_MAX - 1,)]
    assert workers.sql("select sum(hit_count), max(hit_count) from ai_cache") == [(2 * TALLY_MAX - 1, 2)]


async def test_fewer_look_ups_are_written_after_a_while_and_at_the_end(workers: Workers) -> None:
    cache = workers.start()
    await cache.get(KEY)
    assert workers.sql("select misses from ai_cache_state") == [(0,)]
    await asyncio.sleep(TEND_AFTER_S + 0.1)
    assert workers.sql("select misses from ai_cache_state") == [(1,)]
    await cache.get(KEY)
    await cache.aclose()
    assert workers.sql("select misses from ai_cache_state") == [(2,)]


async def test_a_clearing_reaches_every_worker_at_once(workers: Workers) -> None:
    first, second = workers.start(), workers.start()
    for number, (tenant_id, model) in enumerate([("a", "m"), ("a", "n"), ("b", "m"), ("b", "n")]):
        await first.put(key(number, tenant_id, model), ANSWER)
        assert await second.get(key(number, tenant_id, model)) is not None
    assert await first.clear(tenant_id="a", model="m") == 1
    assert await second.get(key(0, "a", "m")) is None
    assert await first.clear(model="n") == 2
    assert await second.get(key(1, "a", "n")) is None
    assert await second.get(key(3, "b", "n")) is None
    assert await second.get(key(0, "a", "m")) is None, "an earlier clearing stands"
    assert await second.get(key(2, "b", "m")) is not None
    await second.put(key(1, "a", "n"), ANSWER)
    assert await first.get(key(1, "a", "n")) is not None


async def test_cleared_and_expired_entries_are_swept_away_in_steps(workers: Workers) -> None:
    cache = workers.start(ttl_s=3_600)
    for number in range(SWEEP_ROWS + 10):
        await cache.put(key(number, "a"), ANSWER)
    await cache.put(key(0, "b"), ANSWER)
    cleared = await cache.clear(tenant_id="a")
    assert cleared == SWEEP_ROWS + 9, "the first was replaced by that of tenant b"
    assert workers.sql("select count(*) from ai_cache") == [(SWEEP_ROWS + 10,)]
    async with asyncio.timeout(5):
        while workers.sql("select count(*) from ai_cache_scopes where row_count > entries") != [(0,)]:
            await asyncio.sleep(0.02)
        while workers.sql("select tenant_id from ai_cache_scopes") != [("b",)]:
            await asyncio.sleep(0.02)
    assert workers.sql("select count(*) from ai_cache") == [(1,)]
    workers.clock.advance_s(4_000)
    async with asyncio.timeout(5):
        while workers.sql("select count(*) from ai_cache") != [(0,)]:
            await cache.get(KEY)
            await asyncio.sleep(0.05)
    assert workers.sql("select bytes from ai_cache_state") == [(0,)]


async def test_an_empty_name_is_not_everything(workers: Workers) -> None:
    cache = workers.start()
    await cache.put(KEY, ANSWER)
    assert await cache.clear(tenant_id="") == 0
    assert await cache.clear(model="") == 0
    assert await cache.get(KEY) is not None


async def test_many_small_entries_make_room_for_a_large_one(workers: Workers) -> None:
    cache = workers.start(bytes_max=1_048_576)
    for number in range(1_000):
        await cache.put(key(number), saying("x" * 300))
        workers.clock.advance_s(0.001)
    await cache.put(KEY, saying("x" * 900_000))
    assert (await cache.stats()).bytes <= 1_048_576
    assert await cache.get(KEY) is not None
    assert await cache.get(key(999)) is not None, "the most recent are left"
    assert (await cache.stats()).entries < 1_000 - EVICT_ROWS


async def test_bytes_that_nobody_holds_do_not_stop_the_cache(workers: Workers) -> None:
    cache = workers.start(bytes_max=1_048_576)
    workers.sql("update ai_cache_state set bytes = 10000000")
    await cache.put(KEY, ANSWER)
    assert await cache.get(KEY) is not None


def damage(path: Path) -> None:
    connection = open_hot(path, synchronous="OFF")
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xee" * (size - 100))


async def test_a_damaged_file_is_made_anew_and_is_a_miss(workers: Workers) -> None:
    first, second = workers.start(), workers.start()
    await first.put(KEY, ANSWER)
    await first.clear(tenant_id="acme")
    assert await second.get(KEY) is None
    damage(workers.path)
    assert await first.get(KEY) is None
    await first.put(KEY, ANSWER)
    assert await first.get(KEY) is not None
    await asyncio.sleep(TEND_AFTER_S + 0.1)
    assert await second.get(KEY) is not None
    assert (first.failures, second.failures) == (0, 0)


async def test_a_file_that_is_held_is_read_and_what_cannot_be_written_is_counted(workers: Workers) -> None:
    cache = workers.start()
    await cache.put(KEY, ANSWER)
    holder = open_hot(workers.path, synchronous="OFF")
    holder.execute("begin immediate")
    assert await cache.get(KEY) is not None
    await cache.put(key(1), ANSWER)
    assert cache.failures == 1
    with pytest.raises(StoreUnavailable):
        await cache.clear()
    with pytest.raises(StoreUnavailable):
        await cache.stats()
    holder.execute("rollback")
    holder.close()
    assert await cache.get(key(1)) is None
    stats = await cache.stats()
    assert (stats.hits, stats.misses) == (1, 1)


async def test_a_folder_that_vanished_is_a_miss_and_counted(workers: Workers, tmp_path: Path) -> None:
    cache = workers.start()
    await cache.put(KEY, ANSWER)
    cache._file.cursor.execute("drop table ai_cache")
    for part in tmp_path.iterdir():
        part.unlink()
    tmp_path.rmdir()
    assert await cache.get(KEY) is None
    await cache.put(KEY, ANSWER)
    assert cache.failures >= 2
    await asyncio.sleep(TEND_AFTER_S + 0.1)
    tmp_path.mkdir()
    await cache.put(KEY, ANSWER)
    assert await cache.get(KEY) is not None


async def test_values_never_stand_in_statements(workers: Workers) -> None:
    cache = workers.start()
    evil = CacheKey("c" * 64, "x'; drop table ai_cache; --", 'm" or 1=1')
    await cache.put(evil, ANSWER)
    await cache.put(KEY, ANSWER)
    assert await cache.clear(tenant_id=evil.tenant_id, model=evil.model) == 1
    assert await cache.get(KEY) is not None


def test_the_file_is_a_plain_database(tmp_path: Path) -> None:
    SqliteCache(tmp_path / "cache.db", CacheSettings(), ManualClock(), secret=SECRET)
    with sqlite3.connect(tmp_path / "cache.db") as connection:
        names = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    connection.close()
    assert names == {"ai_cache", "ai_cache_leases", "ai_cache_scopes", "ai_cache_state"}


async def test_what_was_cleared_makes_room_before_what_is_used(workers: Workers) -> None:
    """Cleared entries wait for the sweep, and until then are counted in the bytes of all."""
    large = saying("x" * 200_000)
    cache = workers.start(bytes_max=1_048_576)
    await cache.put(key(0, "b"), large)
    for number in range(1, 5):
        await cache.put(key(number, f"tenant {number}"), large)
        await cache.clear(tenant_id=f"tenant {number}")
    for number in range(5, 9):
        await cache.put(key(number, "b"), large)
    assert [await cache.get(key(number, "b")) is not None for number in (0, 5, 6, 7, 8)] == [True] * 5


async def test_times_that_are_none_are_a_miss(workers: Workers) -> None:
    cache = workers.start()
    await cache.put(KEY, ANSWER)
    workers.sql("update ai_cache set expires_at = 'text', hit_count = 'text'")
    assert await cache.get(KEY) is None
    await cache.put(KEY, ANSWER)
    assert await cache.get(KEY) is not None
