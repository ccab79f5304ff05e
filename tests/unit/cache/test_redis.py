"""What only the Redis cache has to do: trust nothing in it, bind all to its eras, and keep workers of one mind."""

import asyncio
import logging
import random
import re
from collections.abc import Sequence

import pytest

from aiservice.cache import CacheKey, Claim
from aiservice.cache.eras import ERAS_BYTES
from aiservice.cache.lease import LEASE_US, LOST_AFTER_US
from aiservice.cache.redis import ERA_MORE_MS, ERA_SPARE_MS, PUTS_MAX, RedisCache
from aiservice.core.clock import ManualClock, SystemClock
from aiservice.core.settings import CacheSettings
from aiservice.stores.redis import Redis, Reply, Script, address_of
from tests.unit.cache.shared import PATIENCE_S, Sharing, entry_name, era_names, lease_name
from tests.unit.cache.workers import ANSWER, KEY, SECRET, key, saying

pytestmark = pytest.mark.stores

DAY_S = 86_400


async def text_of(cache: RedisCache, wanted: CacheKey = KEY) -> str | None:
    entry = await cache.get(wanted)
    return None if entry is None else entry.completion.choices[0].text


async def test_an_entry_of_one_worker_is_found_by_another(sharing: Sharing) -> None:
    first, second = await sharing.start(), await sharing.start()
    await first.put(KEY, ANSWER)
    entry = await second.get(KEY)
    assert entry is not None
    assert entry.completion == ANSWER


async def test_every_key_begins_alike_and_lives_no_longer_than_it_must(sharing: Sharing) -> None:
    cache = await sharing.start(ttl_s=100)
    await cache.claim(key(1), "one")
    await cache.put(key(2), ANSWER)
    await cache.get(key(2))
    await cache.stats()
    left_ms = {name.decode(): sharing.data.pttl(name) for name in sharing.data.keys("*")}
    assert {re.sub(r"\{.*", "", name) for name in left_ms} == {"ai:c", "ai:ccounts"}
    assert 85_000 < left_ms.pop(entry_name(key(2))) <= 110_000
    assert 60_000 < left_ms.pop(lease_name(key(1))) <= (LEASE_US + LOST_AFTER_US) // 1_000
    assert left_ms.pop("ai:ccounts") > 0
    assert set(left_ms) == set(era_names(KEY))
    most_ms = 110_000 + ERA_SPARE_MS + ERA_MORE_MS
    assert {most_ms - 10_000 < left <= most_ms for left in left_ms.values()} == {True}


@pytest.mark.parametrize("work", ["claim", "put", "renew"])
async def test_an_era_that_would_end_before_what_belongs_to_it_lives_on(sharing: Sharing, work: str) -> None:
    cache = await sharing.start(ttl_s=100)
    await cache.claim(KEY, "one")
    for name in era_names(KEY):
        sharing.data.pexpire(name, 110_000)
    if work == "claim":
        await cache.claim(key(2), "two")
    elif work == "put":
        await cache.put(KEY, ANSWER, lease_id="one")
    else:
        await cache.renew(KEY, "one")
    assert min(sharing.data.pttl(name) for name in era_names(KEY)) > ERA_SPARE_MS


@pytest.mark.parametrize("era", range(4))
async def test_an_era_that_is_gone_ends_what_belongs_to_it_for_good(sharing: Sharing, era: int) -> None:
    """Evicted, as Redis may do at any time with any key; nobody said that it is a clearing."""
    cache, other = await sharing.start(), await sharing.start()
    await cache.put(KEY, ANSWER)
    await cache.claim(key(2), "one")
    number = cache.era
    sharing.data.delete(era_names(KEY)[era])
    assert await cache.get(KEY) is None
    assert cache.era != number, "who asks now must not join a flight from before"
    assert (await other.claim(KEY, "two")).is_leader
    assert await cache.get(KEY) is None, "its era has begun anew, and it is none of it"
    assert not await cache.renew(key(2), "one")
    await cache.put(key(2), ANSWER, lease_id="one")
    assert await cache.get(key(2)) is None
    await other.put(KEY, saying("new"), lease_id="two")
    assert await text_of(cache) == "new"


