"""The client over a real Redis: what it does to it in good days and bad ones."""

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiservice.core.errors import StoreUnavailable, Unexpected
from aiservice.stores.redis import Redis, Script
from tests.faults.proxy import Way, proxying
from tests.servers.redis_server import RedisServer
from tests.unit.stores.redis.waiting import Connect, until

pytestmark = pytest.mark.stores
COUNT = Script("redis.call('incrby', KEYS[1], ARGV[1]) return redis.call('get', KEYS[1])")


@pytest.fixture
def own(redis_binary: Path) -> Iterator[RedisServer]:
    """A server that the test may stop, freeze and reconfigure."""
    with RedisServer.start(redis_binary) as started:
        yield started


async def refused(redis: Redis, *command: str | int) -> str:
    with pytest.raises(StoreUnavailable) as raised:
        await redis.call(*command, key="a")
    return str(raised.value.detail)


async def test_commands_and_scripts(redis_url: str, connect: Connect):
    redis = await connect(redis_url)

    assert await redis.call("SET", "a", b"\x00\xff", "PX", 60_000, key="a") == b"OK"
    assert await redis.call("GET", "a", key="a") == b"\x00\xff"
    assert await redis.call("GET", "b", key="b") is None
    assert [await redis.run(COUNT, ["n"], [step]) for step in (1, 2, 3)] == [b"1", b"3", b"6"]
    assert await redis.each("SCRIPT", "FLUSH") == [b"OK"]
    assert await redis.run(COUNT, ["n"], [4]) == b"10"


async def test_mistakes_are_ours(redis_url: str, connect: Connect):
    redis = await connect(redis_url)
    await redis.call("SET", "a", "x", key="a")
    wrong = [
        redis.call("LPUSH", "a", 1, key="a"),
        redis.call("GET", key="a"),
        redis.call("NONSENSE", "a", key="a"),
        redis.run(Script("return redis.call('lpush', KEYS[1], 1)"), ["a"]),
        redis.run(Script("this is no Lua"), ["a"]),
        redis.run(Script("error('OOM in a text of ours')"), ["a"]),
    ]

    for call in wrong:
        with pytest.raises(Unexpected):
            await call
    assert redis.is_up
    assert redis.failures == 0


