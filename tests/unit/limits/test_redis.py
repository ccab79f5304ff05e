"""What only the Redis limiter has to do: Redis' own time, one script a take, a life for every key, whole digits."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.limits import Bucket, Cost, Slots, Take
from aiservice.limits.memory import MemoryLimiter
from aiservice.limits.model import SPAN_MAX
from aiservice.limits.redis import RedisLimiter
from aiservice.stores.redis import Redis, address_of
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.stores

HOUR_S = 3_600
KEY = Bucket("requests:key:k", "acme", burst=5, rate=5, period_s=HOUR_S)
TOKENS = Bucket("tokens:tenant:acme", "acme", burst=1_000, rate=1_000, period_s=HOUR_S)
SLOTS = Slots("slots:key:k", "acme", 2)
LARGEST = Bucket("tokens:key:large", "acme", burst=SPAN_MAX // 2, rate=10**8, period_s=1)
PATIENCE_S = 10.0


def take_of(request_id: str, *costs: tuple[Bucket, int], slots: tuple[Slots, ...] = ()) -> Take:
    return Take(request_id, tuple(Cost(bucket, amount) for bucket, amount in costs), slots)


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    redis = Redis(address_of(redis_url), timeout_s=PATIENCE_S, name="limits")
    await redis.start()
    yield redis
    await redis.aclose()


@pytest.fixture
def limiter(redis: Redis) -> RedisLimiter:
    return RedisLimiter(redis)


async def left(limiter: RedisLimiter, *buckets: Bucket) -> list[int]:
    return [standing.remaining for standing in await limiter.peek(buckets)]


def keys_of(server: RedisServer) -> list[str]:
    return sorted(server.call("keys", "*"))


async def test_time_is_redis_own(limiter: RedisLimiter) -> None:
    quick = Bucket("requests:key:quick", "acme", burst=2, rate=2, period_s=1)
    decision = await limiter.take(take_of("a", (quick, 1)))
    assert abs(decision.standings[0].reset_at_s - time.time()) < 5
    assert (await limiter.take(take_of("b", (quick, 1)))).is_allowed
    refused = await limiter.take(take_of("c", (quick, 2)))
    assert (refused.is_allowed, refused.retry_after_s) == (False, 1)
    await asyncio.sleep(refused.retry_after_s)
    assert (await limiter.take(take_of("d", (quick, 2)))).is_allowed


async def test_takes_of_one_and_of_more_tokens_draw_on_the_same_bucket(limiter: RedisLimiter) -> None:
    assert (await limiter.take(take_of("a", (KEY, 1)))).standings[0].remaining == 4
    assert (await limiter.take(take_of("b", (KEY, 3)))).standings[0].remaining == 1
    assert (await limiter.take(take_of("c", (KEY, 1), (TOKENS, 7)))).is_allowed
    assert not (await limiter.take(take_of("d", (KEY, 1)))).is_allowed
    assert await left(limiter, KEY, TOKENS) == [0, 993]


async def test_each_call_is_one_command(limiter: RedisLimiter, redis_server: RedisServer) -> None:
    take = take_of("warm", (KEY, 1), (TOKENS, 5), slots=(SLOTS,))

    async def everything() -> None:
        await limiter.take(take)
        await limiter.take(take_of("alone", (KEY, 1)))
        await limiter.renew(take)
        await limiter.settle(take, (1, 3))
        await limiter.refund(take)
        await limiter.peek([KEY, TOKENS])
        await limiter.held([SLOTS])

    await everything()
    redis_server.call("config", "resetstat")
    await everything()
    stats = redis_server.info("commandstats")
    calls = {name: int(re.search(r"calls=(\d+)", facts)[1]) for name, facts in stats.items()}
    assert calls["cmdstat_evalsha"] == 7
    assert "cmdstat_eval" not in calls


async def test_what_names_nothing_asks_nobody(limiter: RedisLimiter, redis_server: RedisServer) -> None:
    redis_server.call("config", "resetstat")
    take = take_of("a")
    assert (await limiter.take(take)).is_allowed
    await limiter.refund(take)
    await limiter.settle(take, ())
    await limiter.renew(take)
    assert list(await limiter.peek([])) == list(await limiter.held([])) == []
    await limiter.settle(take_of("b", (KEY, 1)), (1,))
    assert not [name for name in redis_server.info("commandstats") if "eval" in name]


async def test_every_key_is_the_tenants_and_has_an_end(limiter: RedisLimiter, redis_server: RedisServer) -> None:
    take = take_of("a", (KEY, 2), (TOKENS, 500), slots=(SLOTS,))
    await limiter.take(take)
    lives = {key: int(redis_server.call("pttl", key)) for key in keys_of(redis_server)}
    expected_s = {"requests:key:k": 2 * HOUR_S // 5 + 60, "tokens:tenant:acme": HOUR_S // 2 + 60, "slots:key:k": 90}
    assert lives.keys() == {f"ai:{{4:acme}}{id}" for id in expected_s}
    for id, seconds in expected_s.items():
        assert seconds * 1_000 - 5_000 < lives[f"ai:{{4:acme}}{id}"] <= seconds * 1_000
    await limiter.settle(take, (1, 2_000))
    assert 595_000 < int(redis_server.call("pttl", "ai:{4:acme}closed:a")) <= 600_000
    assert int(redis_server.call("pttl", "ai:{4:acme}tokens:tenant:acme")) > HOUR_S * 1_000
    assert redis_server.call("exists", "ai:{4:acme}slots:key:k") == 0


async def test_a_refused_take_writes_nothing(limiter: RedisLimiter, redis_server: RedisServer) -> None:
    assert not (await limiter.take(take_of("a", (KEY, 6), (TOKENS, 1)))).is_allowed
    assert not (await limiter.take(take_of("b", (TOKENS, 1_001), slots=(SLOTS,)))).is_allowed
    assert keys_of(redis_server) == []


async def test_numbers_are_stored_in_whole_digits(redis: Redis, redis_server: RedisServer) -> None:
    limiter = RedisLimiter(redis, clock=ManualClock(9_000_000_000_000_000))
    await limiter.take(take_of("a", (LARGEST, 1), slots=(SLOTS,)))
    stored = redis_server.call("hgetall", "ai:{4:acme}tokens:key:large")
    facts = dict(zip(stored[::2], stored[1::2], strict=True))
    assert facts == {
        "level": str(LARGEST.cap_units - LARGEST.token_units),
        "stamp": "9000000000000000",
        "units": str(LARGEST.token_units),
        "last": "a",
    }


@pytest.mark.parametrize("period_s", [1, 7, 86_400])
async def test_the_largest_levels_agree_with_whole_numbers(redis: Redis, period_s: int) -> None:
    """A walk at the edge of what a double holds, against the limiter in Python's whole numbers."""
    clock, random = ManualClock(), Random(period_s)
    here, there = MemoryLimiter(clock), RedisLimiter(redis, clock=clock)
    burst = SPAN_MAX // 2 // period_s
    buckets = [
        Bucket("tokens:key:large", "acme", burst=burst, rate=burst // random.randint(10, 1_000), period_s=period_s),
        Bucket("tokens:key:large", "acme", burst=burst // 3, rate=burst // 7, period_s=period_s * 2),
    ]
    taken: list[Take] = []
    for number in range(300):
        bucket = buckets[number // 20 % 2]
        clock.set_us(clock.now_us() + random.choice([1, 999_999, random.randint(0, bucket.fill_us)]))
        take = take_of(str(number), (bucket, random.choice([1, bucket.burst, random.randint(0, bucket.burst)])))
        decision = await there.take(take)
        assert decision == await here.take(take)
        taken += [take] if decision.is_allowed else []
        if taken and number % 3 == 0:
            closed, amount = random.choice(taken), random.choice([0, 10**18, random.randint(0, 3 * burst)])
            for limiter in (here, there):
                await limiter.settle(closed, (amount,))
        assert list(await there.peek([bucket])) == list(await here.peek([bucket]))


async def test_what_a_cancelled_caller_took_comes_back_also_with_slots(limiter: RedisLimiter) -> None:
    await limiter.refund(take_of("warm", (KEY, 1)))
    asking = asyncio.create_task(limiter.take(take_of("a", (KEY, 2), (TOKENS, 30), slots=(SLOTS,))))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await left(limiter, KEY, TOKENS) == [5, 1_000]
    assert list(await limiter.held([SLOTS])) == [0]


async def test_a_slot_proves_that_a_cancelled_caller_took_it(limiter: RedisLimiter) -> None:
    first, second = take_of("a", slots=(SLOTS,)), take_of("b", (KEY, 1), slots=(SLOTS,))
    asking = [asyncio.create_task(limiter.take(take)) for take in (first, second)]
    other = asyncio.create_task(limiter.take(take_of("c", (KEY, 1))))
    await asyncio.sleep(0)
    for task in asking:
        task.cancel()
    assert (await other).is_allowed
    assert [type(done) for done in await asyncio.gather(*asking, return_exceptions=True)] == [
        asyncio.CancelledError
    ] * 2
    assert list(await limiter.held([SLOTS])) == [0]
    assert await left(limiter, KEY) == [4]


async def test_where_nothing_proves_that_it_was_taken_it_stays_taken(limiter: RedisLimiter) -> None:
    """Another take came in between: rather one token too few than one too many."""
    asking = asyncio.create_task(limiter.take(take_of("a", (KEY, 1))))
    other = asyncio.create_task(limiter.take(take_of("b", (KEY, 1))))
    await asyncio.sleep(0)
    asking.cancel()
    assert (await other).is_allowed
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await left(limiter, KEY) == [3]


async def test_who_is_cancelled_twice_leaves_at_once_and_it_comes_back_by_itself(limiter: RedisLimiter) -> None:
    asking = asyncio.create_task(limiter.take(take_of("a", (KEY, 2))))
    for _ in range(2):
        await asyncio.sleep(0)
        asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await limiter.aclose()
    assert await left(limiter, KEY) == [5]


async def test_a_limit_that_changes_and_buckets_that_are_forgotten_are_told_anew(redis: Redis) -> None:
    limiter = RedisLimiter(redis, buckets_max=2)
    raised = Bucket(KEY.id, KEY.tenant_id, burst=50, rate=50, period_s=HOUR_S)
    others = [Bucket(f"requests:key:{number}", "acme", burst=9, rate=9, period_s=HOUR_S) for number in range(4)]
    for number, bucket in enumerate((KEY, raised, *others, KEY, *others)):
        decision = await limiter.take(take_of(str(number), (bucket, 1)))
        assert decision.standings[0].limit == bucket.burst
    assert await left(limiter, KEY, *others) == [2, 7, 7, 7, 7]


async def test_an_emptied_redis_is_a_fresh_start(limiter: RedisLimiter, redis_server: RedisServer) -> None:
    await limiter.take(take_of("a", (KEY, 5)))
    redis_server.call("flushall")
    redis_server.call("script", "flush")
    assert (await limiter.take(take_of("b", (KEY, 5)))).is_allowed
    assert not (await limiter.take(take_of("c", (KEY, 1)))).is_allowed


async def test_a_redis_that_is_away_or_full_is_unavailable(redis_binary: Path) -> None:
    with RedisServer.start(redis_binary) as server:
        redis = Redis(address_of(server.url), timeout_s=PATIENCE_S, name="limits")
        await redis.start()
        limiter = RedisLimiter(redis)
        await limiter.take(take_of("a", (KEY, 1)))
        server.call("config", "set", "maxmemory", "1")
        for take in (take_of("b", (KEY, 1)), take_of("c", (KEY, 1), slots=(SLOTS,)), take_of("d", slots=(SLOTS,))):
            with pytest.raises(StoreUnavailable):
                await limiter.take(take)
        assert await left(limiter, KEY) == [4], "what only reads works on, and nothing was taken"
        assert list(await limiter.held([SLOTS])) == [0]
        server.kill()
        for asked in (
            limiter.take(take_of("e", (KEY, 1))),
            limiter.refund(take_of("a", (KEY, 1))),
            limiter.settle(take_of("a", (KEY, 1)), (2,)),
            limiter.renew(take_of("a", slots=(SLOTS,))),
            limiter.peek([KEY]),
            limiter.held([SLOTS]),
        ):
            with pytest.raises(StoreUnavailable):
                await asked
        await limiter.aclose()
        await redis.aclose()