async def test_a_redis_that_is_back_empty_has_misses_and_no_more(sharing: Sharing) -> None:
    cache, other = await sharing.start(), await sharing.start()
    await cache.put(KEY, ANSWER)
    await cache.claim(key(2), "one")
    frame, number = sharing.data.get(entry_name(KEY)), cache.era
    sharing.data.flushall()
    assert await cache.get(KEY) is None
    assert cache.era != number
    await cache.put(key(2), saying("begun before"), lease_id="one")
    assert await cache.get(key(2)) is None
    assert await other.claim(KEY, "two") == Claim(True)
    sharing.data.set(entry_name(KEY), frame)
    assert await cache.get(KEY) is None, "not even if the old one comes back"
    assert await other.claim(KEY, "two") == Claim(True)
    assert (cache.failures, other.failures) == (0, 0)


async def test_another_worker_hears_of_a_clearing_with_its_next_question(sharing: Sharing) -> None:
    cache, other = await sharing.start(), await sharing.start()
    await cache.claim(KEY, "one")
    await other.get(KEY)
    for scope in ({}, {"model": KEY.model}, {"tenant_id": KEY.tenant_id}, {"tenant_id": "acme", "model": "m"}):
        number = other.era
        await cache.clear(**scope)
        await other.get(KEY)
        assert other.era != number
        await other.claim(KEY, "two")
        number = other.era
        await other.get(KEY)
        await cache.clear(tenant_id="stranger")
        await other.get(KEY)
        assert other.era == number


async def test_a_claim_hears_of_a_clearing_too(sharing: Sharing) -> None:
    cache, other = await sharing.start(), await sharing.start()
    await other.claim(KEY, "one")
    number = other.era
    await cache.clear()
    await cache.claim(KEY, "two")
    assert await other.claim(KEY, "one") == Claim(False)
    assert other.era != number


async def test_a_put_hears_of_a_clearing_too(sharing: Sharing) -> None:
    cache, other = await sharing.start(), await sharing.start()
    await other.put(KEY, ANSWER)
    number = other.era
    await cache.clear()
    await other.put(KEY, ANSWER)
    assert other.era != number


async def test_after_a_clearing_no_worker_gives_an_entry_from_before(sharing: Sharing) -> None:
    """Clearings of every kind, while others make answers and look as fast as they can.

    An answer says how many clearings had begun when its lease was there; who looks knows how many had ended.
    """
    caches = [await sharing.start() for _ in range(4)]
    keys = [key(number, f"tenant {number % 2}", f"model {number % 3}") for number in range(6)]
    ways = [[{}], [{"tenant_id": f"tenant {n}"} for n in range(2)], [{"model": f"model {n}"} for n in range(3)]]
    chance = random.Random(3)
    begun = ended = seen = 0

    async def make() -> None:
        while ended < 150:
            wanted, lease_id = chance.choice(keys), str(chance.random())
            if (await chance.choice(caches).claim(wanted, lease_id)).is_leader:
                await chance.choice(caches).put(wanted, saying(str(begun)), lease_id=lease_id)

    async def look() -> None:
        nonlocal seen
        while ended < 150:
            least = ended
            text = await text_of(chance.choice(caches), chance.choice(keys))
            assert text is None or int(text) >= least
            seen += text is not None

    async def clear() -> None:
        nonlocal begun, ended
        while ended < 150:
            await asyncio.sleep(chance.choice([0, 0.001, 0.003]))
            begun += 1
            for scope in chance.choice(ways):
                await chance.choice(caches).clear(**scope)
            ended = begun

    async with asyncio.TaskGroup() as tasks:
        for work in (make, make, make, look, look, look, clear):
            tasks.create_task(work())
    assert seen > 100
    assert [cache.failures for cache in caches] == [0] * 4