async def test_messages(redis_url: str, connect: Connect):
    redis, told = await connect(redis_url), list[str]()
    redis.subscribe("ai:keys", told.append, lambda: told.append("gap"))
    await until(lambda: told == ["gap"])

    for number in range(100):
        await redis.publish("ai:keys", f"{number}")
    await until(lambda: len(told) == 101)
    # Both connections, at once.
    await redis.each("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: told[101:] == ["gap"])
    await redis.publish("ai:keys", "after")

    await until(lambda: told[102:] == ["after"])
    assert told[1:101] == [f"{number}" for number in range(100)]


async def test_a_killed_server_that_comes_back_empty(own: RedisServer, connect: Connect):
    redis = await connect(own.url)
    await redis.run(COUNT, ["n"], [5])

    own.kill()
    await until(lambda: not redis.is_up)
    started_s = time.perf_counter()
    for _ in range(100):
        await refused(redis, "GET", "n")
    assert time.perf_counter() - started_s < 1.5
    own.start_again()
    started_s = time.perf_counter()
    await until(lambda: redis.is_up)

    assert time.perf_counter() - started_s < 2.0
    assert await redis.run(COUNT, ["n"], [1]) == b"1"


async def test_a_frozen_server_holds_nobody_and_its_late_replies_reach_nobody(own: RedisServer, connect: Connect):
    redis = await connect(own.url, timeout_s=0.2)
    for number in range(10):
        await redis.call("SET", f"k{number}", number, key="a")
    own.freeze()
    waits_s: list[float] = []

    async def ask(number: int) -> None:
        started_s = time.perf_counter()
        await refused(redis, "GET", f"k{number % 10}")
        waits_s.append(time.perf_counter() - started_s)
        await asyncio.sleep(random.uniform(0, 0.02))

    await asyncio.gather(*(ask(number) for number in range(50)))
    while redis.is_up:
        await ask(0)
    own.thaw()
    started_s = time.perf_counter()
    await until(lambda: redis.is_up)
    back_s = time.perf_counter() - started_s
    replies = await asyncio.gather(*(redis.call("GET", f"k{number}", key="a") for number in range(10)))

    assert max(waits_s) < 1.0
    assert back_s < 2.0
    assert replies == [b"%d" % number for number in range(10)]


async def test_replies_find_their_callers_whoever_leaves(own: RedisServer, connect: Connect):
    """Cancelled, given up, or patient: nobody ever gets another's reply."""
    redis = await connect(own.url, timeout_s=0.02)
    chance = random.Random(7)
    counts = {"answered": 0, "cancelled": 0, "late": 0}

    async def ask(number: int) -> None:
        patience_s = chance.choice((0.0, 0.001, 1.0))
        try:
            async with asyncio.timeout(patience_s):
                assert await redis.call("ECHO", f"{number}", key="a") == f"{number}".encode()
            counts["answered"] += 1
        except TimeoutError:
            counts["cancelled"] += 1
        except StoreUnavailable:
            counts["late"] += 1

    for turn in range(60):
        is_frozen = turn % 6 == 5
        if is_frozen:
            own.freeze()
        await asyncio.gather(*(ask(100 * turn + number) for number in range(50)))
        if is_frozen:
            own.thaw()
            await until(lambda: redis.is_up)

    assert min(counts.values()) > 0, counts


async def test_a_full_server(own: RedisServer, connect: Connect):
    redis = await connect(own.url)
    await redis.call("SET", "a", "kept", key="a")
    own.call("config", "set", "maxmemory", 1)

    with pytest.raises(StoreUnavailable) as wrapped:
        await redis.run(COUNT, ["n"], [1])

    assert "OOM" in str(wrapped.value.detail)
    assert "OOM" in await refused(redis, "SET", "a", 2)
    assert redis.is_up
    assert await redis.call("GET", "a", key="a") == b"kept"


async def test_a_server_that_becomes_a_replica_and_master_again(own: RedisServer, connect: Connect):
    redis = await connect(own.url, timeout_s=0.5)
    own.call("config", "set", "replica-serve-stale-data", "yes")
    own.call("replicaof", "127.0.0.1", 1)

    with pytest.raises(StoreUnavailable) as raised:
        await redis.run(COUNT, ["n"], [1])
    await asyncio.sleep(0.3)
    assert not redis.is_up
    assert "it is a replica" in await refused(redis, "SET", "n", 1)
    own.call("replicaof", "no", "one")
    await until(lambda: redis.is_up)

    assert "READONLY" in str(raised.value.detail)
    assert await redis.run(COUNT, ["n"], [1]) == b"1"


async def test_too_few_replicas(own: RedisServer, connect: Connect):
    redis = await connect(own.url)
    own.call("config", "set", "min-replicas-to-write", 1)

    assert "NOREPLICAS" in await refused(redis, "SET", "a", 1)
    with pytest.raises(StoreUnavailable):
        await redis.run(COUNT, ["n"], [1])

    assert redis.is_up
    assert await redis.call("GET", "a", key="a") is None


async def test_a_disk_that_cannot_be_written(own: RedisServer, connect: Connect):
    redis = await connect(own.url)
    own.call("set", "a", 1)
    own.call("config", "set", "save", "1 1")
    own.folder.joinpath("dump.rdb").mkdir()
    own.call("bgsave")
    await until(lambda: own.info("persistence")["rdb_last_bgsave_status"] == "err")

    assert "MISCONF" in await refused(redis, "SET", "a", 1)
    with pytest.raises(StoreUnavailable):
        await redis.run(COUNT, ["n"], [1])
    # Else it does not end.
    own.call("config", "set", "save", "")


async def test_a_wrong_password_and_then_the_right_one(own: RedisServer, connect: Connect):
    own.call("config", "set", "requirepass", "right")
    redis = await connect(own.url.replace("://", "://:wrong@"))
    assert "WRONGPASS" in await refused(redis, "GET", "a")

    nameless = await connect(own.url)
    assert "NOAUTH" in await refused(nameless, "GET", "a")

    good = await connect(own.url.replace("://", "://:right@"))
    assert await good.call("GET", "a", key="a") is None


async def test_a_database_that_does_not_exist(redis_server: RedisServer, connect: Connect):
    redis = await connect(f"redis://127.0.0.1:{redis_server.port}/99")

    assert "DB index is out of range" in await refused(redis, "GET", "a")


async def test_databases_are_apart(redis_url: str, connect: Connect):
    limits, cache = await connect(redis_url), await connect(redis_url.replace("/0", "/1"), name="cache")

    await limits.call("SET", "a", 1, key="a")

    assert await cache.call("GET", "a", key="a") is None


async def test_a_busy_script_is_waited_for_by_nobody(own: RedisServer, connect: Connect):
    redis = await connect(own.url, timeout_s=0.2)
    own.call("config", "set", "lua-time-limit", 20)
    endless = asyncio.ensure_future(redis.run(Script("while true do end"), ["a"]))

    with pytest.raises(StoreUnavailable):
        await endless
    started_s = time.perf_counter()
    await refused(redis, "GET", "a")
    assert time.perf_counter() - started_s < 1.0
    own.call("script", "kill")
    await until(lambda: redis.is_up)

    assert await redis.call("GET", "a", key="a") is None


@pytest.mark.slow
async def test_a_line_on_which_bytes_are_lost(redis_url: str, redis_server: RedisServer, connect: Connect):
    async with proxying(redis_server.port) as proxy:
        redis = await connect(f"redis://127.0.0.1:{proxy.port}", timeout_s=0.2)
        for way in Way:
            await proxy.half_open(way)
            started_s = time.perf_counter()
            # Nobody calls: it is found out all the same.
            await until(lambda: not redis.is_up)
            found_s = time.perf_counter() - started_s
            await proxy.heal()
            started_s = time.perf_counter()
            await until(lambda: redis.is_up)

            assert found_s < 6.0
            assert time.perf_counter() - started_s < 2.0
            assert await redis.call("ECHO", "x", key="a") == b"x"


async def test_a_slow_line(redis_url: str, redis_server: RedisServer, connect: Connect):
    async with proxying(redis_server.port) as proxy:
        redis = await connect(f"redis://127.0.0.1:{proxy.port}", timeout_s=0.2)
        await redis.call("SET", "large", b"x" * 20_000, key="a")
        for spoil in (proxy.latency(0.4), proxy.slow_bytes(2_000.0)):
            await spoil
            started_s = time.perf_counter()
            await refused(redis, "GET", "large")
            assert time.perf_counter() - started_s < 1.0
            await proxy.heal()
            await until(lambda: redis.is_up)
            async with asyncio.timeout(5):
                while not await has(redis, "large"):
                    await asyncio.sleep(0.01)


async def test_a_line_that_is_reset_and_cut(redis_url: str, redis_server: RedisServer, connect: Connect):
    async with proxying(redis_server.port) as proxy:
        redis = await connect(f"redis://127.0.0.1:{proxy.port}")
        await redis.call("SET", "a", 1, key="a")
        for _ in range(3):
            await proxy.reset()
            await until(lambda: redis.is_up)
            async with asyncio.timeout(5):
                while not await has(redis, "a"):
                    await asyncio.sleep(0.01)
        await proxy.cut()
        await until(lambda: not redis.is_up)
        await proxy.heal()
        await until(lambda: redis.is_up)

        assert await has(redis, "a")


async def has(redis: Redis, key: str) -> bool:
    try:
        return await redis.call("EXISTS", key, key=key) == 1
    except StoreUnavailable:
        return False
