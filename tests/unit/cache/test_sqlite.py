"""What only the SQLite cache has to do: trust nothing in its file, survive it, and keep the workers of one mind."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aiservice.cache import CacheKey
from aiservice.cache.sqlite import EVICT_ROWS, SWEEP_ROWS, TALLY_MAX, SqliteCache
from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.core.settings import CacheSettings
from aiservice.core.types import Completion, Tokens
from aiservice.stores.databases import open_hot

TEND_AFTER_S = 0.1
SECRET = b"a secret of at least thirty-two bytes"
ANSWER = Completion("smollm2:135m", "llamacpp", "Hi.", "stop", Tokens(3, 2))
KEY = CacheKey("a" * 64, "acme", "m")


def key(number: int, tenant_id: str = "acme", model: str = "m") -> CacheKey:
    return CacheKey(f"{number:064x}", tenant_id, model)


class Workers:
    """Several caches on one file, and a look into it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "cache.db"
        self.clock = ManualClock()
        self._open: list[SqliteCache] = []

    def start(self, *, secret: bytes = SECRET, **settings: int) -> SqliteCache:
        kept = CacheSettings(**settings)
        cache = SqliteCache(self.path, kept, self.clock, secret=secret, tend_after_s=TEND_AFTER_S)
        self._open.append(cache)
        return cache

    def sql(self, statement: str, *values: Any) -> list[Any]:
        connection = open_hot(self.path, synchronous="OFF")
        rows = connection.execute(statement, values).fetchall()
        connection.close()
        return rows

    async def stop(self) -> None:
        for cache in self._open:
            await cache.aclose()


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Workers]:
    workers = Workers(tmp_path)
    yield workers
    await workers.stop()


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


async def test_an_entry_that_is_genuine_but_of_another_shape_is_a_miss(workers: Workers) -> None:
    cache = workers.start()
    await cache.put(KEY, ANSWER)
    ((created, expires),) = workers.sql("select created_at, expires_at from ai_cache")
    payload = b'{"model":"m"}'
    mac = cache._mac(KEY, created, expires, payload=payload)
    workers.sql("update ai_cache set response_data = ?, mac = ?", payload, mac)
    assert await cache.get(KEY) is None


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


async def test_a_hundred_look_ups_are_written_at_once(workers: Workers) -> None:
    cache = workers.start()
    await cache.put(KEY, ANSWER)
    for _ in range(TALLY_MAX - 1):
        await cache.get(KEY)
    assert workers.sql("select hits from ai_cache_state") == [(0,)]
    await cache.get(KEY)
    assert workers.sql("select hits from ai_cache_state") == [(TALLY_MAX,)]


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
        while workers.sql("select count(*) from ai_cache_clearings") != [(0,)]:
            await asyncio.sleep(0.02)
    assert workers.sql("select count(*) from ai_cache") == [(1,)]
    workers.clock.advance_s(4_000)
    async with asyncio.timeout(5):
        while workers.sql("select count(*) from ai_cache") != [(0,)]:
            await cache.get(KEY)
            await asyncio.sleep(0.05)
    assert workers.sql("select bytes from ai_cache_state") == [(0,)]


async def test_clearing_everything_forgets_earlier_clearings(workers: Workers) -> None:
    cache = workers.start()
    for tenant_id in ("a", "b", "c"):
        await cache.clear(tenant_id=tenant_id)
    await cache.clear()
    assert workers.sql("select is_any_tenant, is_any_model from ai_cache_clearings") == [(1, 1)]


async def test_an_empty_name_is_not_everything(workers: Workers) -> None:
    cache = workers.start()
    await cache.put(KEY, ANSWER)
    assert await cache.clear(tenant_id="") == 0
    assert await cache.clear(model="") == 0
    assert await cache.get(KEY) is not None


async def test_what_is_expired_makes_room_before_what_is_used(workers: Workers) -> None:
    large = replace(ANSWER, text="x" * 200_000)
    cache = workers.start(bytes_max=1_048_576, ttl_s=100)
    for number in range(3):
        await cache.put(key(number), large)
    workers.clock.advance_s(200)
    for number in range(3, 7):
        await cache.put(key(number), large)
    assert [await cache.get(key(number)) is not None for number in range(3, 7)] == [True] * 4


async def test_many_small_entries_make_room_for_a_large_one(workers: Workers) -> None:
    cache = workers.start(bytes_max=1_048_576)
    for number in range(1_000):
        await cache.put(key(number), replace(ANSWER, text="x" * 300))
        workers.clock.advance_s(0.001)
    await cache.put(KEY, replace(ANSWER, text="x" * 900_000))
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


async def test_a_pickle_is_not_opened(workers: Workers) -> None:
    cache = workers.start()
    await cache.put(KEY, ANSWER)
    payload = b"\x80\x04\x95\x1e\x00\x00\x00"
    ((created, expires),) = workers.sql("select created_at, expires_at from ai_cache")
    workers.sql(
        "update ai_cache set response_data = ?, mac = ?", payload, cache._mac(KEY, created, expires, payload=payload)
    )
    assert await cache.get(KEY) is None


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
    assert {"ai_cache", "ai_cache_clearings", "ai_cache_state"} <= names
