"""Messages, gaps, and listeners that come and go."""

import asyncio
import time

import pytest

from aiservice.core.errors import StoreUnavailable
from aiservice.stores.redis import Redis, address_of
from tests.servers.scripted_redis import ScriptedRedis
from tests.unit.stores.redis.waiting import Connect, until

pytestmark = pytest.mark.stores
GAP = "gap"


def listen(redis: Redis, channel: str = "ai:keys") -> list[str]:
    """All that its listener is told, in order."""
    told: list[str] = []
    redis.subscribe(channel, told.append, lambda: told.append(GAP))
    return told


async def test_messages_are_heard_in_order(server: ScriptedRedis, connect: Connect):
    told = listen(await connect(server.url))
    await until(lambda: told == [GAP])

    for message in ("one", "", "dré", "one"):
        server.publish("ai:keys", message)
    server.publish("ai:other", "nobody")

    await until(lambda: told == [GAP, "one", "", "dré", "one"])


async def test_listening_before_the_start(server: ScriptedRedis):
    redis = Redis(address_of(server.url), timeout_s=0.05, name="limits")
    told = listen(redis)

    await redis.start()
    await until(lambda: told == [GAP])
    server.publish("ai:keys", "one")
    await until(lambda: told == [GAP, "one"])
    await redis.aclose()


async def test_channels_share_a_connection(server: ScriptedRedis, connect: Connect):
    redis = await connect(server.url)

    keys, rules = listen(redis), listen(redis, "ai:rules")
    await until(lambda: keys == rules == [GAP])
    again = listen(redis)
    await until(lambda: again == [GAP])
    server.publish("ai:rules", "rule")
    server.publish("ai:keys", "key")
    await until(lambda: keys == again == [GAP, "key"])

    assert rules == [GAP, "rule"]
    assert server.connections == 2
    assert [command[-1] for command in server.greetings if command[0] == b"HELLO"] == [
        b"aiservice-limits",
        b"aiservice-limits-events",
    ]


async def test_after_a_cut_it_listens_again_and_says_so(server: ScriptedRedis, connect: Connect):
    redis = await connect(server.url)
    told = listen(redis)
    await until(lambda: told == [GAP])

    server.cut()
    await until(lambda: told == [GAP, GAP])
    server.publish("ai:keys", "after")

    await until(lambda: told == [GAP, GAP, "after"])


async def test_no_gap_is_said_while_it_cannot_listen(server: ScriptedRedis, connect: Connect):
    redis = await connect(server.url)
    told = listen(redis)
    await until(lambda: told == [GAP])

    server.stop()
    await asyncio.sleep(0.4)
    assert told == [GAP]

    server.listen()
    await until(lambda: told == [GAP, GAP])


@pytest.mark.slow
async def test_a_silent_connection_is_found_out(server: ScriptedRedis, connect: Connect):
    redis = await connect(server.url)
    told = listen(redis)
    await until(lambda: told == [GAP])

    server.is_frozen = True
    started_s = time.perf_counter()
    await until(lambda: server.connections >= 4)
    server.is_frozen = False
    await until(lambda: told == [GAP, GAP])

    assert 1.0 < time.perf_counter() - started_s < 6.0


@pytest.mark.slow
async def test_a_quiet_connection_is_kept(server: ScriptedRedis, connect: Connect):
    told = listen(await connect(server.url))
    await until(lambda: told == [GAP])

    await asyncio.sleep(2.5)
    server.publish("ai:keys", "still here")

    await until(lambda: told == [GAP, "still here"])
    assert server.connections == 2


async def test_who_closed_hears_nothing(server: ScriptedRedis, connect: Connect):
    redis = await connect(server.url)
    told: list[str] = []
    subscription = redis.subscribe("ai:keys", told.append, lambda: told.append(GAP))
    others = listen(redis, "ai:rules")
    await until(lambda: told == others == [GAP])

    subscription.close()
    subscription.close()
    await until(lambda: not server.listeners("ai:keys"))
    server.publish("ai:keys", "unheard")
    server.publish("ai:rules", "heard")
    await until(lambda: others == [GAP, "heard"])

    assert told == [GAP]


async def test_one_of_two_listeners_closes(server: ScriptedRedis, connect: Connect):
    redis = await connect(server.url)
    first = redis.subscribe("ai:keys", lambda message: None, lambda: None)
    told = listen(redis)
    await until(lambda: told == [GAP])

    first.close()
    server.publish("ai:keys", "heard")

    await until(lambda: told == [GAP, "heard"])


async def test_a_channel_is_listened_to_again(server: ScriptedRedis, connect: Connect):
    redis = await connect(server.url)
    first = redis.subscribe("ai:keys", lambda message: None, lambda: None)
    await until(lambda: server.listeners("ai:keys"))
    first.close()

    told = listen(redis)
    await until(lambda: told == [GAP])
    server.publish("ai:keys", "heard")

    await until(lambda: told == [GAP, "heard"])


async def test_a_listener_that_raises_harms_nobody(server: ScriptedRedis, connect: Connect):
    mistakes: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: mistakes.append(context["exception"]))
    redis = await connect(server.url)

    def fail(message: str) -> None:
        raise ValueError(message)

    redis.subscribe("ai:keys", fail, lambda: None)
    told = listen(redis)
    await until(lambda: told == [GAP])
    server.publish("ai:keys", "one")
    server.publish("ai:keys", "two")
    await until(lambda: told == [GAP, "one", "two"])

    assert [str(mistake) for mistake in mistakes] == ["one", "two"]
    assert server.connections == 2


async def test_a_server_that_does_not_let_us_listen(server: ScriptedRedis, connect: Connect):
    server.denied.add(b"SUBSCRIBE")
    redis = await connect(server.url)
    told = listen(redis)
    await until(lambda: server.connections >= 3)
    assert told == []

    server.denied.clear()
    await until(lambda: told == [GAP])


async def test_a_channel_that_was_left_while_away(server: ScriptedRedis, connect: Connect):
    redis = await connect(server.url)
    subscription = redis.subscribe("ai:keys", lambda message: None, lambda: None)
    await until(lambda: server.listeners("ai:keys") == 1)
    server.stop()

    subscription.close()
    told = listen(redis, "ai:rules")
    server.listen()
    await until(lambda: told == [GAP])

    assert server.listeners("ai:keys") == 0


async def test_publishing(server: ScriptedRedis, connect: Connect):
    server.answer = lambda command: 1
    redis = await connect(server.url)

    await redis.publish("ai:keys", "kid")
    server.stop()
    await until(lambda: not redis.is_up)
    with pytest.raises(StoreUnavailable):
        await redis.publish("ai:keys", "kid")

    assert server.commands == [[b"PUBLISH", b"ai:keys", b"kid"]]
    assert redis.failures == 1
