"""Keys that are on several servers and move between them, over nodes that say what each test wants."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from aiservice.core.errors import StoreUnavailable, Unexpected
from aiservice.stores.redis import Redis, Script, address_of
from aiservice.stores.redis.cluster import SLOTS, slot_of
from tests.servers.scripted_redis import HOST, Command, Error, Later, ScriptedRedis, Silent
from tests.unit.stores.redis.waiting import Connect, until

pytestmark = pytest.mark.stores
# Keys of the first and the second half of the slots.
LOW, HIGH = "b", "a"


class ScriptedCluster:
    """Two masters, each with half of the slots, and a third that has none. `slots` is what they say of themselves."""

    def __init__(self, nodes: list[ScriptedRedis]) -> None:
        self.nodes = nodes
        self.map: list[tuple[int, int, ScriptedRedis]] = []
        self.looks = 0
        self.answers: dict[int, Callable[[Command], object]] = {}
        for number, node in enumerate(nodes):
            node.answer = lambda command, number=number: self._answer(number, command)

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in self.nodes[:2])

    def halve(self, low: ScriptedRedis, high: ScriptedRedis) -> None:
        self.map = [(0, SLOTS // 2 - 1, low), (SLOTS // 2, SLOTS - 1, high)]

    def place(self, number: int) -> str:
        return f"{HOST}:{self.nodes[number].port}"

    def heard(self, number: int) -> list[Command]:
        ignored = (b"CLUSTER", b"CLIENT")
        return [command for command in self.nodes[number].commands if command[0] not in ignored]

    def _answer(self, number: int, command: Command) -> object:
        if command[0] == b"CLUSTER":
            self.looks += 1
            return [[first, last, [HOST.encode(), node.port, b"id"]] for first, last, node in self.map]
        if command[0] == b"CLIENT":
            return "OK"
        return self.answers.get(number, lambda command: b"%d" % number)(command)


@pytest.fixture
def cluster() -> Iterator[ScriptedCluster]:
    with ExitStack() as stack:
        made = ScriptedCluster([stack.enter_context(ScriptedRedis()) for _ in range(3)])
        made.halve(*made.nodes[:2])
        yield made


@pytest.fixture
def moved(cluster: ScriptedCluster) -> Callable[[str], Error]:
    """What the first node says of a key that is on the third."""
    return lambda key: Error(f"MOVED {slot_of(key)} {cluster.place(2)}")


async def test_each_key_goes_to_its_owner(cluster: ScriptedCluster, connect: Connect):
    redis = await connect(cluster.url)

    replies = [await redis.call("GET", key, key=key) for key in (LOW, HIGH, f"{{{LOW}}}x", f"x{{{HIGH}}}")]

    assert redis.is_up
    assert replies == [b"0", b"1", b"0", b"1"]
    assert cluster.looks == 1
    assert cluster.nodes[2].connections == 0


async def test_a_key_that_has_moved_is_followed_and_the_topology_looked_at_again(
    cluster: ScriptedCluster, connect: Connect, moved: Callable[[str], Error]
):
    redis = await connect(cluster.url)
    cluster.answers[0] = lambda command: moved(LOW)
    cluster.halve(cluster.nodes[2], cluster.nodes[1])

    assert await redis.call("GET", LOW, key=LOW) == b"2"
    assert await redis.call("GET", LOW, key=LOW) == b"2"
    assert len(cluster.heard(0)) == 1
    await until(lambda: cluster.looks == 2)
    # The first has no slots any more, and its connection ends.
    await until(lambda: cluster.nodes[0].count_open == 0)
    assert redis.is_up
    assert redis.failures == 0


async def test_a_host_that_is_not_named_is_that_of_the_node_that_was_asked(cluster: ScriptedCluster, connect: Connect):
    redis = await connect(cluster.url)
    cluster.answers[0] = lambda command: Error(f"MOVED {slot_of(LOW)} :{cluster.nodes[2].port}")

    assert await redis.call("GET", LOW, key=LOW) == b"2"


async def test_a_key_on_its_way_is_asked_for_once(cluster: ScriptedCluster, connect: Connect):
    redis = await connect(cluster.url)
    cluster.answers[0] = lambda command: Error(f"ASK {slot_of(LOW)} {cluster.place(2)}")

    assert await redis.call("GET", LOW, key=LOW) == b"2"
    assert await redis.call("GET", LOW, key=LOW) == b"2"
    assert len(cluster.heard(0)) == 2
    assert cluster.heard(2) == [[b"ASKING"], [b"GET", LOW.encode()]] * 2
    assert cluster.looks == 1


async def test_a_script_that_was_asked_for_elsewhere_is_sent_there(cluster: ScriptedCluster, connect: Connect):
    redis = await connect(cluster.url)
    cluster.answers[0] = lambda command: Error(f"ASK {slot_of(LOW)} {cluster.place(2)}")
    cluster.answers[2] = lambda command: Error("NOSCRIPT No matching script.") if command[0] == b"EVALSHA" else 7

    assert await redis.run(Script("return 7"), [LOW]) == 7
    assert [command[0] for command in cluster.heard(2)] == [b"ASKING", b"EVALSHA", b"ASKING", b"EVAL"]


async def test_keys_of_a_script_that_are_in_two_places_are_tried_again(cluster: ScriptedCluster, connect: Connect):
    redis = await connect(cluster.url)
    replies = [*[Error("TRYAGAIN Multiple keys request during rehashing of slot")] * 6, b"done"]
    cluster.answers[0] = lambda command: replies.pop(0)

    assert await redis.call("GET", LOW, key=LOW) == b"done"
    assert redis.failures == 0


@pytest.mark.parametrize("error", ["MOVED {} {}", "ASK {} {}"])
async def test_a_circle_of_redirections_ends(cluster: ScriptedCluster, connect: Connect, error: str):
    redis = await connect(cluster.url, timeout_s=5.0)
    cluster.answers[0] = lambda command: Error(error.format(slot_of(LOW), cluster.place(1)))
    cluster.answers[1] = lambda command: Error(error.format(slot_of(LOW), cluster.place(0)))

    started_s = time.perf_counter()
    with pytest.raises(StoreUnavailable):
        await redis.call("GET", LOW, key=LOW)

    assert time.perf_counter() - started_s < 4.0
    assert redis.failures == 1


async def test_redirections_have_one_deadline(
    cluster: ScriptedCluster, connect: Connect, moved: Callable[[str], Error]
):
    redis = await connect(cluster.url, timeout_s=0.5)
    cluster.answers[0] = lambda command: Later(0.3, moved(LOW))
    cluster.answers[2] = lambda command: Silent()

    started_s = time.perf_counter()
    with pytest.raises(StoreUnavailable):
        await redis.call("GET", LOW, key=LOW)

    assert 0.49 <= time.perf_counter() - started_s < 0.75


async def test_a_redirection_to_nobody_ends_at_the_deadline(cluster: ScriptedCluster, connect: Connect):
    redis = await connect(cluster.url, timeout_s=0.2)
    cluster.nodes[2].stop()
    cluster.answers[0] = lambda command: Error(f"MOVED {slot_of(LOW)} {cluster.place(2)}")

    started_s = time.perf_counter()
    with pytest.raises(StoreUnavailable):
        await redis.call("GET", LOW, key=LOW)

    assert time.perf_counter() - started_s < 1.0


async def test_a_lost_node_is_replaced_and_the_others_go_on(cluster: ScriptedCluster, connect: Connect):
    redis = await connect(cluster.url)

    cluster.nodes[0].stop()
    with pytest.raises(StoreUnavailable):
        await redis.call("GET", LOW, key=LOW)
    assert not redis.is_up
    assert await redis.call("GET", HIGH, key=HIGH) == b"1"
    cluster.halve(cluster.nodes[2], cluster.nodes[1])
    await until(lambda: redis.is_up)

    assert await redis.call("GET", LOW, key=LOW) == b"2"


async def test_a_lost_node_that_comes_back_is_used_again(cluster: ScriptedCluster, connect: Connect):
    redis = await connect(cluster.url)

    cluster.nodes[0].stop()
    await until(lambda: not redis.is_up)
    cluster.nodes[0].listen()
    await until(lambda: redis.is_up)

    assert await redis.call("GET", LOW, key=LOW) == b"0"


async def test_a_cluster_that_is_down_is_looked_at_again(cluster: ScriptedCluster, connect: Connect):
    redis = await connect(cluster.url)
    cluster.answers[0] = lambda command: Error("CLUSTERDOWN The cluster is down")

    with pytest.raises(StoreUnavailable):
        await redis.call("GET", LOW, key=LOW)

    await until(lambda: cluster.looks == 2)


async def test_a_node_that_loads_is_left_until_it_is_ready(cluster: ScriptedCluster, connect: Connect):
    redis = await connect(cluster.url)
    replies = [Error("LOADING Redis is loading the dataset in memory"), b"ready"]
    cluster.answers[0] = lambda command: replies.pop(0)

    with pytest.raises(StoreUnavailable):
        await redis.call("GET", LOW, key=LOW)
    assert not redis.is_up
    await until(lambda: redis.is_up)

    assert await redis.call("GET", LOW, key=LOW) == b"ready"
    assert cluster.nodes[0].connections >= 2


async def test_a_node_that_is_replaced_is_said_to_be(
    cluster: ScriptedCluster, connect: Connect, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    redis = await connect(cluster.url)

    cluster.nodes[0].stop()
    await until(lambda: not redis.is_up)
    cluster.halve(cluster.nodes[2], cluster.nodes[1])
    await until(lambda: redis.is_up)

    said = [(record.message, vars(record)["redis"]) for record in caplog.records if "Redis" in record.message]
    name = f"limits {HOST}:{cluster.nodes[0].port}"
    assert said == [("Redis is away", name), ("Redis has been replaced", name)]


async def test_a_slot_without_a_master_is_unavailable(cluster: ScriptedCluster, connect: Connect):
    cluster.map = [(0, SLOTS // 2 - 1, cluster.nodes[0])]
    redis = await connect(cluster.url)

    with pytest.raises(StoreUnavailable) as raised:
        await redis.call("GET", HIGH, key=HIGH)
    assert "no node of the cluster limits has the key's slot" in str(raised.value.detail)
    assert not redis.is_up
    assert await redis.call("GET", LOW, key=LOW) == b"0"

    cluster.halve(*cluster.nodes[:2])
    await until(lambda: redis.is_up)
    assert await redis.call("GET", HIGH, key=HIGH) == b"1"


@pytest.mark.parametrize("number_away", [0, 1])
async def test_one_living_node_of_the_address_is_enough(cluster: ScriptedCluster, connect: Connect, number_away: int):
    cluster.nodes[number_away].stop()
    cluster.map = [(0, SLOTS - 1, cluster.nodes[1 - number_away])]

    redis = await connect(cluster.url)

    assert await redis.call("GET", LOW, key=LOW) == b"%d" % (1 - number_away)


async def test_a_cluster_that_is_away_does_not_stop_the_start(cluster: ScriptedCluster, connect: Connect):
    for node in cluster.nodes:
        node.stop()

    redis = await connect(cluster.url)
    with pytest.raises(StoreUnavailable) as raised:
        await redis.call("GET", LOW, key=LOW)
    with pytest.raises(StoreUnavailable):
        await redis.publish("ai:keys", "x")
    assert "no node of the cluster answered" in str(raised.value.detail)

    for node in cluster.nodes:
        node.listen()
    await until(lambda: redis.is_up)


async def test_a_single_server_is_no_cluster(cluster: ScriptedCluster, connect: Connect):
    for node in cluster.nodes:
        node.answer = lambda command: Error("ERR This instance has cluster support disabled")

    redis = await connect(cluster.url)

    with pytest.raises(StoreUnavailable) as raised:
        await redis.call("GET", LOW, key=LOW)
    assert "no node of the cluster answered" in str(raised.value.detail)


async def test_our_own_mistakes_are_unexpected(cluster: ScriptedCluster, connect: Connect):
    redis = await connect(cluster.url)
    cluster.answers[0] = lambda command: Error("CROSSSLOT Keys in request don't hash to the same slot")

    with pytest.raises(Unexpected):
        await redis.call("GET", LOW, key=LOW)

    assert redis.failures == 0


async def test_any_living_node_publishes_and_is_listened_to(cluster: ScriptedCluster, connect: Connect):
    redis = await connect(cluster.url)
    told: list[str] = []
    redis.subscribe("ai:keys", told.append, lambda: told.append("gap"))
    await until(lambda: told == ["gap"])
    listened = next(node for node in cluster.nodes if node.listeners("ai:keys"))

    listened.stop()
    await until(lambda: told == ["gap", "gap"])
    await redis.publish("ai:keys", "kid")

    published = [command for number in range(2) for command in cluster.heard(number)]
    assert published == [[b"PUBLISH", b"ai:keys", b"kid"]]


async def test_each_asks_every_node(cluster: ScriptedCluster, connect: Connect):
    redis = await connect(cluster.url)

    assert sorted(await redis.each("INFO"), key=str) == [b"0", b"1"]


async def test_closing_at_any_moment(cluster: ScriptedCluster):
    before = asyncio.all_tasks()

    for step in range(12):
        redis = Redis(address_of(cluster.url), timeout_s=0.05, name="limits")
        starting = asyncio.create_task(redis.start())
        await asyncio.sleep(step * 0.002)
        async with asyncio.timeout(10):
            await redis.aclose()
        starting.cancel()
        await asyncio.wait({starting})

    await until(lambda: asyncio.all_tasks() == before)
    await until(lambda: sum(node.count_open for node in cluster.nodes) == 0)


async def test_nothing_is_left_running(cluster: ScriptedCluster, connect: Connect, moved: Callable[[str], Error]):
    before = asyncio.all_tasks()
    redis: Redis = await connect(cluster.url)
    cluster.answers[0] = lambda command: moved(LOW)
    await redis.call("GET", LOW, key=LOW)

    await redis.aclose()

    await until(lambda: asyncio.all_tasks() == before)
    await until(lambda: sum(node.count_open for node in cluster.nodes) == 0)
