"""What is promised while the limits' store is away: a share for each process, one burst more in all, paid back."""

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.limits import Slots
from aiservice.limits.model import NEVER_S
from aiservice.limits.outage import OutageLimiter
from tests.unit.limits.away import (
    BUCKET,
    SHARES,
    SLOTS,
    TINY,
    TOKENS,
    Open,
    Store,
    admitted,
    eventually,
    left,
    settled,
    take_of,
)


async def test_while_the_store_is_there_nothing_is_decided_here(limiter: OutageLimiter, store: Store) -> None:
    assert await admitted([limiter], 130) == 120
    assert limiter.local_takes == 0
    assert await left(store, BUCKET) == [0]


async def test_an_outage_gives_one_more_burst_to_all_processes_together(open: Open, store: Store) -> None:
    limiters = [open() for _ in range(SHARES)]
    assert await admitted(limiters, 200) == 120
    store.is_away = True
    assert await admitted(limiters, 600) == 120
    assert sum(limiter.local_takes for limiter in limiters) == 600
    store.is_away = False
    assert await admitted(limiters, 100) == 0


async def test_it_is_paid_back(open: Open, store: Store, clock: ManualClock) -> None:
    limiters = [open() for _ in range(SHARES)]
    store.is_away = True
    assert await admitted(limiters, 600) == 120
    store.is_away = False
    await eventually(store, 0)
    assert await admitted(limiters, 20) == 0
    clock.advance_s(1_800)
    assert await admitted(limiters, 100) == 60


async def test_a_burst_that_was_spent_before_is_paid_back_as_debt(
    limiter: OutageLimiter, store: Store, clock: ManualClock
) -> None:
    assert await admitted([limiter], 120) == 120
    store.is_away = True
    assert await admitted([limiter], 30) == 10
    store.is_away = False
    await settled(limiter)
    clock.advance_s(300)
    assert await left(store, BUCKET) == [0]
    clock.advance_s(30)
    assert await left(store, BUCKET) == [1]


async def test_a_store_that_comes_back_empty_gives_one_more_and_is_paid_too(open: Open, store: Store) -> None:
    limiters = [open() for _ in range(SHARES)]
    assert await admitted(limiters, 200) == 120
    store.is_away = True
    assert await admitted(limiters, 600) == 120
    store.come_back_empty()
    assert await admitted(limiters, 300) == 120
    await settled(*limiters)
    (standing,) = await store.peek([BUCKET])
    assert (standing.remaining, standing.reset_after_s) == (0, 7_200), "two bursts have to flow in until it is full"


async def test_an_outage_after_the_other_gives_no_burst_after_the_other(
    open: Open, store: Store, clock: ManualClock
) -> None:
    limiters = [open() for _ in range(SHARES)]
    total = 0
    for _ in range(40):
        store.is_away = not store.is_away
        total += await admitted(limiters, 60)
        clock.advance_s(1)
        if not store.is_away:
            await settled(*limiters)
    assert total <= BUCKET.burst + 40 * BUCKET.rate / BUCKET.period_s + BUCKET.burst


async def test_an_outage_of_hours_is_not_followed_by_hours_of_refusals(
    open: Open, store: Store, clock: ManualClock
) -> None:
    limiters = [open() for _ in range(SHARES)]
    store.is_away = True
    for _ in range(50):
        assert await admitted(limiters, 120) > 0
        clock.advance_s(360)
    store.is_away = False
    await settled(*limiters)
    clock.advance_s(3_600)
    assert await left(store, BUCKET) == [120]


async def test_what_the_rate_allowed_meanwhile_is_not_paid(
    limiter: OutageLimiter, store: Store, clock: ManualClock
) -> None:
    store.is_away = True
    assert await admitted([limiter], 3) == 3
    clock.advance_s(3 * 360)
    store.is_away = False
    await settled(limiter)
    assert limiter.is_even
    assert await left(store, BUCKET) == [120]