async def test_a_put_with_unknown_or_old_eras_is_sealed_with_those_that_stand(sharing: Sharing) -> None:
    cache, other = await sharing.start(), await sharing.start()
    await cache.put(KEY, saying("first"))
    assert await text_of(other) == "first"
    await other.clear()
    await cache.put(KEY, saying("second"))
    assert await text_of(other) == "second"
    frame = sharing.data.get(entry_name(KEY))
    assert frame[1 : 1 + ERAS_BYTES] == b"".join(sharing.data.mget(era_names(KEY)))


class Restless(Redis):
    """Whatever it is asked, somebody has just cleared everything."""

    clearings = 0

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | bytes | int] = ()) -> Reply:
        self.clearings += 1
        await self.call("DEL", *keys[2:], key=keys[0])
        return await super().run(script, keys, args)


async def test_an_answer_that_is_cleared_over_and_over_is_given_up(sharing: Sharing) -> None:
    redis = Restless(address_of(sharing.url), timeout_s=PATIENCE_S, name="cache")
    await redis.start()
    cache = RedisCache(redis, CacheSettings(), sharing.clock, secret=SECRET, index=sharing.index)
    await cache.put(KEY, ANSWER)
    assert redis.clearings == PUTS_MAX
    assert await cache.get(KEY) is None
    assert cache.failures == 0
    await cache.aclose()
    await redis.aclose()


async def test_an_entry_under_another_name_is_a_miss_and_leaves(
    sharing: Sharing, caplog: pytest.LogCaptureFixture
) -> None:
    cache = await sharing.start()
    await cache.put(KEY, ANSWER)
    stranger = key(2)
    sharing.data.rename(entry_name(KEY), entry_name(stranger))
    with caplog.at_level(logging.WARNING):
        assert await cache.get(stranger) is None
    assert "is dropped" in caplog.text
    assert not sharing.data.exists(entry_name(stranger))
    assert cache.failures == 0


@pytest.mark.parametrize("is_claimed", [False, True])
async def test_a_changed_entry_is_a_miss_and_leaves(sharing: Sharing, is_claimed: bool) -> None:
    """Every byte of it. Where its eras or its times no longer fit it is a miss without being read."""
    cache = await sharing.start()
    await cache.put(KEY, ANSWER)
    frame = sharing.data.get(entry_name(KEY))
    for position in range(len(frame)):
        changed = bytearray(frame)
        changed[position] ^= 0x55
        sharing.data.set(entry_name(KEY), bytes(changed))
        if is_claimed:
            assert await cache.claim(KEY, "one") == Claim(True)
            assert sharing.data.hget(lease_name(KEY), "id") == b"one"
            await cache.release(KEY, "one")
        else:
            assert await cache.get(KEY) is None
    sharing.data.set(entry_name(KEY), frame)
    assert await cache.get(KEY) is not None


async def test_a_cleared_entry_cannot_be_given_the_eras_that_stand(sharing: Sharing) -> None:
    cache = await sharing.start()
    await cache.put(KEY, ANSWER)
    frame = sharing.data.get(entry_name(KEY))
    await cache.clear()
    await cache.claim(KEY, "one")
    standing = b"".join(sharing.data.mget(era_names(KEY)))
    sharing.data.set(entry_name(KEY), frame[:1] + standing + frame[1 + ERAS_BYTES :])
    assert await cache.get(KEY) is None
    assert not sharing.data.exists(entry_name(KEY))


