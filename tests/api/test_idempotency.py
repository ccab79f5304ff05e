"""Idempotency-Key: a POST that is sent again runs once, costs once, and is answered the same."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from typing import Any

import pytest

from aiservice.app import create_app, prepare
from aiservice.core.clock import ManualClock
from aiservice.core.settings import load
from tests.api.asgi_client import Client, Response, running
from tests.api.conftest import ADMIN_KEY, Service
from tests.api.rows import rows_of

PATH = "/ai/generate"
ASK: dict[str, Any] = {"prompt": "What is Docker?"}
SLOW: dict[str, Any] = {"prompt": "What is Docker?", "model": "slow-20"}
LONG = SLOW | {"model": "slow-50"}
ONCE = {"idempotency-key": "order 7"}
NEW_KEY = {"tenant_id": "acme", "user_id": "ann", "name": "laptop"}
UNKNOWN = "vpn_000000000000_0000000000000000000000000000000000000000000000000"
DAY_S = 86_400


def assert_replayed(again: Response, first: Response) -> None:
    """The same answer in every byte and header, but for the id of the request that asked for it again."""
    assert (again.status, again.body) == (first.status, first.body)
    assert again.header("idempotent-replayed") == "true"
    assert first.header("idempotent-replayed") is None
    own = ("x-request-id", "idempotent-replayed")
    kept = [[row for row in answer.headers if row[0] not in own] for answer in (again, first)]
    assert kept[0] == kept[1]
    assert again.header("x-request-id") not in (None, first.header("x-request-id"))


async def counted(service: Service, result: str) -> float:
    name = f'aiservice_idempotency_total{{result="{result}"}} '
    lines = (await service.client().get("/metrics")).body.decode().splitlines()
    return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), 0.0)


async def eventually_running(service: Service) -> None:
    """Until the request has its key."""
    for _ in range(100):
        if await counted(service, "run"):
            return
        await asyncio.sleep(0.01)
    pytest.fail("the request did not begin")


async def test_repeated_request_is_answered_the_same_and_charged_once(service: Service, client: Client) -> None:
    first = await client.post(PATH, ASK, headers=ONCE)
    again = await client.post(PATH, ASK, headers=ONCE | {"x-request-id": "second-try"})

    assert (first.status, first.header("x-ratelimit-remaining")) == (200, "99")
    assert_replayed(again, first)
    assert again.header("x-request-id") == "second-try"
    assert (await client.get("/usage")).json["requests_used"] == 1
    (row,) = await rows_of(service, client, count=1)
    assert (row["id"], row["total_tokens"], row["response_cached"]) == (first.json["id"], 7, False)


async def test_repeated_stream_is_answered_the_same(service: Service, client: Client) -> None:
    body = ASK | {"stream": True, "model": "words-100"}
    first = await client.post(PATH, body, headers=ONCE)
    again = await client.post(PATH, body, headers=ONCE)

    assert_replayed(again, first)
    assert (len(first.chunks) > 100, len(again.chunks)) == (True, 1)
    assert (again.events[-1], again.header("content-type")) == ("[DONE]", "text/event-stream; charset=utf-8")
    await rows_of(service, client, count=1)


async def test_of_twenty_at_once_one_runs(service: Service, client: Client) -> None:
    answers = await asyncio.gather(*(client.post(PATH, SLOW, headers=ONCE) for _ in range(20)))

    assert sorted(answer.status for answer in answers) == [200] + [409] * 19
    again = await client.post(PATH, SLOW, headers=ONCE)
    assert_replayed(again, next(answer for answer in answers if answer.status == 200))
    await rows_of(service, client, count=1)


async def test_refusal_that_lies_in_the_request_is_replayed(service: Service, client: Client) -> None:
    for model, status in (("refuse", 400), ("nothing", 404)):
        headers = {"idempotency-key": model}
        first = await client.post(PATH, ASK | {"model": model}, headers=headers)
        assert first.status == status
        assert_replayed(await client.post(PATH, ASK | {"model": model}, headers=headers), first)
    await rows_of(service, client, count=2)


async def test_failure_is_not_kept_and_the_next_try_runs(service: Service, client: Client) -> None:
    statuses = {"fail": 502, "down": 502, "busy": 503, "fail-mid": 502, "cut": 502}
    for model, status in statuses.items():
        for _ in range(2):
            failed = await client.post(PATH, ASK | {"model": model}, headers={"idempotency-key": model})
            assert (failed.status, failed.header("idempotent-replayed")) == (status, None)
    await rows_of(service, client, count=10)


async def test_key_of_a_failed_request_is_free_for_a_better_one(client: Client) -> None:
    failed = await client.post(PATH, ASK | {"model": "fail"}, headers=ONCE)
    better = await client.post(PATH, ASK, headers=ONCE)

    assert (failed.status, better.status) == (502, 200)
    assert_replayed(await client.post(PATH, ASK, headers=ONCE), better)


async def test_stream_that_broke_is_not_kept(service: Service, client: Client) -> None:
    for model in ("fail-mid", "cut"):
        for _ in range(2):
            body = ASK | {"model": model, "stream": True}
            broken = await client.post(PATH, body, headers={"idempotency-key": model})
            assert (broken.status, broken.header("idempotent-replayed")) == (200, None)
            assert broken.events[-1]["error"]["code"] == "engines.failed"
    await rows_of(service, client, count=4)


async def test_429_is_not_kept(service: Service) -> None:
    client = await service.with_key(quota_requests_per_hour=1)
    await client.post(PATH, ASK)
    refused = await client.post(PATH, ASK, headers=ONCE)
    service.clock.advance_s(int(refused.header("retry-after") or 0))

    assert refused.status == 429
    assert (await client.post(PATH, ASK, headers=ONCE)).status == 200


async def test_422_other_request_under_the_same_key(service: Service, client: Client) -> None:
    others: list[dict[str, Any]] = [
        {"body": ASK | {"prompt": "What is docker?"}},
        {"body": b'{"prompt":"What is Docker?"}'},
        {"headers": ONCE | {"cache-control": "no-store"}},
        {"headers": ONCE | {"accept": "text/plain"}},
        {"headers": ONCE | {"content-type": "application/json; charset=utf-8"}},
        {"path": f"{PATH}?verbose=1"},
    ]
    first = await client.post(PATH, ASK, headers=ONCE)
    for other in others:
        refused = await client.post(**({"path": PATH, "body": ASK, "headers": ONCE} | other))
        assert (refused.status, refused.code) == (422, "request.idempotency_mismatch"), other
        assert refused.json["error"]["param"] == "Idempotency-Key"
        assert refused.header("x-ratelimit-remaining") == "99"
    assert_replayed(await client.post(PATH, ASK, headers=ONCE), first)
    rows = await rows_of(service, client, count=7)
    assert sorted((row["status_code"], row["total_tokens"]) for row in rows) == [(200, 7)] + [(422, 0)] * 6


async def test_409_while_it_runs_and_the_answer_afterwards(service: Service, client: Client) -> None:
    running_ = asyncio.create_task(client.post(PATH, LONG, headers=ONCE))
    await eventually_running(service)
    busy = await client.post(PATH, LONG, headers=ONCE)
    other = await client.post(PATH, ASK, headers=ONCE)
    first = await running_

    assert (busy.status, busy.code, busy.header("retry-after")) == (409, "request.idempotency_busy", "1")
    assert (busy.json["error"]["type"], busy.header("x-ratelimit-remaining")) == ("conflict_error", "99")
    assert (other.status, other.code) == (422, "request.idempotency_mismatch")
    assert_replayed(await client.post(PATH, LONG, headers=ONCE), first)
    rows = await rows_of(service, client, count=2)
    assert sorted(row["status_code"] for row in rows) == [200, 422]


async def test_callers_never_see_each_others_answers(service: Service, client: Client) -> None:
    first = await client.post(PATH, ASK, headers=ONCE)
    for other in (await service.with_key(), await service.with_key(tenant_id="other")):
        answer = await other.post(PATH, ASK | {"prompt": "Mine"}, headers=ONCE)
        assert (answer.status, answer.json["response"]) == (200, "echo: Mine")
    assert_replayed(await client.post(PATH, ASK, headers=ONCE), first)


async def test_rotated_key_still_gets_its_answers(service: Service) -> None:
    old = await service.new_key()
    first = await service.client(old["api_key"]).post(PATH, ASK, headers=ONCE)
    rotated = await service.admin("POST", "/auth/rotate-key", {"key_id": old["key_id"]})

    assert_replayed(await service.client(rotated.json["api_key"]).post(PATH, ASK, headers=ONCE), first)


async def test_revoked_key_gets_nothing(service: Service) -> None:
    facts = await service.new_key()
    client = service.client(facts["api_key"])
    await client.post(PATH, ASK, headers=ONCE)
    await service.admin("POST", "/auth/revoke-key", {"key_id": facts["key_id"]})

    assert (await client.post(PATH, ASK, headers=ONCE)).status == 401


async def test_repeated_create_key_gives_the_same_secret_and_makes_one_key(service: Service) -> None:
    headers = ONCE | {"x-admin-key": ADMIN_KEY}
    first = await service.client().post("/auth/create-key", NEW_KEY, headers=headers)
    again = await service.client().post("/auth/create-key", NEW_KEY, headers=headers)

    assert first.status == 201
    assert_replayed(again, first)
    keys = (await service.admin("GET", "/auth/keys")).json["keys"]
    assert [key["key_id"] for key in keys].count(first.json["key_id"]) == 1
    assert len(keys) == 2  # and the one that was there
    assert (await service.client(first.json["api_key"]).post(PATH, ASK)).status == 200


async def test_no_answer_is_in_the_database_in_the_clear(service: Service, client: Client) -> None:
    headers = ONCE | {"x-admin-key": ADMIN_KEY}
    created = await service.client().post("/auth/create-key", NEW_KEY, headers=headers)
    await client.post(PATH, ASK | {"prompt": "canary-in-the-prompt"}, headers=ONCE)

    stored = b"".join(path.read_bytes() for path in service.settings.server.data_dir.glob("main.db*"))
    assert b"order 7" in stored
    for secret in (created.json["api_key"], created.json["api_key"][17:], "canary-in-the-prompt"):
        assert secret.encode() not in stored


async def test_admin_and_keys_are_different_callers_at_one_route(service: Service) -> None:
    manager = await service.with_key(scopes=["keys:write", "generate"])
    by_admin = await service.client().post("/auth/create-key", NEW_KEY, headers=ONCE | {"x-admin-key": ADMIN_KEY})
    facts = NEW_KEY | {"scopes": ["generate"]}
    by_key = await manager.post("/auth/create-key", facts, headers=ONCE)

    assert (by_admin.status, by_key.status) == (201, 201)
    assert by_admin.json["key_id"] != by_key.json["key_id"]
    refused = await manager.post("/auth/create-key", NEW_KEY, headers=ONCE)
    assert (refused.status, refused.code) == (422, "request.idempotency_mismatch")


async def test_client_that_left_gets_its_answer_by_asking_again(service: Service, client: Client) -> None:
    await client.post(PATH, SLOW, headers=ONCE, leave_after_s=0.2)
    again = await client.post(PATH, SLOW, headers=ONCE)

    assert (again.status, again.header("idempotent-replayed")) == (200, "true")
    (row,) = await rows_of(service, client, count=1)
    assert (row["status_code"], row["completion_tokens"]) == (200, 20)


async def test_client_that_left_a_stream_gets_all_of_it_by_asking_again(service: Service, client: Client) -> None:
    body = SLOW | {"stream": True}
    await client.post(PATH, body, headers=ONCE, leave_after_chunks=3)
    again = await client.post(PATH, body, headers=ONCE)

    assert (again.header("idempotent-replayed"), again.events[-1]) == ("true", "[DONE]")
    assert "".join(event.get("delta", "") for event in again.events[:-1]).split() == [f"word{n}" for n in range(20)]
    (row,) = await rows_of(service, client, count=1)
    assert (row["status_code"], row["completion_tokens"]) == (200, 20)


async def test_request_that_a_stopping_worker_cuts_off_runs_again_at_once(service: Service, client: Client) -> None:
    cut = asyncio.create_task(client.post(PATH, SLOW, headers=ONCE))
    await eventually_running(service)
    cut.cancel()
    with suppress(asyncio.CancelledError):
        await cut

    again = await client.post(PATH, SLOW, headers=ONCE)

    assert (again.status, again.header("idempotent-replayed")) == (200, None)


async def test_request_of_a_lost_worker_is_taken_over_after_30_s(service: Service, client: Client) -> None:
    """A worker that shows no sign of life: here it is only slow, so that it answers too late in the end."""
    lost = asyncio.create_task(client.post(PATH, LONG, headers=ONCE))
    await eventually_running(service)
    service.clock.advance_s(29)
    assert (await client.post(PATH, LONG, headers=ONCE)).status == 409
    service.clock.advance_s(1)

    taken_over = await client.post(PATH, LONG, headers=ONCE)
    late = await lost

    assert (taken_over.status, taken_over.header("idempotent-replayed"), late.status) == (200, None, 200)
    assert_replayed(await client.post(PATH, LONG, headers=ONCE), taken_over)
    assert await counted(service, "unkept") == 1


async def test_answer_survives_a_restart(environ: dict[str, str]) -> None:
    settings, clock = load(environ), ManualClock()
    prepare(settings)
    async with running(create_app(settings, clock)) as app:
        client = await Service(app, settings, clock).with_key()
        first = await client.post(PATH, ASK, headers=ONCE)
    async with running(create_app(settings, clock)) as app:
        assert_replayed(await Client(app, key=client.key).post(PATH, ASK, headers=ONCE), first)


async def test_changed_pepper_forgets_the_operators_answers(environ: dict[str, str]) -> None:
    bodies = []
    for pepper in ("p" * 32, "q" * 32):
        settings = load(environ | {"KEY_PEPPER": pepper})
        prepare(settings)
        async with running(create_app(settings, ManualClock())) as app:
            headers = ONCE | {"x-admin-key": ADMIN_KEY}
            bodies.append((await Client(app).post("/auth/create-key", NEW_KEY, headers=headers)).json)

    assert bodies[0]["api_key"] != bodies[1]["api_key"]


async def test_key_is_forgotten_after_a_day(service: Service, client: Client) -> None:
    first = await client.post(PATH, ASK, headers=ONCE)
    service.clock.advance_s(DAY_S - 1)
    assert_replayed(await client.post(PATH, ASK, headers=ONCE), first)
    service.clock.advance_s(1)

    fresh = await client.post(PATH, ASK | {"prompt": "Another day"}, headers=ONCE)

    assert (fresh.status, fresh.header("idempotent-replayed")) == (200, None)


async def test_400_key_of_another_form(service: Service) -> None:
    client = await service.with_key(scopes=["generate", "keys:write"])
    for key in ("", "x" * 256, "a\tb", "tür", "a\x7f"):
        for path, body in ((PATH, ASK), ("/auth/create-key", NEW_KEY)):
            refused = await client.post(path, body, headers={"idempotency-key": key})
            assert (refused.status, refused.code) == (400, "request.malformed"), (path, key)
            assert refused.json["error"]["param"] == "Idempotency-Key"
            assert (refused.header("x-ratelimit-remaining") is not None) == (path == PATH)


async def test_200_key_of_every_accepted_form(client: Client) -> None:
    for key in ("x", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "~ !"):
        first = await client.post(PATH, ASK, headers={"idempotency-key": key})
        assert first.status == 200
        assert_replayed(await client.post(PATH, ASK, headers={"idempotency-key": key}), first)


async def test_401_is_the_same_as_without_the_header_and_counts_once(service: Service) -> None:
    stranger = service.client(UNKNOWN, ip="10.1.1.1")
    plain, keyed = await stranger.post(PATH, ASK), await stranger.post(PATH, ASK, headers=ONCE)
    assert (keyed.status, keyed.body) == (401, plain.body)

    statuses = [(await stranger.post(path, ASK, headers=ONCE)).status for path in [PATH, "/auth/create-key"] * 4]

    assert statuses == [401] * 8
    assert (await stranger.post(PATH, ASK, headers=ONCE)).status == 429


async def test_403_is_the_routes_own(service: Service) -> None:
    client = await service.with_key(scopes=["usage:read"])

    for path in (PATH, "/auth/create-key"):
        refused = await client.post(path, ASK, headers=ONCE)
        assert (refused.status, refused.code) == (403, "keys.not_allowed")
    assert (await service.client().post("/admin/cache/clear", headers=ONCE)).status == 401


async def test_413_is_said_with_the_key_too(service: Service, client: Client) -> None:
    refused = await client.post(PATH, b"x" * 1_048_577, headers=ONCE)

    assert (refused.status, refused.code) == (413, "request.body_too_large")
    assert refused.header("x-ratelimit-remaining") == "100"
    (row,) = await rows_of(service, client, count=1)
    assert (row["status_code"], row["total_tokens"]) == (413, 0)


async def test_header_means_nothing_where_nobody_is_asked(service: Service, client: Client) -> None:
    bad = {"idempotency-key": "x" * 300}
    for headers in (ONCE, bad, ONCE):
        checked = await service.client().post("/auth/verify-key", {"api_key": client.key}, headers=headers)
        assert (checked.status, checked.json["valid"]) == (200, True)
        assert checked.header("idempotent-replayed") is None
    assert (await client.post("/nothing", ASK, headers=bad)).status == 404
    assert (await client.get("/usage", headers=bad)).status == 200
    assert (await client.post("/usage", headers=bad)).status == 405


async def test_admin_route_is_replayed(service: Service, client: Client) -> None:
    await client.post(PATH, ASK)
    headers = ONCE | {"x-admin-key": ADMIN_KEY}
    answers = [await service.client().post("/admin/cache/clear", headers=headers) for _ in range(2)]

    assert answers[0].json == {"cleared": 1}
    assert_replayed(answers[1], answers[0])


@pytest.fixture
async def local(environ: dict[str, str]) -> AsyncIterator[Client]:
    settings = load(environ | {"ENVIRONMENT": "development"})
    prepare(settings)
    async with running(create_app(settings)) as app:
        yield Client(app)


async def test_development_has_keys_of_its_own(local: Client) -> None:
    first = await local.post("/auth/create-key", NEW_KEY, headers=ONCE)
    by_admin = await local.post("/auth/create-key", NEW_KEY, headers=ONCE | {"x-admin-key": ADMIN_KEY})

    assert (first.status, by_admin.status) == (201, 201)
    assert first.json["key_id"] != by_admin.json["key_id"]
    assert_replayed(await local.post("/auth/create-key", NEW_KEY, headers=ONCE), first)


def lose_table(service: Service) -> None:
    with closing(sqlite3.connect(service.settings.server.data_dir / "main.db")) as database:
        database.execute("alter table idempotency_keys rename to lost")


async def test_503_without_the_store_and_nothing_runs(service: Service, client: Client) -> None:
    lose_table(service)
    refused = await client.post(PATH, ASK, headers=ONCE)

    assert (refused.status, refused.code) == (503, "stores.unavailable")
    assert refused.header("x-ratelimit-remaining") == "100"
    (row,) = await rows_of(service, client, count=1)
    assert (row["status_code"], row["total_tokens"]) == (503, 0)
    assert (await client.post(PATH, ASK)).status == 200


async def test_answer_is_given_also_when_it_cannot_be_kept(service: Service, client: Client) -> None:
    asking = asyncio.create_task(client.post(PATH, SLOW, headers=ONCE))
    await eventually_running(service)
    lose_table(service)

    assert (await asking).status == 200
    assert await counted(service, "unkept") == 1


async def test_browsers_may_send_the_key_and_read_the_mark(environ: dict[str, str]) -> None:
    settings = load(environ | {"ALLOWED_ORIGINS": "https://app.example"})
    prepare(settings)
    async with running(create_app(settings, ManualClock())) as app:
        headers = {"origin": "https://app.example", "access-control-request-method": "POST"}
        asked = await Client(app).request("OPTIONS", PATH, headers=headers)
        answer = await Client(app).get("/health/live", headers={"origin": "https://app.example"})

    assert "idempotency-key" in (asked.header("access-control-allow-headers") or "")
    assert "idempotent-replayed" in (answer.header("access-control-expose-headers") or "")
