"""Calls, replies and their order, over a server that says what each test wants."""

import asyncio

import pytest

from aiservice.core.errors import Unexpected
from aiservice.stores.redis import Redis, Script, address_of
from tests.servers.scripted_redis import Error, Raw, Reset, ScriptedRedis, Silent
from tests.unit.stores.redis.waiting import Connect, echo, failure, until

pytestmark = pytest.mark.stores


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("OK", b"OK"),
        (7, 7),
        (0, 0),
        (None, None),
        (b"", b""),
        (b"\x00\xff\r\n", b"\x00\xff\r\n"),
        ([], []),
        ([1, [b"a", None], b"b"], [1, [b"a", None], b"b"]),
        (Raw([b"*-1\r\n"]), None),
        (b"x" * 1_000_000, b"x" * 1_000_000),
    ],
)
async def test_replies_come_as_they_are(server: ScriptedRedis, connect: Connect, reply: object, value: object):
    server.answer = lambda command: reply
    redis = await connect(server.url, timeout_s=2.0)

    assert await redis.call("GET", "a", key="a") == value


async def test_commands_are_packed_whatever_they_hold(server: ScriptedRedis, connect: Connect):
    redis = await connect(server.url)

    await redis.call("SET", "ключ", b"\x00\r\n", 42, key="ключ")

    assert server.commands == [[b"SET", "ключ".encode(), b"\x00\r\n", b"42"]]


async def test_commands_of_a_turn_go_out_in_one_write(server: ScriptedRedis, connect: Connect):
    server.answer = echo
    redis = await connect(server.url)

    replies = await asyncio.gather(*(redis.call("GET", number, key="a") for number in range(64)))

    assert replies == [b"%d" % number for number in range(64)]
    assert server.batches == [64]
    assert server.connections == 1


async def test_replies_in_any_pieces_find_their_callers(server: ScriptedRedis, connect: Connect):
    server.answer = lambda command: Raw([b"$%d\r\n" % len(command[-1]), command[-1][:1], command[-1][1:] + b"\r\n"])
    redis = await connect(server.url)

    calls = [redis.call("GET", f"key-{number}", key="a") for number in range(20)]

    assert await asyncio.gather(*calls) == [b"key-%d" % number for number in range(20)]


async def test_greeting_sets_database_name_and_login(server: ScriptedRedis, connect: Connect):
    await connect(f"redis://user:p%40ss@127.0.0.1:{server.port}/3", name="cache")

    assert server.greetings == [
        [b"HELLO", b"2", b"AUTH", b"user", b"p@ss", b"SETNAME", b"aiservice-cache"],
        [b"SELECT", b"3"],
        [b"PING"],
    ]


async def test_a_password_without_a_name_is_the_default_user_s(server: ScriptedRedis, connect: Connect):
    await connect(f"redis://:secret@127.0.0.1:{server.port}")

    assert server.greetings[0] == [b"HELLO", b"2", b"AUTH", b"default", b"secret", b"SETNAME", b"aiservice-limits"]


async def test_a_name_without_a_password(server: ScriptedRedis, connect: Connect):
    await connect(f"redis://me@127.0.0.1:{server.port}")

    assert server.greetings[0] == [b"HELLO", b"2", b"AUTH", b"me", b"", b"SETNAME", b"aiservice-limits"]


async def test_before_start_calls_fail_at_once(server: ScriptedRedis):
    redis = Redis(address_of(server.url), timeout_s=5.0, name="limits")

    said, after_s = await failure(redis.call("GET", "a", key="a"))

    assert not redis.is_up
    assert redis.failures == 1
    assert "not connected yet" in said
    assert after_s < 1.0


def test_a_client_is_made_without_a_loop():
    redis = Redis(address_of("redis://127.0.0.1:1"), timeout_s=0.05, name="limits")

    assert not redis.is_up


