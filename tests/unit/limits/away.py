"""A limits' store that goes away when told, and what the tests of outages say of it."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable, Unexpected
from aiservice.limits import Bucket, Cost, Decision, Limiter, Slots, Standing, Take
from aiservice.limits.memory import MemoryLimiter
from aiservice.limits.outage import OutageLimiter

SHARES = 12
BUCKET = Bucket("requests:key:k", "acme", burst=120, rate=120, period_s=3_600)
TOKENS = Bucket("tokens:key:k", "acme", burst=1_200, rate=1_200, period_s=3_600)
OTHERS = Bucket("requests:key:k", "other", burst=120, rate=120, period_s=3_600)
TINY = Bucket("requests:key:tiny", "acme", burst=11, rate=11, period_s=60)
SLOTS = Slots("slots:key:k", "acme", 24)
SOON_S = 5.0
REPAY_EVERY_S = 0.005

Reply = TypeVar("Reply")

Open = Callable[..., OutageLimiter]


class Store(MemoryLimiter):
    """Away as a whole or for some tenants, deaf after it did what it was asked, or wrong."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.is_away = False
        self.is_silent = False
        self.is_wrong = False
        self.silent_settlements = 0
        self.away_for: set[str] = set()
        self.calls = 0
        self._time = clock

    def come_back_empty(self) -> None:
        self.is_away = False
        super().__init__(self._time)

    async def take(self, take: Take) -> Decision:
        return await self._asked(super().take(take), [cost.bucket.tenant_id for cost in take.costs])

    async def refund(self, take: Take) -> None:
        await self._asked(super().refund(take), [cost.bucket.tenant_id for cost in take.costs])

    async def settle(self, take: Take, amounts: Sequence[int]) -> None:
        await self._asked(super().settle(take, amounts), [cost.bucket.tenant_id for cost in take.costs])
        if self.silent_settlements:
            self.silent_settlements -= 1
            raise StoreUnavailable(detail="no answer")

    async def renew(self, take: Take) -> None:
        await self._asked(super().renew(take), [])

    async def peek(self, buckets: Sequence[Bucket]) -> Sequence[Standing]:
        return await self._asked(super().peek(buckets), [bucket.tenant_id for bucket in buckets])

    async def held(self, slots: Sequence[Slots]) -> Sequence[int]:
        return await self._asked(super().held(slots), [])

    async def _asked(self, doing: Coroutine[Any, Any, Reply], tenants: Sequence[str]) -> Reply:
        self.calls += 1
        if self.is_away or self.is_wrong or self.away_for & set(tenants):
            doing.close()
            raise Unexpected(detail="wrong") if self.is_wrong else StoreUnavailable(detail="away")
        reply = await doing
        if self.is_silent:
            raise StoreUnavailable(detail="no answer")
        return reply


def take_of(request_id: str, *costs: tuple[Bucket, int], slots: tuple[Slots, ...] = ()) -> Take:
    return Take(request_id, tuple(Cost(bucket, amount) for bucket, amount in costs), slots)


async def left(limiter: Limiter, *buckets: Bucket) -> list[int]:
    return [standing.remaining for standing in await limiter.peek(buckets)]


async def admitted(limiters: Sequence[Limiter], tries: int, bucket: Bucket = BUCKET) -> int:
    """How many of so many takes, one limiter after the other, are let in."""
    count = 0
    for number in range(tries):
        limiter = limiters[number % len(limiters)]
        count += (await limiter.take(take_of(f"{id(limiter)}:{object()}:{number}", (bucket, 1)))).is_allowed
    return count


async def eventually(store: Store, remaining: int, bucket: Bucket = BUCKET) -> None:
    """The store is there and has heard what it missed."""
    async with asyncio.timeout(SOON_S):
        while await left(store, bucket) != [remaining]:
            await asyncio.sleep(REPAY_EVERY_S)


async def settled(*limiters: OutageLimiter) -> None:
    """The store has heard everything from all of them."""
    async with asyncio.timeout(SOON_S):
        while not all(limiter.is_even for limiter in limiters):
            await asyncio.sleep(REPAY_EVERY_S)
