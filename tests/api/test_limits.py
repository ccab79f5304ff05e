"""/admin/limits, the limits of users and tenants as a caller sees them, and GET /usage as the buckets' view."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from aiservice.app import create_app
from tests.api.asgi_client import Client, Response, running
from tests.api.conftest import Service

PATH = "/ai/generate"
ADMIN_PATH = "/admin/limits"


async def set_limits(service: Service, **body: Any) -> Response:
    response: Response = await service.admin("POST", ADMIN_PATH, body)
    return response


async def ask(client: Client, number: object = 0, **body: Any) -> Response:
    return await client.post(PATH, {"prompt": f"question {number}"} | body)


async def test_set_limits_answer_the_whole_rule(service: Service) -> None:
    answer = await set_limits(service, tenant_id="acme", user_id="ann", requests_per_hour=5, concurrency=2)
    assert answer.status == 200
    assert answer.json == {
        "tenant_id": "acme",
        "user_id": "ann",
        "requests_per_hour": 5,
        "tokens_per_hour": None,
        "concurrency": 2,
        "changed_at": "2025-06-15T15:06:40.000Z",
    }


async def test_a_call_replaces_the_rule_and_lifts_what_it_does_not_name(service: Service) -> None:
    client = await service.with_key()
    await set_limits(service, tenant_id="acme", requests_per_hour=1, tokens_per_hour=2_000)
    answer = await ask(client)
    assert (answer.header("x-ratelimit-limit"), answer.header("x-ratelimit-limit-tokens")) == ("1", "2000")
    assert (await ask(client, 2)).status == 429
    await set_limits(service, tenant_id="acme", tokens_per_hour=None)
    answer = await ask(client, 3)
    assert (answer.status, answer.header("x-ratelimit-limit")) == (200, "100")
    assert answer.header("x-ratelimit-limit-tokens") is None


async def test_limits_page_by_tenant_and_user(service: Service) -> None:
    for tenant, user in (("beta", None), ("acme", "bob"), ("acme", None), ("acme", "ann")):
        await set_limits(service, tenant_id=tenant, user_id=user, concurrency=3)
    found: list[tuple[str, str | None]] = []
    query = "limit=2"
    while True:
        page = (await service.admin("GET", f"{ADMIN_PATH}?{query}")).json
        assert len(page["limits"]) <= 2
        found += [(rule["tenant_id"], rule["user_id"]) for rule in page["limits"]]
        if page["next_cursor"] is None:
            break
        query = f"limit=2&cursor={page['next_cursor']}"
    assert found == [("acme", None), ("acme", "ann"), ("acme", "bob"), ("beta", None)]
    of_beta = (await service.admin("GET", f"{ADMIN_PATH}?tenant_id=beta")).json
    assert ([rule["tenant_id"] for rule in of_beta["limits"]], of_beta["next_cursor"]) == (["beta"], None)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tenant_id": None}, "tenant_id"),
        ({"tenant_id": ""}, "tenant_id"),
        ({"tenant_id": "a/b"}, "tenant_id"),
        ({"tenant_id": "x" * 65}, "tenant_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": 7}, "user_id"),
        ({"requests_per_hour": 0}, "requests_per_hour"),
        ({"requests_per_hour": -1}, "requests_per_hour"),
        ({"requests_per_hour": 1_000_000_001}, "requests_per_hour"),
        ({"requests_per_hour": 1.5}, "requests_per_hour"),
        ({"requests_per_hour": True}, "requests_per_hour"),
        ({"requests_per_hour": "5"}, "requests_per_hour"),
        ({"tokens_per_hour": 0}, "tokens_per_hour"),
        ({"tokens_per_hour": 10**19}, "tokens_per_hour"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 100_001}, "concurrency"),
        ({"requests_per_minute": 5}, "requests_per_minute"),
    ],
)
async def test_422_a_limit_out_of_its_range(service: Service, change: dict[str, Any], param: str) -> None:
    answer = await set_limits(service, **({"tenant_id": "acme"} | change))
    assert (answer.status, answer.code, answer.json["error"]["param"]) == (422, "request.field_invalid", param)
    assert (await service.admin("GET", ADMIN_PATH)).json["limits"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "cursor=nowhere", "cursor=a/b/c", "tenant_id=a%20b"])
async def test_422_a_page_of_limits_that_there_is_not(service: Service, query: str) -> None:
    answer = await service.admin("GET", f"{ADMIN_PATH}?{query}")
    assert (answer.status, answer.json["error"]["param"]) == (422, query.partition("=")[0])


async def test_401_and_403_without_the_admin_key(service: Service, client: Client) -> None:
    for method in ("GET", "POST"):
        assert (await client.request(method, ADMIN_PATH, body={"tenant_id": "acme"})).status == 401
        headers: dict[str, str | None] = {"x-admin-key": client.key}
        answer = await client.request(method, ADMIN_PATH, body={"tenant_id": "acme"}, headers=headers)
        assert answer.status == 403


async def test_429_when_the_users_keys_together_have_used_up_the_users_limit(service: Service) -> None:
    await set_limits(service, tenant_id="acme", user_id="ann", requests_per_hour=2)
    first, second, bobs = await service.with_key(), await service.with_key(), await service.with_key(user_id="bob")
    assert [(await ask(one, at)).status for at, one in enumerate((first, second))] == [200, 200]
    refused = await ask(second, 3)
    assert (refused.status, refused.code) == (429, "limits.exceeded")
    assert refused.json["error"]["message"] == "The request limit of this user is used up; try again in 1800 s."
    assert (refused.header("retry-after"), refused.header("x-ratelimit-limit")) == ("1800", "2")
    assert (await ask(bobs, 4)).status == 200
    service.clock.advance_s(1_800)
    assert (await ask(first, 5)).status == 200


async def test_429_when_forty_clients_of_ten_keys_meet_the_tenants_limit_at_once(service: Service) -> None:
    await set_limits(service, tenant_id="acme", requests_per_hour=15)
    clients = [await service.with_key(user_id=f"user{number}") for number in range(10)]
    answers = await asyncio.gather(*(ask(clients[number % 10], number) for number in range(40)))
    assert sorted(answer.status for answer in answers) == [200] * 15 + [429] * 25
    assert (await ask(await service.with_key(tenant_id="other"))).status == 200


async def test_429_when_as_many_requests_of_a_tenant_are_running_as_may(service: Service) -> None:
    await set_limits(service, tenant_id="acme", concurrency=3)
    clients = [await service.with_key(user_id=f"user{number}") for number in range(6)]
    answers = await asyncio.gather(*(ask(one, at, model="slow-50", stream=True) for at, one in enumerate(clients)))
    assert sorted(answer.status for answer in answers) == [200, 200, 200, 429, 429, 429]
    refused = next(answer for answer in answers if answer.status == 429)
    assert "of this tenant are running" in refused.json["error"]["message"]
    assert refused.header("retry-after") == "1"
    assert (await ask(clients[0], "later")).status == 200


async def test_422_when_the_estimate_is_above_the_tenants_tokens(service: Service) -> None:
    await set_limits(service, tenant_id="acme", tokens_per_hour=300)
    client = await service.with_key(tokens_per_hour=5_000)
    refused = await ask(client, max_tokens=400)
    assert (refused.status, refused.json["error"]["param"]) == (422, "max_tokens")
    assert "the token limit of this tenant is 300" in refused.json["error"]["message"]


async def test_tokens_are_settled_in_every_bucket(service: Service) -> None:
    await set_limits(service, tenant_id="acme", tokens_per_hour=3_000)
    await set_limits(service, tenant_id="acme", user_id="ann", tokens_per_hour=2_000)
    client = await service.with_key(tokens_per_hour=1_000)
    answer = await ask(client, max_tokens=300, model="words-10")
    assert answer.header("x-ratelimit-limit-tokens") == "1000"
    used = answer.json["usage"]["total_tokens"]
    limits = (await client.get("/usage")).json["limits"]
    assert [(one["of"], one["used"]) for one in limits if one["limit"] == "tokens"] == [
        ("key", used),
        ("user", used),
        ("tenant", used),
    ]


async def test_an_engines_failure_gives_the_request_back_to_all(service: Service) -> None:
    await set_limits(service, tenant_id="acme", requests_per_hour=9, tokens_per_hour=5_000, concurrency=2)
    client = await service.with_key()
    assert (await ask(client, model="fail")).status == 502
    limits = (await client.get("/usage")).json["limits"]
    assert [one["used"] for one in limits] == [0, 0, 0, 0]


async def usage_of(client: Client) -> dict[str, Any]:
    answer: dict[str, Any] = (await client.get("/usage")).json
    return answer


def epoch_s(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(("user", "tenant", "tightest"), [(None, None, 100), (7, None, 7), (7, 5, 5), (200, 300, 100)])
async def test_usage_is_what_the_headers_of_the_last_answer_said(
    service: Service, user: int | None, tenant: int | None, tightest: int
) -> None:
    await set_limits(service, tenant_id="acme", user_id="ann", requests_per_hour=user)
    await set_limits(service, tenant_id="acme", requests_per_hour=tenant)
    client = await service.with_key()
    for number in range(tightest + 1 if tightest < 10 else 3):
        answer = await ask(client, number)
        usage = await usage_of(client)
        assert answer.header("x-ratelimit-limit") == str(usage["requests_limit"]) == str(tightest)
        assert answer.header("x-ratelimit-remaining") == str(usage["requests_remaining"])
        assert usage["requests_used"] == usage["requests_limit"] - usage["requests_remaining"]
        assert epoch_s(usage["window_reset"]) == int(answer.header("x-ratelimit-reset") or 0)
        assert answer.header("ratelimit-policy") == f'"requests";q={tightest};w=3600'
    assert answer.status == (429 if tightest < 10 else 200)


async def test_usage_of_another_key_of_the_tenant_counts_in_the_tenants_bucket(service: Service) -> None:
    await set_limits(service, tenant_id="acme", requests_per_hour=10)
    ann, bob = await service.with_key(), await service.with_key(user_id="bob")
    for number in range(4):
        await ask(ann, number)
    answer, usage = await ask(bob, "bob's"), await usage_of(bob)
    assert (answer.header("x-ratelimit-remaining"), usage["requests_remaining"]) == ("5", 5)
    assert usage["limits"][0] == {
        "limit": "requests",
        "of": "key",
        "max": 100,
        "used": 1,
        "remaining": 99,
        "reset": "2025-06-15T15:07:16.000Z",
    }
    assert (usage["limits"][1]["of"], usage["limits"][1]["used"]) == ("tenant", 5)


async def test_usage_shows_the_slots_that_are_held(service: Service) -> None:
    await set_limits(service, tenant_id="acme", concurrency=4)
    client = await service.with_key(concurrency=2)
    running_one = asyncio.create_task(ask(client, model="slow-50", stream=True))
    await asyncio.sleep(0.2)
    limits = (await usage_of(client))["limits"]
    running_one.cancel()
    await asyncio.gather(running_one, return_exceptions=True)
    assert [one for one in limits if one["limit"] == "concurrency"] == [
        {"limit": "concurrency", "of": "key", "max": 2, "used": 1, "remaining": 1, "reset": None},
        {"limit": "concurrency", "of": "tenant", "max": 4, "used": 1, "remaining": 3, "reset": None},
    ]


async def test_a_change_takes_effect_in_another_worker_within_two_seconds(service: Service) -> None:
    async with running(create_app(service.settings, service.clock)) as other_app:
        facts = await service.new_key()
        other = Client(other_app, key=facts["api_key"])
        assert (await ask(other)).header("x-ratelimit-limit") == "100"
        await set_limits(service, tenant_id="acme", requests_per_hour=2)
        async with asyncio.timeout(2):
            while (await other.get("/usage")).json["requests_limit"] != 2:
                await asyncio.sleep(0.02)
        assert (await ask(other, 2)).header("x-ratelimit-limit") == "2"
