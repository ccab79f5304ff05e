"""Every limiter against an exact model in fractions, and the promise of Retry-After.

LONG=1 runs 100,000 operations on each backend; without it some thousand.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import count
from math import ceil, floor
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aiservice.core.clock import ManualClock
from aiservice.limits import Bucket, Cost, Limiter, Slots, Standing, Take
from aiservice.limits.model import NEVER_S
from tests.conformance.limiters import (
    BACKENDS,
    SECOND_US,
    START_US,
    Place,
    handles_of,
    opened,
    place_of,
    take_of,
)

IS_LONG = os.environ.get("LONG") == "1"
OPERATIONS = 100_000 if IS_LONG else 2_000
STEPS_MIN, STEPS_MAX = 60, 100
EXAMPLES = 40
YEARS_US = 20 * 365 * 86_400 * SECOND_US
LEASE_US = 30 * SECOND_US

# Burst, rate and period of requests and tokens of key, user and tenant; the later shapes are what an operator, a new
# tier or another setting may turn them into while they are in use. The last one counts in whole seconds.
SHAPES = (
    ((6, 6, 60), (9, 9, 90), (12, 12, 30), (40, 40, 100), (50, 7, 13), (90, 1, 3)),
    ((3, 3, 60), (9, 8, 90), (20, 20, 60), (40, 40, 50), (9, 7, 13), (400, 400, 3_600)),
    ((6, 6, 7), (1, 1, 1), (12, 1, 3_600), (80, 3, 100), (50, 50, 13), (5_000_000_000_000, 10_000, 1)),
)
NAMES = ("requests:key:k", "requests:user:u", "requests:tenant:t", "tokens:key:k", "tokens:user:u", "tokens:tenant:t")
SLOTS = tuple(Slots(f"slots:{owner}", "acme", limit) for owner, limit in (("key:k", 2), ("user:u", 3), ("tenant:t", 4)))


def buckets_of(shape: int) -> list[Bucket]:
    return [
        Bucket(name, "acme", burst=burst, rate=rate, period_s=period_s)
        for name, (burst, rate, period_s) in zip(NAMES, SHAPES[shape], strict=True)
    ]


@dataclass(frozen=True)
class Level:
    """Tokens at a time, as they were counted in a bucket with so many units to the token."""

    tokens: Fraction
    stamp_us: int
    token_units: int


class Model:
    """What a limiter should do, in fractions of a token, one bucket after the other."""

    def __init__(self) -> None:
        self.levels: dict[str, Level] = {}
        self.leases: dict[str, dict[str, int]] = {slots.id: {} for slots in SLOTS}
        self.closed: set[str] = set()

    def level(self, bucket: Bucket, now_us: int) -> Level:
        """Time counts in whole units, and what the clock goes back is not given twice."""
        found = self.levels.get(bucket.id)
        if found is None:
            return Level(Fraction(bucket.burst), now_us, bucket.token_units)
        tokens = found.tokens if found.token_units == bucket.token_units else Fraction(floor(found.tokens))
        tokens = max(tokens, Fraction(bucket.floor_units, bucket.token_units))
        burst, unit_us = Fraction(bucket.burst), bucket.unit_us
        if found.stamp_us >= now_us:
            fill_us = ceil(Fraction(bucket.burst * bucket.period_s * SECOND_US, bucket.rate * unit_us)) * unit_us
            return Level(min(burst, tokens), min(found.stamp_us, now_us + fill_us), bucket.token_units)
        whole_us = (now_us - found.stamp_us) // unit_us * unit_us
        tokens += Fraction(whole_us * bucket.rate, bucket.period_s * SECOND_US)
        if tokens >= burst:
            return Level(burst, now_us, bucket.token_units)
        return Level(tokens, found.stamp_us + whole_us, bucket.token_units)

    def fits_at_us(self, bucket: Bucket, amount: int, now_us: int) -> int:
        level = self.level(bucket, now_us)
        units = (amount - level.tokens) * bucket.period_s * SECOND_US / bucket.rate / bucket.unit_us
        return level.stamp_us + ceil(units) * bucket.unit_us if units > 0 else now_us

    def wait_s(self, bucket: Bucket, amount: int, now_us: int) -> int:
        if amount > bucket.burst:
            return NEVER_S
        return ceil(Fraction(self.fits_at_us(bucket, amount, now_us) - now_us, SECOND_US))

    def take(self, take: Take, now_us: int) -> tuple[str | None, int]:
        """Who refuses and the wait; nobody and 0 when it is taken."""
        waits = [(self.wait_s(cost.bucket, cost.amount, now_us), cost.bucket.id) for cost in take.costs]
        wait_s = max((wait for wait, _ in waits), default=0)
        refused_by = next((id for wait, id in waits if wait == wait_s), None) if wait_s else None
        busy = self.busy(take, now_us)
        if busy is not None and wait_s <= 1:
            refused_by, wait_s = busy, 1
        for cost in take.costs:
            level, known = self.level(cost.bucket, now_us), self.levels.get(cost.bucket.id)
            if refused_by is None:
                self.levels[cost.bucket.id] = Level(level.tokens - cost.amount, level.stamp_us, level.token_units)
            elif known is not None and level.stamp_us < known.stamp_us:
                self.levels[cost.bucket.id] = level
        if refused_by is None:
            self.lease(take, now_us)
        return refused_by, wait_s

    def busy(self, take: Take, now_us: int) -> str | None:
        for slots in take.slots:
            held = {id: min(end, now_us + LEASE_US) for id, end in self.leases[slots.id].items() if end > now_us}
            self.leases[slots.id] = held
            if len(held) >= slots.limit:
                return slots.id
        return None

    def lease(self, take: Take, now_us: int) -> None:
        for slots in take.slots:
            self.leases[slots.id][take.request_id] = now_us + LEASE_US

    def renew(self, take: Take, now_us: int) -> None:
        if take.request_id not in self.closed:
            self.lease(take, now_us)

    def close(self, take: Take, amounts: list[int], now_us: int) -> None:
        for slots in take.slots:
            self.leases[slots.id].pop(take.request_id, None)
        if take.request_id in self.closed:
            return
        self.closed.add(take.request_id)
        for cost, amount in zip(take.costs, amounts, strict=True):
            bucket, level = cost.bucket, self.level(cost.bucket, now_us)
            deepest = Fraction(bucket.floor_units, bucket.token_units)
            tokens = max(deepest, min(Fraction(bucket.burst), level.tokens + cost.amount - amount))
            self.levels[bucket.id] = Level(tokens, level.stamp_us, level.token_units)

    def settle(self, take: Take, amounts: list[int], now_us: int) -> None:
        if take.slots or amounts != [cost.amount for cost in take.costs]:
            self.close(take, amounts, now_us)

    def standing(self, bucket: Bucket, now_us: int, *, retry_after_s: int = 0) -> Standing:
        full_us = self.fits_at_us(bucket, bucket.burst, now_us)
        return Standing(
            bucket.id,
            bucket.burst,
            max(0, floor(self.level(bucket, now_us).tokens)),
            ceil(Fraction(full_us, SECOND_US)),
            retry_after_s,
            ceil(Fraction(full_us - now_us, SECOND_US)),
            bucket.window_s,
        )

    def held(self, slots: Slots, now_us: int) -> int:
        return sum(end > now_us for end in self.leases[slots.id].values())


class World:
    """One store with two workers at it, the model beside it, and a clock that may do anything."""

    def __init__(self, handles: tuple[Limiter, Limiter], clock: ManualClock) -> None:
        self.clock = clock
        self.handles = handles
        self.model = Model()
        self.buckets = buckets_of(0)
        self.taken: list[Take] = []

    async def step(self, number: int, what: str, *values: Any) -> None:
        limiter = self.handles[number % 3 % 2]
        now_us = self.clock.now_us()
        if what == "take":
            await self._take(limiter, f"r{number}", *values)
        elif what == "pass":
            self.clock.set_us(now_us + values[0])
        elif what == "change":
            self.buckets = buckets_of(values[0])
        elif self.taken:
            await self._close_or_renew(limiter, what, *values)
        await self._compare(self.handles[number % 2])

    async def _take(self, limiter: Limiter, request_id: str, amounts: list[int], slots: int) -> None:
        now_us = self.clock.now_us()
        costs = [(bucket, amount) for bucket, amount in zip(self.buckets, amounts, strict=True) if amount >= 0]
        take = take_of(request_id, *costs, slots=tuple(one for at, one in enumerate(SLOTS) if slots >> at & 1))
        waits = [self.model.wait_s(bucket, amount, now_us) for bucket, amount in costs]
        refused_by, wait_s = self.model.take(take, now_us)
        decision = await limiter.take(take)
        assert (decision.refused_by, decision.retry_after_s) == (refused_by, wait_s)
        assert decision.is_allowed == (refused_by is None)
        assert list(decision.standings) == [
            self.model.standing(bucket, now_us, retry_after_s=wait)
            for (bucket, _), wait in zip(costs, waits, strict=True)
        ]
        if decision.is_allowed:
            self.taken.append(take)

    async def _close_or_renew(self, limiter: Limiter, what: str, index: int, amounts: list[int]) -> None:
        now_us = self.clock.now_us()
        take = self._as_now(self.taken[-1 - index % len(self.taken)])
        if what == "refund":
            await limiter.refund(take)
            self.model.close(take, [0] * len(take.costs), now_us)
        elif what == "renew":
            await limiter.renew(take)
            self.model.renew(take, now_us)
        else:
            true = [max(0, amount) for amount in amounts[: len(take.costs)]]
            await limiter.settle(take, true)
            self.model.settle(take, true, now_us)

    def _as_now(self, take: Take) -> Take:
        """The take over the buckets of today: some were changed since."""
        by_id = {bucket.id: bucket for bucket in self.buckets}
        costs = tuple(Cost(by_id[cost.bucket.id], cost.amount) for cost in take.costs)
        return Take(take.request_id, costs, take.slots)

    async def _compare(self, limiter: Limiter) -> None:
        now_us = self.clock.now_us()
        assert list(await limiter.peek(self.buckets)) == [
            self.model.standing(bucket, now_us) for bucket in self.buckets
        ]
        assert list(await limiter.held(SLOTS)) == [self.model.held(slots, now_us) for slots in SLOTS]


amount = st.one_of(st.integers(-1, 4), st.integers(-1, 4), st.integers(0, 60))
amounts = st.lists(amount, min_size=6, max_size=6)
earlier = st.integers(0, 12)
operation = st.one_of(
    st.tuples(st.just("take"), amounts, st.integers(0, 7)),
    st.tuples(st.just("take"), st.just([1, 1, 1, 5, 5, 5]), st.just(7)),
    st.tuples(st.just("take"), st.just([1, -1, -1, -1, -1, -1]), st.just(0)),
    st.tuples(st.sampled_from(["refund", "settle", "renew"]), earlier, amounts),
    st.tuples(st.just("settle"), earlier, st.lists(st.integers(0, 10**18), min_size=6, max_size=6)),
    st.tuples(st.just("pass"), st.integers(0, 40 * SECOND_US)),
    st.tuples(st.just("pass"), st.sampled_from([1, 999_999, SECOND_US, LEASE_US, 700 * SECOND_US])),
    st.tuples(st.just("pass"), st.integers(-200 * SECOND_US, 200 * SECOND_US)),
    st.tuples(st.just("pass"), st.sampled_from([YEARS_US, -YEARS_US])),
    st.tuples(st.just("change"), st.integers(0, len(SHAPES) - 1)),
)


@dataclass
class Bench:
    """Where a backend's worlds are made, and how many operations it has agreed on."""

    place: Place
    runner: asyncio.Runner
    numbers: Iterator[int]
    operations: int = 0

    def walk(self, steps: list[tuple[Any, ...]]) -> None:
        self.runner.run(self._walk(steps))

    async def _walk(self, steps: list[tuple[Any, ...]]) -> None:
        clock = ManualClock(START_US)
        world = World(handles_of(self.place.inside(str(next(self.numbers))), clock), clock)
        try:
            for number, step in enumerate(steps):
                await world.step(number, *step)
                self.operations += 1
        finally:
            for handle in world.handles:
                await handle.aclose()


