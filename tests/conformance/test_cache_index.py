"""What every index of a cache does: what it lists, counts, forgets and sweeps. `LONG=1` does 20,000 random steps."""

import asyncio
import os
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from aiservice.cache.memory import MemoryCacheIndex
from aiservice.cache.model import EntryFacts
from aiservice.cache.port import CacheIndex
from aiservice.cache.sql import FORGET_ROWS, ROWS_AT_ONCE, SqlCacheIndex
from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.core.settings import Settings
from aiservice.stores.databases import MAIN_FILE, open_main
from tests.settings import embedded_in

NOW_US = 1_750_000_000_000_000
HOUR_US = 3_600_000_000
STEPS = 20_000 if os.environ.get("LONG") else 500


def facts_of(
    name: str, tenant_id: str = "acme", model: str = "m", *, hits: int = 0, made_us: int = NOW_US
) -> EntryFacts:
    return EntryFacts(f"{name:0>64}", tenant_id, model, 1_000, made_us, made_us + HOUR_US, hits)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_US)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.stores)])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Of a main database at head."""
    if request.param == "postgres":
        given: Settings = request.getfixturevalue("postgres_settings")
        return given
    shutil.copy(request.getfixturevalue("migrated"), tmp_path / MAIN_FILE)
    return embedded_in(tmp_path)


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.stores)])
async def index(
    request: pytest.FixtureRequest, clock: ManualClock, migrated: Path, tmp_path: Path
) -> AsyncIterator[CacheIndex]:
    if request.param == "memory":
        yield MemoryCacheIndex(clock)
        return
    if request.param == "sqlite":
        shutil.copy(migrated, tmp_path / MAIN_FILE)
        engine = open_main(embedded_in(tmp_path))
    else:
        engine = open_main(request.getfixturevalue("postgres_settings"))
    yield SqlCacheIndex(engine, clock)
    await engine.dispose()


async def test_nothing_is_listed_at_first(index: CacheIndex) -> None:
    await index.record([])
    assert await index.totals() == (0, 0)
    assert await index.most_hit(10) == []
    assert await index.forget() == 0
    assert await index.sweep(rows_max=10) == 0


async def test_an_entry_is_listed_as_it_was_recorded(index: CacheIndex) -> None:
    entry = facts_of("a", "Büro", "qwen2.5:0.5b-äö", hits=3, made_us=NOW_US + 1)
    await index.record([entry])
    assert await index.most_hit(10) == [entry]
    assert await index.totals() == (1, 1_000)


async def test_new_hits_are_added_to_those_there_were(index: CacheIndex) -> None:
    for hits in (0, 2, 5):
        await index.record([facts_of("a", hits=hits)])
    assert [facts.hit_count for facts in await index.most_hit(10)] == [7]


async def test_hits_may_come_before_the_entry_is_recorded(index: CacheIndex) -> None:
    """Another worker found it before the one that made it had written it down."""
    await index.record([facts_of("a", hits=2)])
    await index.record([facts_of("a")])
    assert [facts.hit_count for facts in await index.most_hit(10)] == [2]


async def test_an_entry_in_the_place_of_another_begins_with_its_own_hits(index: CacheIndex) -> None:
    await index.record([facts_of("a", hits=9)])
    newer = replace(facts_of("a", hits=1, made_us=NOW_US + 5), bytes=2_000)
    await index.record([newer])
    assert await index.most_hit(10) == [newer]
    assert await index.totals() == (1, 2_000)


async def test_the_most_hit_come_first_and_no_more_than_asked_for(index: CacheIndex) -> None:
    await index.record([facts_of(name, hits=hits) for name, hits in (("a", 1), ("b", 3), ("c", 0), ("d", 2))])
    assert [facts.hit_count for facts in await index.most_hit(10)] == [3, 2, 1, 0]
    assert [facts.digest[-1] for facts in await index.most_hit(2)] == ["b", "d"]


async def test_expired_entries_are_neither_listed_nor_counted(index: CacheIndex, clock: ManualClock) -> None:
    await index.record([facts_of("a"), facts_of("b", made_us=NOW_US + 1)])
    clock.set_us(NOW_US + HOUR_US - 1)
    assert (await index.totals())[0] == 2
    clock.set_us(NOW_US + HOUR_US)
    assert await index.totals() == (1, 1_000)
    assert [facts.digest[-1] for facts in await index.most_hit(10)] == ["b"]
    assert await index.forget() == 1, "the expired one is gone too, but was not live"
    clock.set_us(NOW_US)
    assert await index.totals() == (0, 0)


PLACES = [("a", "acme", "m"), ("b", "acme", "n"), ("c", "other", "m"), ("d", "other", "n")]


@pytest.mark.parametrize(
    ("tenant_id", "model", "left"),
    [
        (None, None, ""),
        ("acme", None, "cd"),
        (None, "m", "bd"),
        ("acme", "m", "bcd"),
        ("nobody", None, "abcd"),
        (None, "none", "abcd"),
        ("acme", "none", "abcd"),
    ],
)
async def test_what_is_forgotten_is_what_was_named(
    index: CacheIndex, tenant_id: str | None, model: str | None, left: str
) -> None:
    await index.record([facts_of(*place) for place in PLACES])
    assert await index.forget(tenant_id=tenant_id, model=model) == 4 - len(left)
    assert sorted(facts.digest[-1] for facts in await index.most_hit(10)) == list(left)
    assert await index.forget(tenant_id=tenant_id, model=model) == 0


async def test_what_was_made_later_is_not_forgotten(index: CacheIndex) -> None:
    await index.record([facts_of("a"), facts_of("b", made_us=NOW_US + 1), facts_of("c", "other")])
    assert await index.forget(tenant_id="acme", made_until_us=NOW_US) == 1
    assert sorted(facts.digest[-1] for facts in await index.most_hit(10)) == ["b", "c"]


async def test_a_sweep_takes_expired_rows_and_no_more_than_asked_for(index: CacheIndex, clock: ManualClock) -> None:
    await index.record([facts_of(str(number)) for number in range(5)] + [facts_of("live", made_us=NOW_US + HOUR_US)])
    clock.set_us(NOW_US + HOUR_US)
    assert await index.sweep(rows_max=3) == 3
    assert await index.sweep(rows_max=3) == 2
    assert await index.sweep(rows_max=3) == 0
    assert (await index.totals())[0] == 1


async def test_more_rows_than_a_transaction_takes(index: CacheIndex) -> None:
    count = FORGET_ROWS + ROWS_AT_ONCE + 1
    await index.record([facts_of(f"{number:05}") for number in range(count)])
    assert await index.totals() == (count, count * 1_000)
    assert await index.forget(tenant_id="acme") == count
    assert await index.totals() == (0, 0)


async def test_a_row_that_cannot_be_listed_holds_up_no_other(index: CacheIndex) -> None:
    await index.record([facts_of("a"), facts_of("b", model="with a NUL\0"), facts_of("c")])
    assert {"a", "c"} <= {facts.digest[-1] for facts in await index.most_hit(10)}


@pytest.mark.timeout(600)
async def test_random_steps_agree_with_the_twin(index: CacheIndex, clock: ManualClock) -> None:
    twin = MemoryCacheIndex(clock)
    chance = random.Random(5)
    for _ in range(STEPS):
        clock.advance_s(chance.choice([0, 0, 60, 900]))
        match chance.choices(["record", "forget", "sweep", "look"], [12, 1, 3, 3])[0]:
            case "record":
                facts = some_facts(chance, clock.now_us())
                await index.record(facts)
                await twin.record(facts)
            case "forget":
                made_until_us = chance.choice([None, clock.now_us() - HOUR_US // 4])
                tenant_id, model = chance.choice([None, "acme", "other"]), chance.choice([None, "m", "n"])
                count = await index.forget(tenant_id=tenant_id, model=model, made_until_us=made_until_us)
                assert count == await twin.forget(tenant_id=tenant_id, model=model, made_until_us=made_until_us)
            case "sweep":
                assert await index.sweep(rows_max=100) == await twin.sweep(rows_max=100)
            case "look":
                assert await index.totals() == await twin.totals()
                listed, expected = await index.most_hit(100), await twin.most_hit(100)
                assert set(listed) == set(expected)
                assert [facts.hit_count for facts in listed] == [facts.hit_count for facts in expected]


def some_facts(chance: random.Random, now_us: int) -> list[EntryFacts]:
    made_us = now_us - chance.choice([0, 0, HOUR_US // 2])
    places = sorted(chance.sample(PLACES, chance.randrange(5)))
    return [facts_of(*place, hits=chance.randrange(3), made_us=made_us) for place in places]


async def test_workers_that_write_at_once_lose_no_hit_and_wait_for_none(settings: Settings, clock: ManualClock) -> None:
    """All of them the same rows, while one sweeps and one forgets what is not there."""
    engines = [open_main(settings) for _ in range(4)]
    indexes = [SqlCacheIndex(engine, clock) for engine in engines]
    rows = [facts_of(f"{number:03}", hits=1) for number in range(100)]
    for _ in range(5):
        await asyncio.gather(
            *(index.record(rows) for index in indexes),
            indexes[0].sweep(rows_max=100),
            indexes[1].forget(tenant_id="nobody"),
        )
    assert [facts.hit_count for facts in await indexes[0].most_hit(1_000)] == [20] * 100
    for engine in engines:
        await engine.dispose()


@pytest.mark.parametrize(
    "ask",
    [
        lambda index: index.record([facts_of("a")]),
        lambda index: index.forget(),
        lambda index: index.sweep(rows_max=10),
        lambda index: index.totals(),
        lambda index: index.most_hit(10),
    ],
)
async def test_a_database_without_tables_is_unavailable(
    tmp_path: Path, ask: Callable[[CacheIndex], Awaitable[object]]
) -> None:
    engine = open_main(embedded_in(tmp_path))
    with pytest.raises(StoreUnavailable):
        await ask(SqlCacheIndex(engine, ManualClock()))
    await engine.dispose()
