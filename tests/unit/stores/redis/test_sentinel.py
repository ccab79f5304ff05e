"""A master that sentinels know, over servers that say what each test wants."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from aiservice.core.errors import StoreUnavailable
from tests.servers.scripted_redis import HOST, Command, Error, ScriptedRedis
from tests.unit.stores.redis.waiting import Connect, until

pytestmark = pytest.mark.stores


class ScriptedSentinels:
    """Two sentinels over two servers, of which the first is master."""

    def __init__(self, sentinels: list[ScriptedRedis], servers: list[ScriptedRedis]) -> None:
        self.sentinels = sentinels
        self.servers = servers
        self.master = servers[0]
        self.flags = "master"
        for sentinel in sentinels:
            sentinel.answer = self._answer
        for number, server in enumerate(servers):
            server.answer = lambda command, number=number: b"%d" % number

    @property
    def url(self) -> str:
        return "redis+sentinel://" + ",".join(f"{HOST}:{node.port}" for node in self.sentinels) + "/main/1"

    def promote(self, number: int) -> None:
        for other, server in enumerate(self.servers):
            server.role = "master" if other == number else "replica"
        self.master = self.servers[number]

    def _answer(self, command: Command) -> object:
        if command[0] != b"SENTINEL":
            return "OK"
        facts = {"name": "main", "ip": HOST, "port": str(self.master.port), "flags": self.flags}
        counts = {"num-other-sentinels": "1", "num-slaves": "1", "quorum": "1"}
        return [[part.encode() for fact in {**facts, **counts}.items() for part in fact]]


@pytest.fixture
def cluster() -> Iterator[ScriptedSentinels]:
    with ExitStack() as stack:
        nodes = [stack.enter_context(ScriptedRedis()) for _ in range(4)]
        made = ScriptedSentinels(nodes[:2], nodes[2:])
        made.promote(0)
        yield made


async def test_calls_go_to_the_master_in_the_database_of_the_address(cluster: ScriptedSentinels, connect: Connect):
    redis = await connect(cluster.url)

    assert await redis.call("GET", "a", key="a") == b"0"
    assert [b"SELECT", b"1"] in cluster.servers[0].greetings
    assert cluster.servers[1].connections == 0


async def test_a_lost_master_is_looked_for(cluster: ScriptedSentinels, connect: Connect):
    redis = await connect(cluster.url)

    cluster.servers[0].stop()
    await until(lambda: not redis.is_up)
    cluster.promote(1)
    await until(lambda: redis.is_up)

    assert await redis.call("GET", "a", key="a") == b"1"


async def test_a_master_that_has_become_a_replica_is_left(cluster: ScriptedSentinels, connect: Connect):
    redis = await connect(cluster.url)
    cluster.promote(1)
    cluster.servers[0].answer = lambda command: Error("READONLY You can't write against a read only replica.")

    with pytest.raises(StoreUnavailable):
        await redis.call("SET", "a", 1, key="a")
    await until(lambda: redis.is_up)

    assert await redis.call("GET", "a", key="a") == b"1"


async def test_one_living_sentinel_is_enough(cluster: ScriptedSentinels, connect: Connect):
    cluster.sentinels[0].stop()

    redis = await connect(cluster.url)
    await until(lambda: redis.is_up)

    assert await redis.call("GET", "a", key="a") == b"0"


@pytest.mark.parametrize("flags", ["master,s_down", "master,s_down,o_down", "slave"])
async def test_a_master_that_the_sentinels_miss_is_not_used(cluster: ScriptedSentinels, connect: Connect, flags: str):
    cluster.flags = flags
    redis = await connect(cluster.url)

    with pytest.raises(StoreUnavailable) as raised:
        await redis.call("GET", "a", key="a")
    cluster.flags = "master"
    await until(lambda: redis.is_up)

    assert "the sentinels know no living master" in str(raised.value.detail)


async def test_a_service_that_they_do_not_know(cluster: ScriptedSentinels, connect: Connect):
    redis = await connect(cluster.url.replace("/main/", "/other/"))

    with pytest.raises(StoreUnavailable) as raised:
        await redis.call("GET", "a", key="a")

    assert "No master found for 'other'" in str(raised.value.detail)


async def test_the_login_of_the_sentinels_is_their_own(cluster: ScriptedSentinels, connect: Connect):
    url = cluster.url.replace("://", "://:servers@") + "?sentinel_password=sentinels"

    redis = await connect(url)
    await until(lambda: redis.is_up)

    asked = [command for sentinel in cluster.sentinels for command in sentinel.commands if command[0] == b"AUTH"]
    assert asked[0] == [b"AUTH", b"sentinels"]
    assert b"servers" in cluster.servers[0].greetings[0]
    assert not any(b"servers" in command for sentinel in cluster.sentinels for command in sentinel.commands)


async def test_listening_follows_the_master(cluster: ScriptedSentinels, connect: Connect):
    redis = await connect(cluster.url)
    told: list[str] = []
    redis.subscribe("ai:keys", told.append, lambda: told.append("gap"))
    await until(lambda: told == ["gap"])

    cluster.servers[0].stop()
    cluster.promote(1)
    await until(lambda: told == ["gap", "gap"])
    cluster.servers[1].publish("ai:keys", "kid")

    await until(lambda: told == ["gap", "gap", "kid"])
