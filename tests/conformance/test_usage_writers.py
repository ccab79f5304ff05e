"""Several workers over one ledger at once: same rows, same sums, and an operator who makes the sums anew."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.settings import Settings
from aiservice.stores.databases import open_main, open_owner
from aiservice.usage.delivery import Delivery
from aiservice.usage.model import LedgerCounts, UsageRecord
from aiservice.usage.port import UsageStore
from aiservice.usage.sql import SqlUsageStore
from tests.conformance.databases import DATABASES
from tests.conformance.test_usage_store import KEY_A, KEY_B, NOON_US, row

WRITERS = 12
BATCHES = 5
BATCH = 40


@pytest.fixture(params=DATABASES)
def settings(request: pytest.FixtureRequest, settings_on) -> Settings:
    return settings_on(request.param)


@pytest.fixture
async def stores(settings: Settings, stack: AsyncExitStack) -> list[UsageStore]:
    engines = [open_main(settings) for _ in range(WRITERS)]
    for engine in engines:
        stack.push_async_callback(engine.dispose)
    return [SqlUsageStore(engine, ManualClock()) for engine in engines]


@pytest.fixture
async def operator(settings: Settings, stack: AsyncExitStack) -> UsageStore:
    engine = open_owner(settings)
    stack.push_async_callback(engine.dispose)
    return SqlUsageStore(engine, ManualClock())


def various(count: int) -> list[UsageRecord]:
    """Few keys and statuses, so that everybody adds to the same sums."""
    chance = random.Random(count)
    return [
        row(
            NOON_US + chance.randrange(4) * 3_600_000_000 + number * 1_000,
            api_key_id=chance.choice((KEY_A, KEY_B)),
            status_code=chance.choice((200, 429)),
            model_used=chance.choice(("a", "b", None)),
        )
        for number in range(count)
    ]


async def ship(store: UsageStore, rows: Sequence[UsageRecord], *, seed: int) -> LedgerCounts:
    """All rows in batches, in an order of its own."""
    counts = LedgerCounts()
    delivery = Delivery(store, counts)
    mixed = random.Random(seed).sample(rows, len(rows))
    for at in range(0, len(mixed), BATCH):
        await delivery.deliver(mixed[at : at + BATCH])
    return counts


async def test_writers_of_the_same_rows_never_wait_in_a_ring_and_count_each_once(stores):
    rows = various(BATCHES * BATCH)

    counts = await asyncio.gather(*(ship(store, rows, seed=seed) for seed, store in enumerate(stores)))

    assert sum(each.shipped_rows for each in counts) == len(rows)
    assert (await stores[0].totals()).requests == len(rows)
    assert await stores[0].differences(0) == []


async def test_writers_of_the_same_sums_never_wait_in_a_ring(stores):
    rows = various(BATCHES * BATCH * len(stores))
    shares = [rows[number :: len(stores)] for number in range(len(stores))]

    counts = await asyncio.gather(*(ship(store, share, seed=1) for store, share in zip(stores, shares, strict=True)))

    assert sum(each.shipped_rows for each in counts) == (await stores[0].totals()).requests == len(rows)
    assert await stores[0].differences(0) == []


async def test_sums_are_made_anew_while_everybody_writes(stores, operator):
    rows = various(BATCHES * BATCH * 4)
    shares = [rows[number :: len(stores)] for number in range(len(stores))]
    writing = asyncio.gather(*(ship(store, share, seed=1) for store, share in zip(stores, shares, strict=True)))
    while not writing.done():
        await operator.recompute(0)
        assert await operator.differences(0) == []
        await asyncio.sleep(0)
    await writing

    assert (await operator.totals()).requests == len(rows)
    assert await operator.differences(0) == []
