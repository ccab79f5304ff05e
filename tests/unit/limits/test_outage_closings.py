"""What the limits' store hears of takes that were closed, or given out, while it was away: everything, and once."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import pytest

from aiservice.core.clock import ManualClock
from aiservice.limits import Bucket
from aiservice.limits.model import CLOSED_FOR_US
from aiservice.limits.outage import TOGETHER_MAX, OutageLimiter
from tests.unit.limits.away import (
    BUCKET,
    OTHERS,
    REPAY_EVERY_S,
    SHARES,
    TOKENS,
    Open,
    Reply,
    Store,
    admitted,
    eventually,
    left,
    settled,
    take_of,
)


async def test_what_came_back_here_is_not_owed(limiter: OutageLimiter, store: Store) -> None:
    store.is_away = True
    refunded, settled_take = take_of("a", (BUCKET, 1), (TOKENS, 50)), take_of("b", (BUCKET, 1), (TOKENS, 50))
    for take in (refunded, settled_take):
        await limiter.take(take)
    for _ in range(2):
        await limiter.refund(refunded)
        await limiter.settle(settled_take, (1, 70))
    await limiter.settle(refunded, (1, 1_000))
    assert await left(limiter, BUCKET, TOKENS) == [9, 30]
    store.is_away = False
    await eventually(store, 119)
    assert await left(store, TOKENS) == [1_130]


async def test_a_take_is_closed_where_it_was_taken(limiter: OutageLimiter, store: Store) -> None:
    here, there = take_of("here", (BUCKET, 1), (TOKENS, 50)), take_of("there", (BUCKET, 1), (TOKENS, 50))
    await limiter.take(there)
    store.is_away = True
    await limiter.take(here)
    await limiter.refund(there)
    store.is_away = False
    await eventually(store, 119)
    assert await left(store, TOKENS) == [1_150], "what was taken here is owed, what was taken there given back"
    store.is_away = True
    await limiter.refund(there)
    assert await left(limiter, BUCKET, TOKENS) == [9, 50]


async def test_what_comes_back_after_it_was_paid_goes_to_the_store_once(limiter: OutageLimiter, store: Store) -> None:
    store.is_away = True
    refunded, overdrawn = take_of("a", (BUCKET, 1), (TOKENS, 50)), take_of("b", (BUCKET, 1), (TOKENS, 50))
    for take in (refunded, overdrawn):
        await limiter.take(take)
    store.is_away = False
    await eventually(store, 118)
    store.silent_settlements = 3
    for _ in range(2):
        await limiter.refund(refunded)
        await limiter.settle(overdrawn, (1, 80))
    await settled(limiter)
    assert store.silent_settlements == 0
    assert await left(store, BUCKET, TOKENS) == [119, 1_120]
    store.is_away = True
    assert await left(limiter, BUCKET, TOKENS) == [9, 20]


@pytest.mark.parametrize("is_silent", [False, True])
async def test_what_the_store_could_not_hear_it_hears_once(
    limiter: OutageLimiter, store: Store, is_silent: bool
) -> None:
    refunded, overdrawn = take_of("a", (TOKENS, 100)), take_of("b", (TOKENS, 100))
    for take in (refunded, overdrawn):
        await limiter.take(take)
    store.is_away, store.is_silent = not is_silent, is_silent
    await limiter.refund(refunded)
    await limiter.settle(overdrawn, (300,))
    await limiter.settle(refunded, (1_000,))
    await asyncio.sleep(3 * REPAY_EVERY_S)
    store.is_away = store.is_silent = False
    await eventually(store, 900, TOKENS)
    await settled(limiter)
    assert await left(store, TOKENS) == [900]


async def test_a_payment_without_an_answer_counts_once(limiter: OutageLimiter, store: Store) -> None:
    store.is_away = True
    assert await admitted([limiter], 10) == 10
    store.is_away, store.silent_settlements = False, 3
    await settled(limiter)
    assert store.silent_settlements == 0
    assert await left(store, BUCKET) == [110]


async def test_a_take_without_an_answer_is_lost_there_and_counts_here(limiter: OutageLimiter, store: Store) -> None:
    store.is_silent = True
    take = take_of("a", (BUCKET, 1))
    assert (await limiter.take(take)).is_allowed
    await limiter.refund(take)
    store.is_silent = False
    await settled(limiter)
    assert await left(store, BUCKET) == [119]


async def test_after_ten_minutes_only_what_is_owed_is_told(
    limiter: OutageLimiter, store: Store, clock: ManualClock
) -> None:
    """The store no longer knows that it heard it: twice given back would be too much."""
    slow = Bucket("tokens:key:slow", "acme", burst=1_200, rate=1, period_s=86_400)
    refunded, overdrawn = take_of("a", (slow, 100)), take_of("b", (slow, 100))
    for take in (refunded, overdrawn):
        await limiter.take(take)
    store.is_away = True
    await limiter.refund(refunded)
    await limiter.settle(overdrawn, (300,))
    clock.set_us(clock.now_us() + CLOSED_FOR_US + 1)
    store.is_away = False
    await eventually(store, 800, slow)
    await settled(limiter)
    assert await left(store, slow) == [800]


async def test_of_too_many_closings_the_oldest_is_lost(open: Open, store: Store) -> None:
    limiter = open(closings_max=2)
    takes = [take_of(name, (BUCKET, 10)) for name in "abc"]
    for take in takes:
        await limiter.take(take)
    store.is_away = True
    for take in takes:
        await limiter.refund(take)
    store.is_away = False
    await eventually(store, 110)
    await settled(limiter)
    assert await left(store, BUCKET) == [110]


async def test_a_closing_whose_caller_is_cancelled_is_told_again(store: Store, clock: ManualClock) -> None:
    class Slow(Store):
        async def _asked(self, doing: Coroutine[Any, Any, Reply], tenants: Sequence[str]) -> Reply:
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                doing.close()
                raise
            return await super()._asked(doing, tenants)

    slow = Slow(clock)
    limiter = OutageLimiter(slow, shares=SHARES, mode="local", clock=clock, repay_every_s=REPAY_EVERY_S)
    take = take_of("a", (BUCKET, 10))
    await limiter.take(take)
    closing = asyncio.create_task(limiter.refund(take))
    await asyncio.sleep(0)
    closing.cancel()
    with suppress(asyncio.CancelledError):
        await closing
    await eventually(slow, 120)
    await limiter.aclose()


async def test_the_part_of_the_store_that_is_there_is_paid(limiter: OutageLimiter, store: Store) -> None:
    closing = take_of("a", (BUCKET, 10))
    await limiter.take(closing)
    store.away_for = {"acme", "other"}
    await limiter.refund(closing)
    assert await admitted([limiter], 3, OTHERS) == 3
    assert await admitted([limiter], 4) == 4
    store.away_for = {"acme"}
    await asyncio.sleep(10 * REPAY_EVERY_S)
    store.away_for = set()
    await eventually(store, 117, OTHERS)
    await eventually(store, 116)


async def test_many_that_cannot_pay_yet_do_not_stand_in_the_way(limiter: OutageLimiter, store: Store) -> None:
    buckets = [Bucket(BUCKET.id, f"tenant-{number}", 120, 120, 3_600) for number in range(TOGETHER_MAX + 2)]
    store.is_away = True
    for bucket in buckets:
        assert await admitted([limiter], 1, bucket) == 1
    store.away_for = {bucket.tenant_id for bucket in buckets[:-1]}
    store.is_away = False
    await eventually(store, 119, buckets[-1])
    store.away_for = set()
    await settled(limiter)
    assert await left(store, *buckets) == [119] * len(buckets)


async def test_a_closing_that_the_store_finds_wrong_is_given_up_and_said(
    limiter: OutageLimiter, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    take = take_of("a", (BUCKET, 10))
    await limiter.take(take)
    store.is_away = True
    await limiter.refund(take)
    store.is_away, store.is_wrong = False, True
    await settled(limiter)
    store.is_wrong = False
    await settled(limiter)
    assert await left(store, BUCKET) == [110]
    assert "a closed take stays as it was" in caplog.text


async def test_a_debt_that_the_store_finds_wrong_is_forgiven_and_said(
    limiter: OutageLimiter, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.is_away = True
    assert await admitted([limiter], 5) == 5
    store.is_away, store.is_wrong = False, True
    await settled(limiter)
    store.is_wrong, store.is_away = False, True
    assert await admitted([limiter], 3) == 3
    store.is_away = False
    await settled(limiter)
    assert await left(store, BUCKET) == [117]
    assert "is forgiven" in caplog.text


async def test_what_is_still_owed_at_the_end_is_paid_or_said(
    open: Open, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = open(), open()
    store.is_away = True
    assert await admitted([first, second], 20) == 20
    await first.aclose()
    assert "what it should hear is lost" in caplog.text
    store.is_away = False
    await second.aclose()
    assert await left(store, BUCKET) == [110]


async def test_a_settlement_needs_one_amount_for_each_cost(limiter: OutageLimiter, store: Store) -> None:
    store.is_away = True
    take = take_of("a", (BUCKET, 1), (TOKENS, 10))
    await limiter.take(take)
    for amounts in ((1,), (1, 2, 3), (1, -1)):
        with pytest.raises(ValueError, match="one amount"):
            await limiter.settle(take, amounts)
