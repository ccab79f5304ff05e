"""A Redis that is killed, frozen, full, read-only or back empty: no request fails by it or waits for it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from aiservice.cache import Claim
from aiservice.cache.memory import MemoryCacheIndex
from aiservice.cache.redis import RedisCache
from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from tests.servers.redis_server import RedisCluster, RedisServer
from tests.unit.cache.shared import Sharing, entry_name, noise, opened
from tests.unit.cache.workers import ANSWER, KEY, key, saying

pytestmark = pytest.mark.stores

DEADLINE_S = 0.05
# What a deadline is late by, beside the noise of the machine.
LATE_S = 0.02
BACK_S = 2.0
FAILOVER_S = 10.0
LARGE = saying("x" * 10_000)


@pytest.fixture
def server(redis_binary: Path) -> Iterator[RedisServer]:
    with RedisServer.start(redis_binary) as server:
        yield server
        server.thaw()


@pytest.fixture
async def sharing(server: RedisServer) -> AsyncIterator[Sharing]:
    async with AsyncExitStack() as stack:
        yield Sharing(server.url, stack)


async def leads_alone(cache: RedisCache) -> None:
    """What a request does, step by step; each within its deadline."""
    loop = asyncio.get_running_loop()
    slowest_s = 0.0
    async with noise() as machine:
        for step in (
            lambda: cache.get(KEY),
            lambda: cache.claim(KEY, "one"),
            lambda: cache.renew(KEY, "one"),
            lambda: cache.put(KEY, ANSWER, lease_id="one"),
            lambda: cache.release(KEY, "one"),
            lambda: cache.joined(KEY, 1),
        ):
            began_s = loop.time()
            assert await step() in (None, Claim(True), False)
            slowest_s = max(slowest_s, loop.time() - began_s)
            await asyncio.sleep(0.01)
    assert slowest_s < DEADLINE_S + LATE_S + 2 * machine.worst_s


async def tells_operators(cache: RedisCache) -> None:
    for ask in (cache.clear, cache.stats, lambda: cache.entries(10)):
        with pytest.raises(StoreUnavailable):
            await ask()


async def is_back(cache: RedisCache) -> None:
    async with asyncio.timeout(BACK_S):
        while True:
            await cache.put(key(9), ANSWER)
            if await cache.get(key(9)) is not None:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_while_it_is_away_everyone_leads_and_operators_are_told(
    server: RedisServer, sharing: Sharing, fault: str
) -> None:
    cache = await sharing.start(timeout_s=DEADLINE_S)
    await is_back(cache)
    await cache.claim(KEY, "one")
    getattr(server, fault)()
    failures, era = cache.failures, cache.era
    for _ in range(3):
        await leads_alone(cache)
    assert cache.failures - failures == 15
    assert cache.era == era, "flights of this worker are shared as ever"
    await tells_operators(cache)


async def test_after_an_outage_nobody_joins_a_flight_from_before(server: RedisServer, sharing: Sharing) -> None:
    """Somebody elsewhere may have cleared in the meantime."""
    cache = await sharing.start(timeout_s=DEADLINE_S)
    await is_back(cache)
    server.freeze()
    await leads_alone(cache)
    server.thaw()
    era = cache.era
    await is_back(cache)
    assert cache.era != era


async def test_when_it_is_back_empty_it_is_used_at_once(server: RedisServer, sharing: Sharing) -> None:
    cache = await sharing.start(timeout_s=DEADLINE_S)
    await is_back(cache)
    await cache.put(KEY, ANSWER)
    server.kill()
    await leads_alone(cache)
    server.start_again()
    await is_back(cache)
    assert await cache.get(KEY) is None
    await cache.put(KEY, saying("new"))
    assert await cache.get(KEY) is not None
    assert (await cache.stats()).entries == 2


async def test_it_says_so_once_each_second_and_counts_each_time(
    server: RedisServer, sharing: Sharing, caplog: pytest.LogCaptureFixture
) -> None:
    cache = await sharing.start(timeout_s=DEADLINE_S)
    server.kill()
    with caplog.at_level(logging.WARNING, logger="aiservice.cache"):
        for _ in range(100):
            await cache.get(KEY)
        assert [record.name for record in caplog.records].count("aiservice.cache.redis") == 1
        sharing.clock.advance_s(1)
        await cache.get(KEY)
        assert [record.name for record in caplog.records].count("aiservice.cache.redis") == 2
    assert cache.failures == 101
    assert "the cache: it cannot be used: Redis" in caplog.text


async def test_a_full_redis_keeps_nothing_new_and_gives_what_it_has(server: RedisServer, sharing: Sharing) -> None:
    cache, other = await sharing.start(), await sharing.start()
    await cache.put(KEY, ANSWER)
    await cache.claim(key(2), "one")
    server.call("config", "set", "maxmemory", "1")
    assert await cache.get(KEY) is not None
    await cache.put(key(2), ANSWER, lease_id="one")
    await cache.put(key(3), ANSWER)
    assert cache.failures == 2
    era = cache.era
    assert await cache.get(key(2)) is None
    assert await cache.get(key(3)) is None
    assert cache.era == era, "flights in this worker are shared as ever"
    await cache.release(key(2), "one")
    assert await cache.claim(key(2), "two") == Claim(True)
    assert await other.claim(key(2), "three") == Claim(False), "and so are those between workers"
    assert await cache.renew(key(2), "two"), "which is known to wait"
    await other.release(key(2), "three")
    assert (cache.failures, other.failures) == (2, 0)
    server.call("config", "set", "maxmemory", "0")
    await cache.put(key(2), ANSWER, lease_id="two")
    assert (await other.claim(key(2), "three")).entry is not None


async def test_a_full_redis_that_knows_no_era_lets_everyone_lead(server: RedisServer, sharing: Sharing) -> None:
    cache = await sharing.start()
    server.call("config", "set", "maxmemory", "1")
    for _ in range(3):
        await leads_alone(cache)
    assert cache.failures > 0


async def test_a_full_redis_can_be_cleared(server: RedisServer, sharing: Sharing) -> None:
    cache, other = await sharing.start(), await sharing.start()
    await cache.put(KEY, ANSWER)
    await cache.stats()
    server.call("config", "set", "maxmemory", "1")
    assert await cache.clear() == 1
    assert await other.get(KEY) is None


async def test_one_that_evicts_has_misses_and_no_failures(server: RedisServer, sharing: Sharing) -> None:
    """Its index lists what was evicted until it would have expired."""
    server.call("config", "set", "maxmemory-policy", "allkeys-lfu")
    server.call("config", "set", "maxmemory", str(int(server.info("memory")["used_memory"]) + 3_000_000))
    cache = await sharing.start()
    found = 0
    for number in range(1_000):
        wanted = key(number, f"tenant {number % 50}")
        assert await cache.claim(wanted, "one") == Claim(True)
        await cache.put(wanted, saying(f"{number} ".ljust(10_000)), lease_id="one")
        earlier = key(number // 2, f"tenant {number // 2 % 50}")
        entry = await cache.get(earlier)
        if entry is not None:
            found += 1
            assert entry.completion.choices[0].text.startswith(f"{number // 2} ")
    assert 0 < found < 1_000
    assert int(server.info("stats")["evicted_keys"]) > 100
    assert cache.failures == 0
    # A lease that is evicted before its put is an answer that is not kept, and not listed either.
    evicted = int(server.info("stats")["evicted_keys"])
    assert evicted < (await cache.stats()).entries <= 1_000


async def test_one_that_became_a_replica_is_as_good_as_away(
    server: RedisServer, sharing: Sharing, redis_server: RedisServer
) -> None:
    cache = await sharing.start(timeout_s=DEADLINE_S)
    await is_back(cache)
    server.call("replicaof", "127.0.0.1", str(redis_server.port))
    for _ in range(3):
        await leads_alone(cache)
    await tells_operators(cache)
    assert cache.failures > 0
    server.call("replicaof", "no", "one")
    await is_back(cache)


async def test_what_is_in_the_way_of_a_drop_fails_no_request(server: RedisServer, sharing: Sharing) -> None:
    cache = await sharing.start()
    await cache.put(KEY, ANSWER)
    sharing.data.setrange(entry_name(KEY), 60, "changed")
    sharing.data.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-del"])
    assert await cache.get(KEY) is None
    assert cache.failures == 1
    assert await cache.claim(KEY, "one") == Claim(True), "it leads without the lease"
    sharing.data.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all"])
    assert await cache.get(KEY) is None
    assert not sharing.data.exists(entry_name(KEY))


@pytest.mark.slow
async def test_a_master_of_a_cluster_that_is_killed_is_replaced_and_no_request_waits(
    redis_cluster_url: str, redis_cluster: RedisCluster, caplog: pytest.LogCaptureFixture
) -> None:
    clock, loop = ManualClock(), asyncio.get_running_loop()
    keys = [key(number, f"tenant {number}") for number in range(60)]
    async with AsyncExitStack() as stack:
        stack.callback(redis_cluster.healed)
        cache = await opened(redis_cluster_url, stack, clock, MemoryCacheIndex(clock), timeout_s=DEADLINE_S)
        for wanted in keys:
            await cache.put(wanted, ANSWER)
        redis_cluster.master_of(entry_name(keys[0])).kill()
        killed_s = loop.time()
        slowest_s = 0.0
        missing = set(keys)
        async with noise() as machine:
            while missing:
                assert loop.time() - killed_s < FAILOVER_S
                for wanted in keys:
                    began_s = loop.time()
                    found = await cache.get(wanted)
                    slowest_s = max(slowest_s, loop.time() - began_s)
                    (missing.add if found is None else missing.discard)(wanted)
                    if found is None:
                        await cache.put(wanted, ANSWER)
                await asyncio.sleep(0.01)
        assert cache.failures > 0
        assert slowest_s < DEADLINE_S + LATE_S + 2 * machine.worst_s
        assert await cache.clear() == len(keys)
        assert [await cache.get(wanted) for wanted in keys] == [None] * len(keys)
    assert "CROSSSLOT" not in caplog.text
