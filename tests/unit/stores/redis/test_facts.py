"""What a Redis is asked for before it is relied on."""

import pytest

from aiservice.core.errors import StartRefused, StoreUnavailable
from aiservice.stores.redis import ServerFacts, check
from tests.servers.redis_server import RedisCluster, RedisServer
from tests.servers.scripted_redis import Error, ScriptedRedis
from tests.unit.stores.redis.waiting import Connect

pytestmark = pytest.mark.stores


def info(**facts: object) -> bytes:
    return b"# Server\r\n" + b"".join(f"{name}:{value}\r\n".encode() for name, value in facts.items())


@pytest.mark.parametrize("version", ["6.2.0", "6.2.14", "7.0.15", "7.4-rc1", "8.2.1", "10.0.0"])
async def test_versions_that_are_new_enough(server: ScriptedRedis, connect: Connect, version: str):
    server.answer = lambda command: info(redis_version=version, maxmemory=0, maxmemory_policy="noeviction")

    assert await check(await connect(server.url)) == ServerFacts(version, None)


@pytest.mark.parametrize("version", ["6.0.16", "5.0.14", "2.8", "unknown", ""])
async def test_versions_that_are_too_old(server: ScriptedRedis, connect: Connect, version: str):
    server.answer = lambda command: info(redis_version=version)
    redis = await connect(server.url)

    with pytest.raises(StartRefused) as raised:
        await check(redis)

    assert raised.value.public == f"The Redis for limits is version {version}; 6.2 or newer is needed."


@pytest.mark.parametrize(
    ("maxmemory", "policy", "evicts"),
    [
        (0, "noeviction", None),
        (0, "allkeys-lfu", None),
        (1_000_000, "noeviction", None),
        (1_000_000, "allkeys-lfu", "allkeys-lfu"),
        (1_000_000, "volatile-ttl", "volatile-ttl"),
    ],
)
async def test_the_policy_by_which_keys_are_dropped(
    server: ScriptedRedis, connect: Connect, maxmemory: int, policy: str, evicts: str | None
):
    server.answer = lambda command: info(redis_version="7.2.4", maxmemory=maxmemory, maxmemory_policy=policy)

    assert (await check(await connect(server.url))).eviction_policy == evicts


async def test_a_server_that_does_not_tell(server: ScriptedRedis, connect: Connect):
    server.answer = lambda command: Error("NOPERM this user has no permissions to run the 'info' command")
    redis = await connect(server.url)

    with pytest.raises(StoreUnavailable):
        await check(redis)


async def test_a_server_that_is_away(server: ScriptedRedis, connect: Connect):
    server.stop()
    redis = await connect(server.url)

    with pytest.raises(StoreUnavailable):
        await check(redis)


async def test_a_node_of_a_cluster_is_no_server_of_its_own(redis_cluster: RedisCluster, connect: Connect):
    with pytest.raises(StartRefused) as raised:
        await check(await connect(redis_cluster.nodes[0].url))

    assert "begin its address with redis+cluster://" in raised.value.public
    assert (await check(await connect(redis_cluster.url))).eviction_policy is None


async def test_the_real_one(redis_server: RedisServer, connect: Connect):
    facts = await check(await connect(redis_server.url))

    assert facts == ServerFacts(redis_server.info("server")["redis_version"], None)