async def test_a_server_that_is_away_does_not_stop_the_start(connect: Connect, server: ScriptedRedis):
    server.stop()

    redis = await connect(server.url)

    assert not redis.is_up
    said, after_s = await failure(redis.call("GET", "a", key="a"))
    assert "limits is away" in said
    assert "refused" in said.lower()
    assert after_s < 1.0


@pytest.mark.parametrize(
    "end",
    [
        Reset(),
        Raw([], is_last=True),
        Raw([b"$10\r\nabc"], is_last=True),
        Raw([b"*3\r\n:1\r\n"], is_last=True),
        Raw([b"+O"], is_last=True),
    ],
    ids=["reset", "closed", "in a string", "in an array", "in a status"],
)
async def test_a_connection_that_ends_in_a_reply_fails_the_call_and_is_made_anew(
    server: ScriptedRedis, connect: Connect, end: object
):
    replies = [end]
    server.answer = lambda command: replies.pop() if replies else command[-1]
    redis = await connect(server.url, timeout_s=1.0)

    said, after_s = await failure(redis.call("GET", "a", key="a"))
    is_up_then = redis.is_up
    await until(lambda: redis.is_up)

    assert not is_up_then
    assert after_s < 0.5
    assert "Redis: " in said
    assert await redis.call("GET", "again", key="a") == b"again"
    assert server.connections == 2


async def test_a_lost_call_is_not_sent_again(server: ScriptedRedis, connect: Connect):
    server.answer = lambda command: Reset()
    redis = await connect(server.url, timeout_s=1.0)

    await failure(redis.call("INCR", "a", key="a"))
    await until(lambda: redis.is_up)

    assert server.commands == [[b"INCR", b"a"]]


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x01\x02\r\n", b"$abc\r\n"])
async def test_what_is_not_redis_ends_the_connection(server: ScriptedRedis, connect: Connect, garbage: bytes):
    server.answer = lambda command: Raw([garbage])
    redis = await connect(server.url, timeout_s=1.0)

    said, after_s = await failure(redis.call("GET", "a", key="a"))

    assert "not Redis's protocol" in said
    assert after_s < 0.5


async def test_a_reply_that_nobody_asked_for_ends_the_connection(server: ScriptedRedis, connect: Connect):
    server.answer = echo
    redis = await connect(server.url)

    server.say(b"+what\r\n")
    await until(lambda: server.connections == 2)
    await until(lambda: redis.is_up)

    assert await redis.call("GET", "a", key="a") == b"a"


async def test_closing_fails_what_waits(server: ScriptedRedis, connect: Connect):
    server.answer = lambda command: Silent()
    redis = await connect(server.url, timeout_s=5.0)
    calls = [asyncio.ensure_future(redis.call("GET", "a", key="a")) for _ in range(3)]
    await until(lambda: len(server.commands) == 3)

    await redis.aclose()

    for call in calls:
        said, after_s = await failure(call)
        assert said == "Redis: closed"
        assert after_s < 0.5
    assert (await failure(redis.call("GET", "a", key="a")))[0] == "Redis: limits is away: closed"
    assert not redis.is_up


async def test_what_was_said_before_closing_is_sent(server: ScriptedRedis, connect: Connect):
    server.answer = lambda command: Silent()
    redis = await connect(server.url)
    call = asyncio.ensure_future(redis.publish("ai:keys", "last words"))
    await asyncio.sleep(0)

    await redis.aclose()

    await failure(call)
    await until(lambda: server.commands == [[b"PUBLISH", b"ai:keys", b"last words"]])


async def test_closing_twice_and_unstarted(server: ScriptedRedis, connect: Connect):
    redis = await connect(server.url)

    await redis.aclose()
    await redis.aclose()
    await Redis(address_of(server.url), timeout_s=0.05, name="limits").aclose()

    assert server.connections == 1


