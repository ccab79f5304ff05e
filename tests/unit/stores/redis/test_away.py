"""When a server counts as away, how it is found again, and what is said of it."""

import asyncio
import logging
import time

import pytest

from aiservice.core.errors import StoreUnavailable
from aiservice.stores.redis import Redis
from tests.servers.scripted_redis import Later, Raw, Reset, ScriptedRedis
from tests.unit.stores.redis.waiting import Connect, echo, until

pytestmark = pytest.mark.stores


async def is_answered(redis: Redis) -> bool:
    try:
        return await redis.call("GET", "x", key="a") == b"x"
    except StoreUnavailable:
        return False


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name.startswith("aiservice.stores.redis")]


async def test_three_misses_in_a_row_open_the_breaker(server: ScriptedRedis, connect: Connect):
    server.answer = echo
    redis = await connect(server.url, timeout_s=0.2)
    server.is_frozen = True

    answers = [await is_answered(redis) for _ in range(3)]
    started_s = time.perf_counter()
    fourth = await is_answered(redis)

    assert not any(answers)
    assert not fourth
    assert time.perf_counter() - started_s < 0.15
    assert not redis.is_up


async def test_a_reply_between_misses_starts_the_count_again(server: ScriptedRedis, connect: Connect):
    server.answer = lambda command: Later(0.3 if command[-1] == b"late" else 0.0, command[-1])
    redis = await connect(server.url, timeout_s=0.2)

    for _ in range(2):
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await redis.call("GET", "late", key="a")
        await asyncio.sleep(0.4)
        assert await is_answered(redis)

    assert redis.failures == 4
    assert server.connections == 1


async def test_late_replies_do_not_start_the_count_again(server: ScriptedRedis, connect: Connect):
    server.answer = lambda command: Later(0.08, command[-1])
    redis = await connect(server.url, timeout_s=0.05)

    for _ in range(3):
        assert not await is_answered(redis)
        await asyncio.sleep(0.15)

    await until(lambda: server.connections == 2)


async def test_calls_that_are_late_together_are_one_miss(server: ScriptedRedis, connect: Connect):
    delays_s = [0.3]
    server.answer = lambda command: Later(delays_s.pop() if delays_s else 0.0, b"x")
    redis = await connect(server.url, timeout_s=0.2)

    answers = await asyncio.gather(*(is_answered(redis) for _ in range(64)))
    await asyncio.sleep(0.2)

    assert not any(answers)
    assert redis.failures == 64
    assert redis.is_up
    assert await is_answered(redis)
    assert server.connections == 1


async def test_a_frozen_server_is_asked_again_when_it_thaws(server: ScriptedRedis, connect: Connect):
    server.answer = echo
    redis = await connect(server.url, timeout_s=0.2)
    server.is_frozen = True
    while redis.is_up:
        await is_answered(redis)

    server.is_frozen = False
    started_s = time.perf_counter()
    await until(lambda: redis.is_up)

    assert time.perf_counter() - started_s < 2.0
    assert await is_answered(redis)


async def test_a_server_that_comes_back_is_found_within_a_moment(server: ScriptedRedis, connect: Connect):
    server.answer = echo
    redis = await connect(server.url)
    server.stop()
    await until(lambda: not redis.is_up)
    await asyncio.sleep(0.3)

    server.listen()
    started_s = time.perf_counter()
    await until(lambda: redis.is_up)

    assert time.perf_counter() - started_s < 1.0
    assert await is_answered(redis)


@pytest.mark.slow
async def test_a_quiet_connection_whose_other_end_is_gone_is_found_out(server: ScriptedRedis, connect: Connect):
    redis = await connect(server.url, timeout_s=0.05)

    server.is_frozen = True
    started_s = time.perf_counter()
    await until(lambda: not redis.is_up)

    assert 0.5 < time.perf_counter() - started_s < 5.0