@pytest.mark.parametrize("name", [entry_name(KEY), lease_name(KEY), *era_names(KEY), "ai:ccounts"])
async def test_a_key_of_another_kind_fails_no_request(
    sharing: Sharing, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = await sharing.start()
    sharing.data.delete(name)
    sharing.data.rpush(name, "a list")
    with caplog.at_level(logging.WARNING):
        assert await cache.get(KEY) is None
        assert (await cache.claim(KEY, "one")).is_leader
        await cache.put(KEY, ANSWER, lease_id="one")
        await cache.put(KEY, ANSWER)
        await cache.renew(KEY, "one")
        await cache.release(KEY, "one")
    if name != "ai:ccounts":
        assert cache.failures > 0
        assert "WRONGTYPE" in caplog.text


async def test_an_era_that_is_no_token_is_replaced(sharing: Sharing) -> None:
    cache = await sharing.start()
    for name in era_names(KEY):
        sharing.data.set(name, "short")
    await cache.put(KEY, ANSWER)
    assert await cache.get(KEY) is not None


@pytest.mark.parametrize("is_encrypted", [True, False])
async def test_the_plain_text_is_nowhere_in_redis(sharing: Sharing, is_encrypted: bool) -> None:
    cache = await sharing.start(is_encrypted=is_encrypted)
    await cache.put(KEY, saying("the launch code is sixteen tulips"))
    assert await text_of(cache) == "the launch code is sixteen tulips"
    kept = sharing.data.get(entry_name(KEY))
    assert (b"sixteen tulips" not in kept) == is_encrypted
    assert await text_of(await sharing.start(is_encrypted=not is_encrypted)) is None


async def test_another_secret_cannot_read_it(sharing: Sharing) -> None:
    cache, stranger = await sharing.start(), await sharing.start(secret=b"another secret" * 3)
    await cache.put(KEY, ANSWER)
    assert await stranger.get(KEY) is None


async def test_leases_hold_between_machines_whose_clocks_do_not_agree(sharing: Sharing) -> None:
    now_us = SystemClock().now_us()
    clocks = [ManualClock(now_us), ManualClock(now_us + DAY_S * 1_000_000), ManualClock(now_us - DAY_S * 1_000_000)]
    here, ahead, behind = [await sharing.start(clock=clock) for clock in clocks]
    assert await here.claim(KEY, "one") == Claim(True)
    assert await ahead.claim(KEY, "two") == Claim(False)
    assert await behind.claim(KEY, "three") == Claim(False)
    assert await here.renew(KEY, "one"), "both are known to wait"
    ends_us = int(sharing.data.hget(lease_name(KEY), "expires"))
    seconds, micros = sharing.data.time()
    assert 3_000_000 < ends_us - (seconds * 1_000_000 + micros) <= LEASE_US
    await here.put(KEY, ANSWER, lease_id="one")
    assert (await behind.claim(KEY, "three")).entry is not None


async def test_a_lease_that_nobody_renews_is_the_next_ones_after_four_seconds(sharing: Sharing) -> None:
    cache, other = await sharing.start(), await sharing.start()
    await cache.claim(KEY, "one")
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while not (await other.claim(KEY, "two")).is_leader:
        await asyncio.sleep(0.02)
    assert 3.9 < loop.time() - began_s < 5
    assert not await cache.renew(KEY, "one")


async def test_of_many_claims_at_once_one_leads(sharing: Sharing) -> None:
    caches = [await sharing.start() for _ in range(4)]
    for number in range(20):
        claims = await asyncio.gather(
            *(cache.claim(key(number), f"{worker} {n}") for worker, cache in enumerate(caches) for n in range(10))
        )
        assert sum(claim.is_leader for claim in claims) == 1


async def test_of_many_answers_with_one_lease_the_first_is_kept(sharing: Sharing) -> None:
    caches = [await sharing.start() for _ in range(4)]
    await caches[0].claim(KEY, "one")
    await asyncio.gather(*(cache.put(KEY, saying(str(n)), lease_id="one") for n, cache in enumerate(caches)))
    facts = await asyncio.gather(*(cache.entries(10) for cache in caches))
    assert max(map(len, facts)) == 1
    noted = [cache._notes._pages for cache in caches]
    assert sum(map(len, noted)) == 1


async def test_scripts_that_redis_forgot_are_sent_again(sharing: Sharing) -> None:
    cache = await sharing.start()
    await cache.put(KEY, ANSWER)
    sharing.data.script_flush()
    assert (await cache.claim(KEY, "one")).entry is not None
    await cache.put(key(2), ANSWER)
    assert await cache.get(key(2)) is not None
    assert cache.failures == 0