@pytest.mark.parametrize(
    "text",
    [
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "MISCONF Redis is configured to save RDB snapshots, but it is currently not able to persist on disk.",
        "NOREPLICAS Not enough good replicas to write.",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "NOPERM this user has no permissions to run the 'get' command or its subcommand",
        "CLUSTERDOWN The cluster is down",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM command not allowed when used",
        "ERR max number of clients reached",
    ],
)
async def test_an_error_that_passes_is_unavailable(server: ScriptedRedis, connect: Connect, text: str):
    server.answer = lambda command: Error(text)
    redis = await connect(server.url)

    said, _ = await failure(redis.call("GET", "a", key="a"))

    assert said == f"Redis: {text}"[:207]
    assert redis.is_up
    assert redis.failures == 1


@pytest.mark.parametrize(
    "text",
    [
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR syntax error",
        "ERR unknown command `GETT`, with args beginning with: `a`, ",
        "CROSSSLOT Keys in request don't hash to the same slot",
        "ERR Error running script (call to f_1): @user_script:1: user_script:1: attempt to call a nil value",
        "ERR value is not an integer or out of range",
    ],
)
async def test_an_error_of_ours_is_unexpected(server: ScriptedRedis, connect: Connect, text: str):
    server.answer = lambda command: Error(text)
    redis = await connect(server.url)

    with pytest.raises(Unexpected) as raised:
        await redis.call("GET", "a", key="a")

    assert raised.value.detail == f"Redis: {text}"
    assert redis.is_up
    assert redis.failures == 0


@pytest.mark.parametrize(
    "text",
    [
        "READONLY You can't write against a read only replica.",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "NOAUTH Authentication required.",
        "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write",
    ],
)
async def test_a_server_that_is_the_wrong_one_now_is_left(server: ScriptedRedis, connect: Connect, text: str):
    errors = [Error(text)]
    server.answer = lambda command: errors.pop() if errors else b"fine"
    redis = await connect(server.url)

    said, _ = await failure(redis.call("GET", "a", key="a"))
    await until(lambda: redis.is_up)

    assert said == f"Redis: {text}"
    assert await redis.call("GET", "a", key="a") == b"fine"
    assert server.connections == 2


async def test_a_replica_is_not_used_until_it_is_master(server: ScriptedRedis, connect: Connect):
    server.role = "replica"
    redis = await connect(server.url)

    said, _ = await failure(redis.call("SET", "a", 1, key="a"))
    server.role = "master"
    await until(lambda: redis.is_up)

    assert "it is a replica, which takes no writes" in said
    assert server.commands == []


async def test_a_script_is_called_by_its_digest(server: ScriptedRedis, connect: Connect):
    server.answer = lambda command: [1, 2]
    redis = await connect(server.url)
    script = Script("return {1, 2}")

    assert await redis.run(script, ["{t}a", "{t}b"], [3, "x", b"y"]) == [1, 2]
    assert server.commands == [[b"EVALSHA", script.sha.encode(), b"2", b"{t}a", b"{t}b", b"3", b"x", b"y"]]


async def test_a_script_that_redis_does_not_know_is_sent(server: ScriptedRedis, connect: Connect):
    def answer(command: list[bytes]) -> object:
        is_known = command[0] == b"EVAL"
        return 5 if is_known else Error("NOSCRIPT No matching script. Please use EVAL.")

    server.answer = answer
    redis = await connect(server.url)

    assert await redis.run(Script("return 5"), ["a"], [1]) == 5
    assert server.commands[1:] == [[b"EVAL", b"return 5", b"1", b"a", b"1"]]
    assert redis.failures == 0


async def test_errors_to_those_who_publish_or_ask_everybody(server: ScriptedRedis, connect: Connect):
    redis = await connect(server.url)

    server.answer = lambda command: Error("ERR syntax error")
    for call in (redis.publish("ai:keys", "x"), redis.each("INFO")):
        with pytest.raises(Unexpected):
            await call
    server.answer = lambda command: Error("NOPERM no")
    await failure(redis.publish("ai:keys", "x"))
    await failure(redis.each("INFO"))

    assert redis.failures == 2


async def test_each_asks_every_server(server: ScriptedRedis, connect: Connect):
    server.answer = echo
    redis = await connect(server.url)

    assert await redis.each("INFO", "memory") == [b"memory"]
