"""POST /ai/generate: equal requests that run at once, in one worker and in two that share their files."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from typing import Any

import pytest

from aiservice.app import create_app
from aiservice.stores.databases import CACHE_FILE
from tests.api.asgi_client import Client, Response, running
from tests.api.conftest import Service
from tests.api.rows import rows_of

PATH = "/ai/generate"
ASK: dict[str, Any] = {"prompt": "What is Docker?", "model": "slow-20"}
STREAM = ASK | {"stream": True}
SLOW = ASK | {"model": "slow-50"}
SLOW_STREAM = SLOW | {"stream": True}
TEXT = "".join(f"word{n} " for n in range(20))


@pytest.fixture
async def elsewhere(service: Service, client: Client) -> AsyncIterator[Client]:
    """The same key at another worker."""
    async with running(create_app(service.settings, service.clock)) as app:
        yield Client(app, key=client.key)


def states(answers: list[Response]) -> list[str]:
    return sorted(answer.header("x-cache") or str(answer.status) for answer in answers)


def text_of(answer: Response) -> str:
    if answer.header("content-type") == "application/json":
        return str(answer.json["response"])
    return "".join(event["delta"] for event in answer.events if event != "[DONE]" and "delta" in event)


def cached_of(rows: list[dict[str, Any]]) -> list[tuple[int, bool]]:
    return sorted((row["total_tokens"], row["response_cached"]) for row in rows)


async def share_a_flight(service: Service, client: Client, elsewhere: Client) -> None:
    """Of equal requests at two workers one reaches the engine, and each has its row."""
    bodies = [ASK, STREAM] * 10
    answers = await asyncio.gather(*((client, elsewhere)[n % 2].post(PATH, body) for n, body in enumerate(bodies)))
    assert states(answers) == ["HIT"] * 19 + ["MISS"]
    assert {text_of(answer) for answer in answers} == {TEXT}
    assert cached_of(await rows_of(service, client, count=20)) == [(0, True)] * 19 + [(23, False)]


def marks_of_waiting(service: Service) -> list[int | None]:
    """Of each running flight: when another worker last said that it waits for it."""
    with closing(sqlite3.connect(service.settings.server.data_dir / CACHE_FILE)) as connection:
        return [mark for (mark,) in connection.execute("select wanted_at from ai_cache_leases")]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


async def test_equal_requests_at_once_reach_the_engine_once(service: Service, client: Client) -> None:
    answers = await asyncio.gather(*(client.post(PATH, ASK) for _ in range(50)))
    assert states(answers) == ["HIT"] * 49 + ["MISS"]
    assert {text_of(answer) for answer in answers} == {TEXT}
    assert len({str(answer.json["usage"]) for answer in answers}) == 1
    assert {answer.header("age") for answer in answers if answer.json["cached"]} == {"0"}
    assert cached_of(await rows_of(service, client, count=50)) == [(0, True)] * 49 + [(23, False)]


async def test_plain_requests_and_streams_share_a_flight(service: Service, client: Client) -> None:
    bodies = [STREAM, ASK, STREAM, ASK]
    answers = await asyncio.gather(*(client.post(PATH, body) for body in bodies))
    assert states(answers) == ["HIT"] * 3 + ["MISS"]
    assert {text_of(answer) for answer in answers} == {TEXT}


async def test_a_follower_reads_the_stream_as_it_comes(client: Client) -> None:
    leader = asyncio.create_task(client.post(PATH, STREAM))
    await asyncio.sleep(0.2)
    late = await client.post(PATH, STREAM)
    assert len(late.chunks) > 10
    assert text_of(late) == text_of(await leader) == TEXT


async def test_other_requests_do_not_wait(client: Client) -> None:
    others = [{"temperature": 0.1}, {"seed": 1}, {"max_tokens": 30}]
    answers = await asyncio.gather(*(client.post(PATH, ASK | other) for other in others))
    assert states(answers) == ["MISS"] * 3


async def test_other_tenants_do_not_share_a_flight(service: Service) -> None:
    clients = [await service.with_key(tenant_id=tenant) for tenant in ("acme", "other")]
    answers = await asyncio.gather(*(client.post(PATH, ASK) for client in clients))
    assert states(answers) == ["MISS", "MISS"]


@pytest.mark.parametrize(("control", "state"), [("no-store", "BYPASS"), ("no-cache", "MISS")])
async def test_who_wants_a_new_answer_gets_one(client: Client, control: str, state: str) -> None:
    headers = {"cache-control": control}
    answers = await asyncio.gather(*(client.post(PATH, ASK, headers=headers) for _ in range(2)))
    assert states(answers) == [state] * 2


async def test_an_engine_that_fails_fails_all_who_wait(service: Service, client: Client) -> None:
    ask = {"prompt": "?", "model": "fail-mid"}
    answers = await asyncio.gather(*(client.post(PATH, ask) for _ in range(5)))
    assert {(answer.status, answer.code) for answer in answers} == {(502, "engines.failed")}
    rows = await rows_of(service, client, count=5)
    assert {row["status_code"] for row in rows} == {502}


async def test_a_failure_gives_the_followers_their_request_back(client: Client) -> None:
    answers = await asyncio.gather(*(client.post(PATH, {"prompt": "?", "model": "fail"}) for _ in range(5)))
    assert {answer.status for answer in answers} == {502}
    assert (await client.get("/usage")).json["requests_used"] == 0


async def test_a_leader_that_leaves_goes_on_for_its_followers(service: Service, client: Client) -> None:
    leave = asyncio.Event()
    leader = asyncio.create_task(client.post(PATH, SLOW_STREAM, leave=leave))
    await until(lambda: len(marks_of_waiting(service)) == 1)
    follower = asyncio.create_task(client.post(PATH, SLOW))
    await asyncio.sleep(0.2)
    leave.set()
    await leader
    answer = await follower
    assert (answer.status, answer.header("x-cache"), text_of(answer)) == (200, "HIT", TEXT)
    rows = await rows_of(service, client, count=2)
    assert sorted((row["status_code"], row["total_tokens"]) for row in rows) == [(200, 0), (499, 23)]


async def test_a_flight_that_all_have_left_is_called_off(service: Service, client: Client) -> None:
    leave = asyncio.Event()
    streams = [asyncio.create_task(client.post(PATH, SLOW_STREAM, leave=leave)) for _ in range(3)]
    await until(lambda: len(marks_of_waiting(service)) == 1)
    await asyncio.sleep(0.2)
    leave.set()
    await asyncio.gather(*streams)
    rows = await rows_of(service, client, count=3)
    assert [row["status_code"] for row in rows] == [499] * 3
    assert sorted(row["total_tokens"] > 0 for row in rows) == [False, False, True]
    assert max(row["completion_tokens"] for row in rows) < 20
    assert (await client.post(PATH, SLOW)).header("x-cache") == "MISS"


async def test_a_follower_that_leaves_disturbs_nobody(service: Service, client: Client) -> None:
    leader = asyncio.create_task(client.post(PATH, SLOW))
    await until(lambda: len(marks_of_waiting(service)) == 1)
    await client.post(PATH, SLOW, leave_after_s=0.2)
    assert text_of(await leader) == TEXT
    rows = await rows_of(service, client, count=2)
    assert sorted((row["status_code"], row["total_tokens"]) for row in rows) == [(200, 23), (499, 0)]


async def test_a_revoked_leader_does_not_end_its_followers_stream(service: Service) -> None:
    keys = [await service.new_key(), await service.new_key()]
    first, second = (service.client(key["api_key"]) for key in keys)
    leader = asyncio.create_task(first.post(PATH, SLOW_STREAM))
    await asyncio.sleep(0.1)
    follower = asyncio.create_task(second.post(PATH, SLOW_STREAM))
    await asyncio.sleep(0.1)
    await service.admin("POST", "/auth/revoke-key", {"key_id": keys[0]["key_id"]})
    assert (await leader).events[-1]["error"]["code"] == "keys.refused"
    assert text_of(await follower) == TEXT


async def test_a_revoked_key_ends_its_stream_that_nobody_shares(service: Service) -> None:
    key = await service.new_key()
    stream = SLOW_STREAM
    client = service.client(key["api_key"])
    running_stream = asyncio.create_task(client.post(PATH, stream, headers={"cache-control": "no-store"}))
    await asyncio.sleep(0.1)
    await service.admin("POST", "/auth/revoke-key", {"key_id": key["key_id"]})
    assert (await running_stream).events[-1]["error"]["code"] == "keys.refused"


async def test_workers_share_a_flight(service: Service, client: Client, elsewhere: Client) -> None:
    await share_a_flight(service, client, elsewhere)


async def test_a_leader_that_leaves_goes_on_for_another_worker(
    service: Service, client: Client, elsewhere: Client
) -> None:
    leave = asyncio.Event()
    leader = asyncio.create_task(client.post(PATH, STREAM, leave=leave))
    await until(lambda: len(marks_of_waiting(service)) == 1)
    follower = asyncio.create_task(elsewhere.post(PATH, ASK))
    await until(lambda: None not in marks_of_waiting(service))
    leave.set()
    await leader
    assert ((await follower).header("x-cache"), text_of(await follower)) == ("HIT", TEXT)


async def test_a_failure_elsewhere_is_tried_again_here(client: Client, elsewhere: Client) -> None:
    ask = {"prompt": "?", "model": "fail"}
    answers = await asyncio.gather(client.post(PATH, ask), elsewhere.post(PATH, ask), elsewhere.post(PATH, ask))
    assert [answer.status for answer in answers] == [502] * 3


async def test_a_worker_that_stops_hands_over(service: Service, client: Client) -> None:
    """What it was making ends with it; who waits in another worker makes it anew, and each has a row."""
    async with running(create_app(service.settings, service.clock)) as app:
        there = Client(app, key=client.key)
        await there.get("/usage")  # so that the key is known and the next request begins at once
        leader = asyncio.create_task(there.post(PATH, STREAM))
        await asyncio.sleep(0.1)
        follower = asyncio.create_task(client.post(PATH, ASK))
        await asyncio.sleep(0.1)
    began_s = time.monotonic()
    assert text_of(await follower) == TEXT
    assert time.monotonic() - began_s < 3
    assert (await follower).header("x-cache") == "MISS"
    assert (await leader).events[-1]["error"]["type"] == "engine_error"
    rows = await rows_of(service, client, count=2)
    assert sorted(row["status_code"] for row in rows) == [200, 499]


async def test_the_counters_know_followers_as_hits(service: Service, client: Client) -> None:
    await asyncio.gather(*(client.post(PATH, ASK) for _ in range(4)))
    stats = (await service.admin("GET", "/admin/stats")).json
    assert stats["cache_hit_rate"] == 0.75
    assert b'cache_lookups_total{result="hit"} 3' in (await client.get("/metrics")).body


async def test_the_counters_know_misses_that_came_to_nothing(client: Client) -> None:
    await client.post(PATH, {"prompt": "?", "model": "fail"})
    await client.post(PATH, ASK, headers={"cache-control": "only-if-cached"})
    assert b'cache_lookups_total{result="miss"} 2' in (await client.get("/metrics")).body
