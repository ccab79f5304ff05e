"""What every limiter does. A new backend is one more row in `LIMITERS` of limiters.py."""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.limits import Bucket, Limiter, Slots
from aiservice.limits.model import CLOSED_FOR_US, NEVER_S
from tests.conformance.limiters import (
    BACKENDS,
    BETWEEN_PROCESSES,
    SECOND_US,
    START_US,
    Place,
    opened,
    place_of,
    take_of,
)

KEY = Bucket("requests:key:k", "acme", burst=5, rate=5, period_s=50)
USER = Bucket("tokens:user:u", "acme", burst=100, rate=100, period_s=100)
TENANT = Bucket("requests:tenant:acme", "acme", burst=8, rate=8, period_s=80)
SLOTS = Slots("slots:key:k", "acme", 2)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_US)


@pytest.fixture(params=BACKENDS)
async def limiter(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Limiter]:
    limiter = opened(place_of(request, request.param, tmp_path), clock)
    yield limiter
    await limiter.aclose()


@pytest.fixture(params=BETWEEN_PROCESSES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where processes share a limiter."""
    return place_of(request, request.param, tmp_path)


async def remaining(limiter: Limiter, *buckets: Bucket) -> list[int]:
    return [standing.remaining for standing in await limiter.peek(buckets)]


async def test_a_bucket_admits_its_burst_and_then_its_rate(limiter: Limiter, clock: ManualClock) -> None:
    for number in range(5):
        decision = await limiter.take(take_of(f"a{number}", (KEY, 1)))
        assert decision.is_allowed
        (standing,) = decision.standings
        assert (standing.limit, standing.remaining, standing.retry_after_s) == (5, 4 - number, 0)
        assert standing.reset_at_s == START_US // SECOND_US + 10 * (number + 1)
    refused = await limiter.take(take_of("b", (KEY, 1)))
    assert (refused.is_allowed, refused.refused_by, refused.retry_after_s) == (False, KEY.id, 10)
    (standing,) = refused.standings
    assert (standing.remaining, standing.retry_after_s, standing.reset_after_s) == (0, 10, 50)
    clock.advance_s(10)
    assert (await limiter.take(take_of("c", (KEY, 1)))).is_allowed
    assert not (await limiter.take(take_of("d", (KEY, 1)))).is_allowed


async def test_a_retry_a_microsecond_early_fails_and_one_on_time_succeeds(limiter: Limiter, clock: ManualClock) -> None:
    await limiter.take(take_of("a", (KEY, 5)))
    clock.set_us(START_US + 10 * SECOND_US - 1)
    early = await limiter.take(take_of("b", (KEY, 1)))
    assert (early.is_allowed, early.retry_after_s) == (False, 1)
    clock.set_us(START_US + 10 * SECOND_US)
    assert (await limiter.take(take_of("c", (KEY, 1)))).is_allowed


async def test_a_cost_above_the_burst_never_fits_and_takes_nothing(limiter: Limiter) -> None:
    decision = await limiter.take(take_of("a", (KEY, 6)))
    assert (decision.is_allowed, decision.refused_by, decision.retry_after_s) == (False, KEY.id, NEVER_S)
    assert await remaining(limiter, KEY) == [5]


async def test_a_cost_of_nothing_always_fits(limiter: Limiter) -> None:
    await limiter.take(take_of("a", (KEY, 5)))
    assert (await limiter.take(take_of("b", (KEY, 0)))).is_allowed


@pytest.mark.parametrize("short", [0, 1, 2])
async def test_key_user_and_tenant_are_taken_together_or_not_at_all(limiter: Limiter, short: int) -> None:
    buckets = (KEY, USER, TENANT)
    await limiter.take(take_of("a", (buckets[short], buckets[short].burst)))
    before = await remaining(limiter, *buckets)
    decision = await limiter.take(take_of("b", (KEY, 1), (USER, 30), (TENANT, 1)))
    assert (decision.is_allowed, decision.refused_by) == (False, buckets[short].id)
    assert [standing.bucket_id for standing in decision.standings] == [bucket.id for bucket in buckets]
    assert [standing.retry_after_s > 0 for standing in decision.standings] == [one is buckets[short] for one in buckets]
    assert await remaining(limiter, *buckets) == before


async def test_key_user_and_tenant_are_given_back_together(limiter: Limiter) -> None:
    take = take_of("a", (KEY, 1), (USER, 30), (TENANT, 1))
    assert (await limiter.take(take)).is_allowed
    assert await remaining(limiter, KEY, USER, TENANT) == [4, 70, 7]
    await limiter.refund(take)
    assert await remaining(limiter, KEY, USER, TENANT) == [5, 100, 8]


async def test_a_hundred_keys_of_a_tenant_get_one_tenants_share(limiter: Limiter) -> None:
    keys = [replace(KEY, id=f"requests:key:{number}") for number in range(100)]
    takes = [take_of(key.id, (key, 1), (TENANT, 1)) for key in keys]
    assert sum([(await limiter.take(take)).is_allowed for take in takes]) == TENANT.burst


async def test_tenants_do_not_share_a_bucket_of_the_same_name(limiter: Limiter) -> None:
    await limiter.take(take_of("a", (KEY, 5)))
    assert await remaining(limiter, replace(KEY, tenant_id="other")) == [5]


async def test_a_refund_counts_once(limiter: Limiter) -> None:
    for request_id in ("a", "b", "c"):
        await limiter.take(take_of(request_id, (KEY, 1)))
    for _ in range(3):
        await limiter.refund(take_of("a", (KEY, 1)))
    assert await remaining(limiter, KEY) == [3]


async def test_a_refund_never_fills_above_the_burst(limiter: Limiter, clock: ManualClock) -> None:
    await limiter.take(take_of("a", (KEY, 1)))
    clock.advance_s(1_000)
    await limiter.refund(take_of("a", (KEY, 1)))
    assert await remaining(limiter, KEY) == [5]
    assert sum([(await limiter.take(take_of(str(n), (KEY, 1)))).is_allowed for n in range(9)]) == 5


async def test_a_settlement_gives_back_what_was_not_used_once(limiter: Limiter) -> None:
    take = take_of("a", (KEY, 1), (USER, 90))
    await limiter.take(take)
    for _ in range(3):
        await limiter.settle(take, (1, 20))
    assert await remaining(limiter, KEY, USER) == [4, 80]


async def test_a_settlement_may_go_into_debt_that_is_worked_off(limiter: Limiter, clock: ManualClock) -> None:
    take = take_of("a", (USER, 90))
    await limiter.take(take)
    await limiter.settle(take, (150,))
    (standing,) = await limiter.peek([USER])
    assert (standing.remaining, standing.reset_after_s) == (0, 150)
    clock.advance_s(50)
    refused = await limiter.take(take_of("b", (USER, 1)))
    assert (refused.is_allowed, refused.retry_after_s) == (False, 1)
    clock.advance_s(1)
    assert (await limiter.take(take_of("c", (USER, 1)))).is_allowed


async def test_settling_what_was_taken_does_not_close_a_take_without_slots(limiter: Limiter) -> None:
    plain, slotted = take_of("a", (USER, 40)), take_of("b", (USER, 40), slots=(SLOTS,))
    for take in (plain, slotted):
        await limiter.take(take)
        await limiter.settle(take, (40,))
        await limiter.refund(take)
    assert await remaining(limiter, USER) == [60]


async def test_what_closed_a_take_first_is_all_that_counts(limiter: Limiter) -> None:
    refunded, settled = take_of("a", (USER, 40)), take_of("b", (USER, 40))
    await limiter.take(refunded)
    await limiter.take(settled)
    await limiter.refund(refunded)
    await limiter.settle(refunded, (10,))
    await limiter.settle(settled, (10,))
    await limiter.refund(settled)
    assert await remaining(limiter, USER) == [90]


async def test_a_settlement_needs_one_amount_for_each_cost(limiter: Limiter) -> None:
    take = take_of("a", (KEY, 1), (USER, 10))
    for amounts in ((1,), (1, 2, 3), (1, -1)):
        with pytest.raises(ValueError, match="one amount"):
            await limiter.settle(take, amounts)


async def test_a_take_names_nothing_twice(limiter: Limiter) -> None:
    for take in (take_of("a", (KEY, 1), (KEY, 1)), take_of("a", (KEY, 1), slots=(SLOTS, SLOTS))):
        with pytest.raises(ValueError, match="twice"):
            await limiter.take(take)


async def test_slots_bound_the_requests_at_once(limiter: Limiter) -> None:
    takes = [take_of(name, (KEY, 1), slots=(SLOTS,)) for name in "abc"]
    assert (await limiter.take(takes[0])).is_allowed
    assert (await limiter.take(takes[1])).is_allowed
    refused = await limiter.take(takes[2])
    assert (refused.is_allowed, refused.refused_by, refused.retry_after_s) == (False, SLOTS.id, 1)
    assert await remaining(limiter, KEY) == [3], "nothing was taken for the refused one"
    await limiter.settle(takes[0], (1,))
    assert (await limiter.take(takes[2])).is_allowed
    await limiter.refund(takes[1])
    assert (await limiter.take(take_of("d", slots=(SLOTS,)))).is_allowed


async def test_slots_that_are_not_renewed_are_free_after_thirty_seconds(limiter: Limiter, clock: ManualClock) -> None:
    alive, dead = take_of("a", slots=(SLOTS,)), take_of("b", slots=(SLOTS,))
    await limiter.take(alive)
    await limiter.take(dead)
    for _ in range(2):
        clock.advance_s(10)
        await limiter.renew(alive)
    clock.advance_s(9.999999)
    assert not (await limiter.take(take_of("c", slots=(SLOTS,)))).is_allowed
    clock.advance_s(0.000001)
    assert (await limiter.take(take_of("d", slots=(SLOTS,)))).is_allowed
    assert not (await limiter.take(take_of("e", slots=(SLOTS,)))).is_allowed


async def test_asking_again_does_not_keep_a_dead_requests_slot(limiter: Limiter, clock: ManualClock) -> None:
    one = Slots("slots:key:k", "acme", 1)
    await limiter.take(take_of("dead", slots=(one,)))
    for number in range(2):
        clock.advance_s(10)
        assert not (await limiter.take(take_of(str(number), slots=(one,)))).is_allowed
    clock.advance_s(10)
    assert (await limiter.take(take_of("next", slots=(one,)))).is_allowed


async def test_a_late_renewal_takes_no_slot_for_a_request_that_has_ended(limiter: Limiter) -> None:
    one = Slots("slots:key:k", "acme", 1)
    take = take_of("a", slots=(one,))
    await limiter.take(take)
    await limiter.settle(take, ())
    await limiter.renew(take)
    assert (await limiter.take(take_of("b", slots=(one,)))).is_allowed


async def test_a_dead_requests_slot_is_free_in_time_also_when_the_clock_went_back(
    limiter: Limiter, clock: ManualClock
) -> None:
    one = Slots("slots:key:k", "acme", 1)
    await limiter.take(take_of("a", slots=(one,)))
    clock.advance_s(-86_400)
    assert not (await limiter.take(take_of("b", slots=(one,)))).is_allowed
    clock.advance_s(29.999999)
    assert not (await limiter.take(take_of("c", slots=(one,)))).is_allowed
    clock.advance_s(0.000001)
    assert (await limiter.take(take_of("d", slots=(one,)))).is_allowed


async def test_slots_of_key_and_tenant_are_taken_together(limiter: Limiter) -> None:
    wide, narrow = Slots("slots:key:k", "acme", 9), Slots("slots:tenant:acme", "acme", 1)
    await limiter.take(take_of("a", slots=(wide, narrow)))
    assert (await limiter.take(take_of("b", slots=(wide, narrow)))).refused_by == narrow.id
    only_wide = replace(wide, limit=2)
    assert (await limiter.take(take_of("c", slots=(only_wide,)))).is_allowed, "the refused one holds no slot"


async def test_a_clock_that_goes_back_refills_nothing_until_it_has_caught_up(
    limiter: Limiter, clock: ManualClock
) -> None:
    await limiter.take(take_of("a", (KEY, 5)))
    clock.advance_s(-30)
    refused = await limiter.take(take_of("b", (KEY, 1)))
    assert (refused.is_allowed, refused.retry_after_s) == (False, 40)
    clock.advance_s(39)
    assert not (await limiter.take(take_of("c", (KEY, 1)))).is_allowed
    clock.advance_s(1)
    assert (await limiter.take(take_of("d", (KEY, 1)))).is_allowed


async def test_a_clock_that_was_wrong_by_years_locks_nobody_out(limiter: Limiter, clock: ManualClock) -> None:
    clock.advance_s(10 * 365 * 86_400)
    await limiter.take(take_of("a", (KEY, 5)))
    clock.set_us(START_US)
    refused = await limiter.take(take_of("b", (KEY, 1)))
    assert (refused.is_allowed, refused.retry_after_s) == (False, 60)
    clock.advance_s(60)
    assert (await limiter.take(take_of("c", (KEY, 1)))).is_allowed


async def test_a_clock_that_leaps_forward_gives_at_most_one_burst(limiter: Limiter, clock: ManualClock) -> None:
    await limiter.take(take_of("a", (KEY, 5)))
    clock.advance_s(10 * 365 * 86_400)
    assert sum([(await limiter.take(take_of(str(n), (KEY, 1)))).is_allowed for n in range(20)]) == 5


async def test_a_swinging_clock_gives_no_more_than_its_whole_swing(limiter: Limiter, clock: ManualClock) -> None:
    await limiter.take(take_of("a", (KEY, 5)))
    admitted = 0
    for number in range(50):
        clock.set_us(START_US + (number % 2) * 20 * SECOND_US)
        admitted += (await limiter.take(take_of(str(number), (KEY, 1)))).is_allowed
    assert admitted == 2


async def test_a_closed_take_is_forgotten_only_after_ten_minutes(limiter: Limiter, clock: ManualClock) -> None:
    slow = Bucket("requests:key:slow", "acme", burst=5, rate=1, period_s=1_000_000)
    await limiter.take(take_of("a", (slow, 2)))
    await limiter.refund(take_of("a", (slow, 1)))
    clock.set_us(START_US + CLOSED_FOR_US)
    for number in range(600):
        await limiter.take(take_of(str(number), (replace(KEY, burst=1_000), 1)))
    await limiter.refund(take_of("a", (slow, 1)))
    assert await remaining(limiter, slow) == [4]


async def test_a_changed_limit_keeps_what_is_left(limiter: Limiter, clock: ManualClock) -> None:
    await limiter.take(take_of("a", (KEY, 2)))
    assert await remaining(limiter, replace(KEY, burst=50, rate=50)) == [3]
    assert await remaining(limiter, replace(KEY, burst=2, rate=2)) == [2]
    minutely = replace(KEY, period_s=60)
    assert (await limiter.take(take_of("b", (minutely, 1)))).standings[0].remaining == 2
    clock.advance_s(12)
    assert await remaining(limiter, minutely) == [3]


async def test_a_coarse_bucket_loses_no_time_between_takes(limiter: Limiter, clock: ManualClock) -> None:
    """In steps of 0.7 s a bucket that counts in whole seconds still gains what the seconds give."""
    huge = Bucket("tokens:key:k", "acme", burst=5_000_000_000_000, rate=10_000, period_s=1)
    assert huge.unit_us == SECOND_US
    await limiter.take(take_of("a", (huge, huge.burst)))
    admitted = 0
    for number in range(100):
        clock.advance_s(0.7)
        admitted += (await limiter.take(take_of(f"b{number}", (huge, 10_000)))).is_allowed
    assert admitted == 70


async def test_peeking_takes_nothing(limiter: Limiter) -> None:
    assert await remaining(limiter, KEY, USER) == [5, 100]
    assert await remaining(limiter, KEY, USER) == [5, 100]
    assert list(await limiter.peek([])) == []


async def test_takes_that_are_asked_at_once_are_decided_one_after_the_other(limiter: Limiter) -> None:
    takes = [take_of(str(number), (KEY, 1), (USER, 10), slots=(SLOTS,)) for number in range(4)]
    decisions = await asyncio.gather(
        *map(limiter.take, takes), *[limiter.take(take_of(f"k{n}", (KEY, 1))) for n in range(5)]
    )
    assert [one.is_allowed for one in decisions] == [True, True, False, False, True, True, True, False, False]
    assert await remaining(limiter, KEY, USER) == [0, 80]


async def test_a_limit_that_changes_between_two_takes_at_once_counts_for_the_second(limiter: Limiter) -> None:
    minutely = replace(KEY, burst=4, rate=4, period_s=60)
    decisions = await asyncio.gather(
        limiter.take(take_of("a", (KEY, 2))),
        limiter.take(take_of("b", (minutely, 1))),
        limiter.take(take_of("c", (minutely, 3))),
        limiter.take(take_of("d", (KEY, 2))),
    )
    assert [one.is_allowed for one in decisions] == [True, True, False, True]
    assert await remaining(limiter, KEY, minutely) == [0, 0]


async def test_a_limit_that_changes_after_a_refusal_at_once_counts_too(limiter: Limiter) -> None:
    raised = replace(KEY, burst=6)
    refused, taken = await asyncio.gather(limiter.take(take_of("a", (KEY, 6))), limiter.take(take_of("b", (raised, 6))))
    assert (refused.is_allowed, taken.is_allowed) == (False, True)
    assert await remaining(limiter, raised) == [0]


@pytest.mark.parametrize("steps", range(5))
async def test_a_take_whose_caller_is_cancelled_is_whole_or_not_at_all(limiter: Limiter, steps: int) -> None:
    """A refused one gives nothing back, for it took nothing."""
    await limiter.take(take_of("before", (KEY, 3)))
    small, large = take_of("a", (KEY, 1)), take_of("b", (KEY, 5))
    asking = [asyncio.create_task(limiter.take(take)) for take in (small, large)]
    for _ in range(steps):
        await asyncio.sleep(0)
    for task in asking:
        task.cancel()
    done = await asyncio.gather(*asking, return_exceptions=True)
    is_taken = not isinstance(done[0], BaseException) and done[0].is_allowed
    assert await remaining(limiter, KEY) == [1 if is_taken else 2]


async def test_slots_that_are_held_are_counted(limiter: Limiter, clock: ManualClock) -> None:
    tenant = Slots("slots:tenant:acme", "acme", 5)
    await limiter.take(take_of("a", slots=(SLOTS, tenant)))
    clock.advance_s(10)
    second = take_of("b", slots=(SLOTS, tenant))
    await limiter.take(second)
    await limiter.take(take_of("c", slots=(SLOTS, tenant)))
    other = Slots("slots:key:other", "acme", 1)
    assert list(await limiter.held([other, tenant, SLOTS])) == [0, 2, 2]
    clock.advance_s(20)
    assert list(await limiter.held([SLOTS])) == [1], "the first one's lease has run out"
    await limiter.settle(second, ())
    assert list(await limiter.held([SLOTS, tenant])) == [0, 0]
    assert list(await limiter.held([])) == []


def take_a_slot_and_die(place: Place) -> None:
    asyncio.run(opened(place, ManualClock(START_US)).take(take_of("dead", (KEY, 1), slots=(SLOTS,))))
    os.kill(os.getpid(), signal.SIGKILL)


async def test_a_killed_process_loses_what_it_took_and_its_slots_are_free_after_thirty_seconds(place: Place) -> None:
    process = multiprocessing.get_context("fork").Process(target=take_a_slot_and_die, args=(place,))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    clock = ManualClock(START_US)
    limiter = opened(place, clock)
    assert await remaining(limiter, KEY) == [4]
    clock.advance_s(29.999999)
    assert list(await limiter.held([SLOTS])) == [1]
    clock.advance_s(0.000001)
    assert list(await limiter.held([SLOTS])) == [0]
    await limiter.aclose()


def admit_in_one_process(place: Place, barrier: threading.Barrier, counts: "multiprocessing.Queue[int]") -> None:
    """Tries until it has been refused ten times in a row, from the moment when all processes are there."""

    async def run() -> int:
        limiter = opened(place, ManualClock(START_US))
        bucket = Bucket("requests:key:shared", "acme", burst=100, rate=100, period_s=3_600)
        barrier.wait(30)
        admitted = refused = tries = 0
        while refused < 10:
            tries += 1
            try:
                decision = await limiter.take(take_of(f"{os.getpid()}:{tries}", (bucket, 1)))
            except StoreUnavailable:
                continue
            admitted += decision.is_allowed
            refused = 0 if decision.is_allowed else refused + 1
        await limiter.aclose()
        return admitted

    counts.put(asyncio.run(run()))


def test_twelve_processes_on_one_bucket_of_a_hundred_admit_exactly_a_hundred(place: Place) -> None:
    context = multiprocessing.get_context("fork")
    barrier, counts = context.Barrier(12), context.Queue()
    processes = [context.Process(target=admit_in_one_process, args=(place, barrier, counts)) for _ in range(12)]
    for process in processes:
        process.start()
    admitted = [counts.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(10)
    assert sum(admitted) == 100