@pytest.mark.slow
async def test_a_server_that_reads_nothing_more_is_found_out(server: ScriptedRedis, connect: Connect):
    server.answer = echo
    redis = await connect(server.url, timeout_s=0.2)

    server.hold()
    large = b"x" * 1_000_000
    calls = [asyncio.ensure_future(redis.call("SET", "a", large, key="a")) for _ in range(32)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    await until(lambda: server.connections == 2 and redis.is_up)

    assert {type(answer) for answer in answers} == {StoreUnavailable}
    assert await is_answered(redis)


@pytest.mark.slow
async def test_a_quiet_connection_is_kept(server: ScriptedRedis, connect: Connect):
    redis = await connect(server.url)

    await until(lambda: len([1 for command in server.greetings if command == [b"PING"]]) >= 3)

    assert redis.is_up
    assert server.connections == 1


async def test_a_server_that_takes_connections_and_ends_them_is_not_hammered(server: ScriptedRedis, connect: Connect):
    server.answer = echo
    redis = await connect(server.url)
    for _ in range(3):
        await until(lambda: redis.is_up)
        server.cut()
        await until(lambda: not redis.is_up)
    taken = server.connections
    server.refusal = "ERR max number of clients reached"

    await asyncio.sleep(0.5)

    assert 1 <= server.connections - taken <= 6


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        ("WRONGPASS invalid username-password pair or user is disabled.", "WRONGPASS"),
        ("NOAUTH HELLO must be called with the client already authenticated", "NOAUTH"),
        ("ERR unknown command `HELLO`, with args beginning with: `2`, ", "older than Redis 6.2"),
        ("LOADING Redis is loading the dataset in memory", "LOADING"),
        ("ERR DB index is out of range", "DB index"),
    ],
)
async def test_a_server_that_refuses_us_is_away_and_says_why(
    server: ScriptedRedis, connect: Connect, refusal: str, words: str
):
    server.refusal = refusal
    redis = await connect(server.url)

    with pytest.raises(StoreUnavailable) as raised:
        await redis.call("GET", "x", key="a")
    server.refusal = None
    await until(lambda: redis.is_up)

    assert words in str(raised.value.detail)


@pytest.mark.parametrize(
    "end", [Raw([], is_last=True), Reset(), Raw([b"HTTP/1.1 400\r\n"])], ids=["close", "rst", "http"]
)
async def test_a_server_that_ends_the_greeting_is_away_and_says_why(
    server: ScriptedRedis, connect: Connect, end: object, caplog: pytest.LogCaptureFixture
):
    server.greet = lambda command: end
    redis = await connect(server.url)
    assert not redis.is_up
    server.greet = None
    await until(lambda: redis.is_up)

    away = [vars(record)["reason"] for record in caplog.records if record.message == "Redis is away"]
    assert len(away) == 1
    assert any(words in away[0] for words in ("closed", "ConnectionReset", "not Redis's protocol"))
    assert not any(record.levelname == "ERROR" for record in caplog.records)


async def test_it_is_said_once_when_it_begins_and_once_when_it_ends(
    server: ScriptedRedis, connect: Connect, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    server.answer = echo
    redis = await connect(server.url)
    assert await is_answered(redis)
    assert said(caplog) == []

    server.stop()
    await until(lambda: not redis.is_up)
    for _ in range(10):
        await is_answered(redis)
    await asyncio.sleep(0.6)
    assert said(caplog) == ["Redis is away"]

    server.listen()
    await until(lambda: redis.is_up)
    assert said(caplog) == ["Redis is away", "Redis is back"]
    away = next(record for record in caplog.records if record.message == "Redis is away")
    assert vars(away)["redis"] == "limits"
    assert vars(away)["reason"]


async def test_a_password_is_never_said(server: ScriptedRedis, connect: Connect, caplog: pytest.LogCaptureFixture):
    server.refusal = "WRONGPASS invalid username-password pair or user is disabled."
    redis = await connect(f"redis://:hunter2@127.0.0.1:{server.port}")

    with pytest.raises(StoreUnavailable) as raised:
        await redis.call("GET", "x", key="a")

    assert "hunter2" not in f"{raised.value!r} {raised.value.detail} {caplog.text} {redis!r}"


async def test_nothing_is_left_running(server: ScriptedRedis, connect: Connect):
    before = asyncio.all_tasks()
    redis = await connect(server.url)
    redis.subscribe("ai:keys", lambda message: None, lambda: None)
    await until(lambda: server.listeners("ai:keys") == 1)

    await redis.aclose()

    assert asyncio.all_tasks() == before
    await until(lambda: server.count_open == 0)