@pytest.fixture(scope="module", params=BACKENDS)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with asyncio.Runner() as runner:
        yield Bench(place_of(request, request.param, tmp_path_factory.mktemp("worlds")), runner, count())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_US)


@pytest.fixture(params=BACKENDS)
async def limiter(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Limiter]:
    limiter = opened(place_of(request, request.param, tmp_path), clock)
    yield limiter
    await limiter.aclose()


@pytest.mark.timeout(3_600 if IS_LONG else 120)
def test_any_sequence_agrees_with_the_exact_model(bench: Bench) -> None:
    """Each example is a store of its own, and has fewer takes than it needs to prune."""

    @given(st.lists(operation, min_size=STEPS_MIN, max_size=STEPS_MAX))
    @example([("take", [6, -1, -1, -1, -1, -1], 0), ("pass", -200 * SECOND_US), ("take", [1, 0, 0, 0, 0, 0], 0)])
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    def walk(steps: list[tuple[Any, ...]]) -> None:
        bench.walk(steps)

    # In rounds, for what hypothesis remembers of its examples grows.
    while bench.operations < OPERATIONS:
        walk()


def any_bucket(random: Random) -> Bucket:
    """Of any size that a limit may have, from one request a month to a billion tokens an hour."""
    burst = random.choice([1, 2, random.randint(1, 100), random.randint(1, 10**9)])
    rate = random.choice([burst, random.randint(1, 2 * burst)])
    period_s = random.choice([1, 60, 3_600, random.randint(1, 2_592_000)])
    if burst * period_s / rate > 10**8:
        rate = burst
    return Bucket("requests:key:k", "acme", burst=burst, rate=rate, period_s=period_s)


