"""The memory limiter stays as small as what is in use."""

from aiservice.core.clock import ManualClock
from aiservice.limits import Bucket, Cost, Slots, Take
from aiservice.limits.memory import MemoryLimiter
from aiservice.limits.model import PRUNE_EVERY


def bucket(name: str) -> Bucket:
    return Bucket(f"requests:key:{name}", "acme", burst=10_000, rate=10_000, period_s=3_600)


async def test_full_buckets_closed_takes_and_lapsed_leases_leave() -> None:
    clock = ManualClock()
    limiter = MemoryLimiter(clock)
    for number in range(PRUNE_EVERY // 2 - 1):
        take = Take(str(number), (Cost(bucket(str(number)), 1),), (Slots(f"slots:key:{number}", "acme", 1),))
        await limiter.take(take)
        await limiter.refund(Take(str(number), take.costs))
    held = limiter.size
    clock.advance_s(700)
    for number in range(PRUNE_EVERY):
        await limiter.take(Take(f"n{number}", (Cost(bucket("new"), 1),)))
    assert held == 3 * (PRUNE_EVERY // 2 - 1)
    assert limiter.size == 1


async def test_a_bucket_stays_until_it_has_been_full_for_a_minute() -> None:
    clock = ManualClock()
    limiter = MemoryLimiter(clock)
    slow = Bucket("requests:key:slow", "acme", burst=1, rate=1, period_s=10)
    await limiter.take(Take("r", (Cost(slow, 1),)))
    for after_s, size in ((70, 1), (0.000001, 0)):
        clock.advance_s(after_s)
        for number in range(PRUNE_EVERY):
            await limiter.take(Take(str(number), ()))
        assert limiter.size == size
