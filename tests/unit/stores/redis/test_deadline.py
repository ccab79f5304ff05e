"""Deadlines and places in the queue: who waits, who has left, and a loop that stood still."""

import asyncio
import time

import pytest

from aiservice.core.errors import StoreUnavailable
from aiservice.stores.redis import Script
from tests.servers.scripted_redis import Error, Later, Raw, ScriptedRedis, Silent
from tests.unit.stores.redis.waiting import Connect, echo, failure, until

pytestmark = pytest.mark.stores


async def test_no_reply_is_an_error_at_the_deadline(server: ScriptedRedis, connect: Connect):
    server.answer = lambda command: Silent()
    redis = await connect(server.url, timeout_s=0.05)

    said, after_s = await failure(redis.call("GET", "a", key="a"))

    assert said == "Redis: no reply within 50 ms"
    assert 0.045 <= after_s < 1.0
    assert redis.is_up
    assert redis.failures == 1


async def test_each_call_has_a_deadline_of_its_own(server: ScriptedRedis, connect: Connect):
    server.answer = lambda command: Silent()
    redis = await connect(server.url, timeout_s=0.6)

    async def later(delay_s: float) -> float:
        await asyncio.sleep(delay_s)
        return (await failure(redis.call("GET", "a", key="a")))[1]

    waits_s = await asyncio.gather(later(0.0), later(0.3), later(0.45))

    assert [0.59 <= wait_s < 0.85 for wait_s in waits_s] == [True, True, True], waits_s


async def test_a_late_reply_goes_to_nobody_else(server: ScriptedRedis, connect: Connect):
    delays_s = {b"slow": 0.5}
    server.answer = lambda command: Later(delays_s.get(command[-1], 0.0), command[-1])
    redis = await connect(server.url, timeout_s=0.3)

    await failure(redis.call("GET", "slow", key="a"))
    replies = await asyncio.gather(
        *(redis.call("GET", f"{number}", key="a") for number in range(3)), return_exceptions=True
    )
    await asyncio.sleep(0.4)

    assert all(
        reply in (b"%d" % number,) or isinstance(reply, StoreUnavailable) for number, reply in enumerate(replies)
    )
    assert await redis.call("GET", "last", key="a") == b"last"
    assert server.connections == 1


async def test_a_cancelled_caller_leaves_its_place_in_the_queue(server: ScriptedRedis, connect: Connect):
    server.answer = lambda command: Later(0.01, command[-1])
    redis = await connect(server.url, timeout_s=1.0)

    calls = [asyncio.ensure_future(redis.call("GET", f"{number}", key="a")) for number in range(6)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    replies = await asyncio.gather(*calls, return_exceptions=True)

    assert replies[1::2] == [b"1", b"3", b"5"]
    assert all(isinstance(reply, asyncio.CancelledError) for reply in replies[::2])
    assert await redis.call("GET", "after", key="a") == b"after"
    assert redis.failures == 0


async def test_bytes_that_trickle_do_not_prolong_the_deadline(server: ScriptedRedis, connect: Connect):
    server.answer = lambda command: Raw([b"$100\r\n", *[b"x"] * 100], pause_s=0.01)
    redis = await connect(server.url, timeout_s=0.05)

    _, after_s = await failure(redis.call("GET", "a", key="a"))

    assert 0.045 <= after_s < 0.9


async def test_what_is_in_the_socket_when_the_loop_goes_on_is_in_time(server: ScriptedRedis, connect: Connect):
    server.answer = echo
    redis = await connect(server.url, timeout_s=0.3)
    calls = [asyncio.ensure_future(redis.call("GET", f"{number}", key="a")) for number in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    time.sleep(0.8)

    assert await asyncio.gather(*calls) == [b"0", b"1", b"2"]
    assert redis.failures == 0


async def test_a_large_reply_in_the_socket_is_in_time(server: ScriptedRedis, connect: Connect):
    server.answer = lambda command: b"x" * 900_000
    redis = await connect(server.url, timeout_s=0.3)
    call = asyncio.ensure_future(redis.call("GET", "a", key="a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    time.sleep(0.8)

    assert len(await call) == 900_000


async def test_what_comes_after_the_loop_went_on_is_late(server: ScriptedRedis, connect: Connect):
    server.answer = lambda command: Later(0.4, b"late")
    redis = await connect(server.url, timeout_s=0.05)
    call = asyncio.ensure_future(redis.call("GET", "a", key="a"))
    await until(lambda: len(server.commands) == 1)

    time.sleep(0.2)

    await failure(call)


async def test_too_much_that_cannot_be_sent_is_refused_at_once(server: ScriptedRedis, connect: Connect):
    redis = await connect(server.url, timeout_s=5.0)
    stall = Raw([b"+OK\r\n"])

    def block(command: list[bytes]) -> object:
        time.sleep(0.5)
        return stall

    server.answer = block
    large = b"x" * 4_000_000
    calls = [asyncio.ensure_future(redis.call("SET", "a", large, key="a")) for _ in range(8)]
    await asyncio.sleep(0.05)

    said, after_s = await failure(redis.call("SET", "a", large, key="a"))
    for call in calls:
        call.cancel()

    assert said == "Redis: too much waits to be sent"
    assert after_s < 1.0


async def test_sending_a_script_has_what_is_left_of_the_deadline(server: ScriptedRedis, connect: Connect):
    def answer(command: list[bytes]) -> object:
        return Silent() if command[0] == b"EVAL" else Later(0.24, Error("NOSCRIPT No matching script."))

    server.answer = answer
    redis = await connect(server.url, timeout_s=0.4)

    _, after_s = await failure(redis.run(Script("return 5"), ["a"]))

    assert 0.39 <= after_s < 0.6
    assert redis.failures == 1