class LoneClient:
    """The only one at its bucket, with the model of it."""

    def __init__(self, limiter: Limiter, bucket: Bucket, clock: ManualClock) -> None:
        self.bucket = bucket
        self.model = Model()
        self._limiter = limiter
        self._clock = clock
        self._asked = count()

    async def ask(self, amount: int) -> int:
        """Seconds to wait; 0 when it was taken."""
        take = take_of(f"{self.bucket.id}:{next(self._asked)}", (self.bucket, amount))
        refused_by, wait_s = self.model.take(take, self._clock.now_us())
        decision = await self._limiter.take(take)
        assert (decision.is_allowed, decision.retry_after_s) == (refused_by is None, wait_s)
        return decision.retry_after_s

    async def ask_too_much(self, random: Random) -> tuple[int, int]:
        """Spends some, lets time pass, spends the rest; the next amount is refused: it, and the seconds to wait."""
        bucket = self.bucket
        await self.ask(random.randint(1, bucket.burst))
        self._clock.set_us(self._clock.now_us() + random.randint(0, bucket.fill_us // 4))
        await self.ask(floor(self.model.level(bucket, self._clock.now_us()).tokens))
        amount = random.randint(1, bucket.burst)
        return amount, await self.ask(amount)


async def test_a_lone_retry_at_retry_after_succeeds_a_thousand_times_of_a_thousand(
    limiter: Limiter, clock: ManualClock
) -> None:
    random = Random(20_260_131)
    succeeded = early = 0
    for number in range(1_000):
        client = LoneClient(limiter, replace(any_bucket(random), id=f"requests:key:{number}"), clock)
        amount, retry_after_s = await client.ask_too_much(random)
        refused_us = clock.now_us()
        fits_us = client.model.fits_at_us(client.bucket, amount, refused_us)
        assert 0 <= refused_us + retry_after_s * SECOND_US - fits_us < SECOND_US
        clock.set_us(fits_us - 1)
        early += await client.ask(amount) == 0
        clock.set_us(refused_us + retry_after_s * SECOND_US)
        succeeded += await client.ask(amount) == 0
    assert (succeeded, early) == (1_000, 0)


async def test_a_microsecond_before_the_whole_second_is_too_early(limiter: Limiter, clock: ManualClock) -> None:
    """For rates at which the cost fits on a whole second, Retry-After is not a microsecond too long."""
    for seconds in range(1, 200):
        bucket = Bucket(f"requests:key:{seconds}", "acme", burst=4, rate=4, period_s=4 * seconds)
        await limiter.take(take_of(f"{seconds}:all", (bucket, 4)))
        refused = await limiter.take(take_of(f"{seconds}:refused", (bucket, 1)))
        assert refused.retry_after_s == seconds
        clock.set_us(clock.now_us() + seconds * SECOND_US - 1)
        assert (await limiter.take(take_of(f"{seconds}:early", (bucket, 1)))).retry_after_s == 1
        clock.set_us(clock.now_us() + 1)
        assert (await limiter.take(take_of(f"{seconds}:on time", (bucket, 1)))).is_allowed
