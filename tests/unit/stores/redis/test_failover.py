"""Masters of a real cluster and of real sentinels that die or stand still under load, and slots that move."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aiservice.core.errors import StoreUnavailable
from aiservice.stores.redis import Redis, Script
from aiservice.stores.redis.cluster import slot_of
from tests.servers.redis_server import RedisCluster, RedisSentinel, RedisServer
from tests.unit.stores.redis.waiting import Connect, until

pytestmark = [pytest.mark.stores, pytest.mark.slow]
BACK_S_MAX = 10.0
# The deadline of 50 ms, and what a loaded machine makes of it.
LONGEST_S_MAX = 1.0
TAGS = 40
BOTH = Script("redis.call('incr', KEYS[1]) return redis.call('incr', KEYS[2])")


@pytest.fixture(scope="module")
def own_cluster(redis_binary: Path) -> Iterator[RedisCluster]:
    with RedisCluster.start(redis_binary) as started:
        yield started


@pytest.fixture(scope="module")
def own_sentinel(redis_binary: Path) -> Iterator[RedisSentinel]:
    with RedisSentinel.start(redis_binary) as started:
        yield started


@dataclass
class Load:
    """Scripts over pairs of keys; what is no `StoreUnavailable` ends the test."""

    redis: Redis
    answered: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(TAGS), 0))
    failed: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(TAGS), 0))
    longest_s: float = 0.0
    last_failure_s: float = 0.0
    is_over: bool = False

    async def run(self, *, tasks: int = 8) -> None:
        await asyncio.gather(*(self._worker(number, tasks) for number in range(tasks)))

    async def _worker(self, tag: int, step: int) -> None:
        while not self.is_over:
            started_s = time.perf_counter()
            try:
                await self.redis.run(BOTH, [f"ai:{{{tag}}}a", f"ai:{{{tag}}}b"])
                self.answered[tag] += 1
            except StoreUnavailable:
                self.failed[tag] += 1
                self.last_failure_s = time.perf_counter()
            self.longest_s = max(self.longest_s, time.perf_counter() - started_s)
            tag = (tag + step) % TAGS
            await asyncio.sleep(0.001)


async def is_back(load: Load) -> bool:
    """Whether every key is answered."""
    try:
        for tag in range(TAGS):
            await load.redis.call("GET", f"ai:{{{tag}}}a", key=f"ai:{{{tag}}}a")
    except StoreUnavailable:
        return False
    return True


async def back_s(load: Load, fail) -> float:
    """How long after a failure every key is answered again; the load goes on for a second after that."""
    running = asyncio.create_task(load.run())
    await asyncio.sleep(0.3)
    started_s = time.perf_counter()
    await asyncio.to_thread(fail)
    await until(lambda: load.last_failure_s > started_s)
    async with asyncio.timeout(30):
        while not await is_back(load):
            await asyncio.sleep(0.02)
    back_s = time.perf_counter() - started_s
    await asyncio.sleep(1.0)
    load.is_over = True
    await running
    assert time.perf_counter() - load.last_failure_s > 0.9
    return back_s


async def test_keys_all_over_a_cluster(redis_cluster_url: str, redis_cluster: RedisCluster, connect: Connect):
    redis = await connect(redis_cluster_url, timeout_s=0.5)
    keys = [f"ai:{{{number}:t}}k" for number in range(200)]

    await asyncio.gather(*(redis.call("SET", key, number, key=key) for number, key in enumerate(keys)))
    replies = await asyncio.gather(*(redis.call("GET", key, key=key) for key in keys))
    counts = await asyncio.gather(*(redis.run(BOTH, [f"{key}a", f"{key}b"]) for key in keys))

    assert replies == [b"%d" % number for number in range(200)]
    assert counts == [1] * 200
    # Each went to its owner at once.
    assert sum("cmdstat_moved" in node.info("commandstats") for node in redis_cluster.nodes) == 0
    assert redis.failures == 0


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_a_lost_master_of_a_cluster_is_replaced(own_cluster: RedisCluster, connect: Connect, how: str):
    redis = await connect(own_cluster.url, timeout_s=0.05)
    load = Load(redis)
    master = own_cluster.master_of("ai:{1}a")

    took_s = await back_s(load, getattr(master, how))

    assert took_s < BACK_S_MAX
    assert load.longest_s < LONGEST_S_MAX
    assert redis.is_up
    assert own_cluster_has_moved(own_cluster, master)
    master.thaw()
    await asyncio.to_thread(own_cluster.healed)


def own_cluster_has_moved(cluster: RedisCluster, master: RedisServer) -> bool:
    asked = next(node for node in cluster.nodes if node is not master and node.is_alive)
    slot = slot_of("ai:{1}a")
    rows = asked.call("cluster", "slots")
    return all(row[2][1] != master.port for row in rows if row[0] <= slot <= row[1])


async def test_a_slot_that_moves_under_load_costs_no_call(own_cluster: RedisCluster, connect: Connect):
    own_cluster.flush()
    redis = await connect(own_cluster.url, timeout_s=5.0)
    load = Load(redis)
    running = asyncio.create_task(load.run())
    await until(lambda: min(load.answered.values()) > 5)

    for _ in range(3):
        for tag in range(0, TAGS, 8):
            await asyncio.to_thread(move, own_cluster, slot_of(f"{{{tag}}}"))
    load.is_over = True
    await running

    totals = [int(await redis.call("GET", f"ai:{{{tag}}}a", key=f"ai:{{{tag}}}a") or 0) for tag in range(TAGS)]
    assert sum(load.failed.values()) == 0
    assert totals == list(load.answered.values())


def move(cluster: RedisCluster, slot: int) -> None:
    """Moves a slot from its master to another one, its keys one by one."""
    masters = {node.port: node for node in cluster.nodes if node.info("replication")["role"] == "master"}
    rows = next(iter(masters.values())).call("cluster", "slots")
    source = next(masters[row[2][1]] for row in rows if row[0] <= slot <= row[1])
    target = next(node for node in masters.values() if node is not source)
    names = {node.port: node.call("cluster", "myid") for node in (source, target)}
    target.call("cluster", "setslot", slot, "importing", names[source.port])
    source.call("cluster", "setslot", slot, "migrating", names[target.port])
    while keys := source.call("cluster", "getkeysinslot", slot, 1):
        source.call("migrate", "127.0.0.1", target.port, keys[0], 0, 5_000)
        time.sleep(0.01)
    for node in (target, source, *(master for master in masters.values() if master not in (source, target))):
        node.call("cluster", "setslot", slot, "node", names[target.port])


@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_a_lost_master_of_sentinels_is_replaced(own_sentinel: RedisSentinel, connect: Connect, how: str):
    redis = await connect(own_sentinel.url, timeout_s=0.05)
    load = Load(redis)
    told: list[str] = []
    redis.subscribe("ai:keys", told.append, lambda: told.append("gap"))
    await until(lambda: told == ["gap"])
    master = own_sentinel.master()

    took_s = await back_s(load, getattr(master, how))

    assert took_s < BACK_S_MAX
    assert load.longest_s < LONGEST_S_MAX
    assert redis.is_up
    await until(lambda: told == ["gap", "gap"])
    await redis.publish("ai:keys", "kid")
    await until(lambda: told == ["gap", "gap", "kid"])
    master.thaw()
    await asyncio.to_thread(own_sentinel.healed)