async def test_the_headers_speak_of_the_limit_by_its_name_and_of_the_share(
    limiter: OutageLimiter, store: Store, clock: ManualClock
) -> None:
    store.is_away = True
    decision = await limiter.take(take_of("a", (BUCKET, 4), (TOKENS, 60)))
    assert [(one.bucket_id, one.limit, one.remaining, one.reset_after_s) for one in decision.standings] == [
        (BUCKET.id, 10, 6, 1_440),
        (TOKENS.id, 100, 40, 2_160),
    ]
    refused = await limiter.take(take_of("b", (BUCKET, 7), (TOKENS, 1)))
    assert (refused.is_allowed, refused.refused_by, refused.retry_after_s) == (False, BUCKET.id, 360)
    assert await left(limiter, TOKENS, BUCKET) == [40, 6]


async def test_what_no_share_is_large_enough_for_is_unavailable(limiter: OutageLimiter, store: Store) -> None:
    store.is_away = True
    none = Slots("slots:key:few", "acme", 11)
    for take in (take_of("a", (TINY, 1)), take_of("b", (BUCKET, 11)), take_of("c", (BUCKET, 1), slots=(none,))):
        with pytest.raises(StoreUnavailable) as refused:
            await limiter.take(take)
        assert refused.value.retry_after_s == 1
    with pytest.raises(StoreUnavailable):
        await limiter.peek([TINY])
    assert await left(limiter, BUCKET) == [10], "nothing was taken for them"
    too_large = await limiter.take(take_of("d", (BUCKET, 121)))
    assert (too_large.is_allowed, too_large.retry_after_s) == (False, NEVER_S)


async def test_slots_are_given_out_in_shares_and_kept_while_they_are_renewed(
    limiter: OutageLimiter, store: Store, clock: ManualClock
) -> None:
    store.is_away = True
    first, second, third = (take_of(name, slots=(SLOTS,)) for name in "abc")
    assert (await limiter.take(first)).is_allowed
    assert (await limiter.take(second)).is_allowed
    assert (await limiter.take(third)).refused_by == SLOTS.id
    assert list(await limiter.held([SLOTS])) == [2]
    assert limiter.is_even, "slots are not owed"
    clock.advance_s(20)
    await limiter.renew(first)
    clock.advance_s(10)
    assert list(await limiter.held([SLOTS])) == [1]
    store.is_away = False
    await limiter.renew(first)
    await limiter.settle(first, ())
    assert list(await store.held([SLOTS])) == [0], "it holds none there"
    store.is_away = True
    assert list(await limiter.held([SLOTS])) == [0]


async def test_a_take_of_the_stores_is_not_renewed_here(limiter: OutageLimiter, store: Store) -> None:
    take = take_of("a", slots=(SLOTS,))
    await limiter.take(take)
    store.is_away = True
    with pytest.raises(StoreUnavailable):
        await limiter.renew(take)


async def test_closed_refuses_everything_but_tells_the_store_later(open: Open, store: Store) -> None:
    limiter = open("closed")
    take = take_of("a", (BUCKET, 10), slots=(SLOTS,))
    await limiter.take(take)
    store.is_away = True
    for asked in (limiter.take(take_of("b", (BUCKET, 1))), limiter.peek([BUCKET]), limiter.held([SLOTS])):
        with pytest.raises(StoreUnavailable):
            await asked
    await limiter.refund(take)
    assert limiter.local_takes == 0
    store.is_away = False
    await eventually(store, 120)
    assert list(await store.held([SLOTS])) == [0]


async def test_open_counts_no_requests_but_tokens_and_slots(open: Open, store: Store) -> None:
    limiter = open("open")
    store.is_away = True
    assert await admitted([limiter], 500) == 500
    assert await admitted([limiter], 5, TINY) == 5
    take = take_of("a", (BUCKET, 1), (TOKENS, 100), (TINY, 1), slots=(SLOTS,))
    decision = await limiter.take(take)
    assert [(one.bucket_id, one.remaining) for one in decision.standings] == [
        (BUCKET.id, 120),
        (TOKENS.id, 0),
        (TINY.id, 11),
    ]
    assert (await limiter.take(take_of("b", (BUCKET, 1), (TOKENS, 1)))).refused_by == TOKENS.id
    assert await left(limiter, TINY, TOKENS, BUCKET) == [11, 0, 120]
    await limiter.settle(take, (1, 40, 1))
    assert await left(limiter, TOKENS) == [60]
    store.is_away = False
    await eventually(store, 1_160, TOKENS)
    assert await left(store, BUCKET, TINY) == [120, 11]
