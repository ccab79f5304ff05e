"""POST /ai/generate: the cache and the limit as a caller sees them."""

import asyncio
from typing import Any

import pytest

from tests.api.asgi_client import Client
from tests.api.conftest import Service
from tests.api.rows import rows_of

PATH = "/ai/generate"
ASK: dict[str, Any] = {
    "messages": [{"role": "user", "content": "What is Docker?"}],
    "system": "Be brief.",
    "model": "json",
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 20,
    "seed": 7,
    "stop": ["END"],
    "response_format": {"type": "text"},
}
FLIPS: dict[str, Any] = {
    "messages": [{"role": "user", "content": "What is Docker? "}],
    "system": "Be brief",
    "model": "echo",
    "temperature": 0.6,
    "top_p": 0.8,
    "max_tokens": 21,
    "seed": 8,
    "stop": ["END", "STOP"],
    "response_format": {"type": "json_object"},
}


async def test_identical_second_request_is_a_hit(service: Service, client: Client) -> None:
    first, second = await client.post(PATH, ASK), await client.post(PATH, ASK)
    assert (first.header("x-cache"), second.header("x-cache")) == ("MISS", "HIT")
    assert second.json["response"] == first.json["response"]
    assert second.json["usage"] == first.json["usage"]
    assert second.json["cached"] is True
    assert second.header("age") == "0"
    assert second.header("x-ratelimit-remaining") == "98"
    hit = next(row for row in await rows_of(service, client, count=2) if row["response_cached"])
    assert (hit["total_tokens"], hit["status_code"]) == (0, 200)


@pytest.mark.parametrize("field", FLIPS)
async def test_flipping_one_field_is_a_miss(client: Client, field: str) -> None:
    await client.post(PATH, ASK)
    flipped = await client.post(PATH, ASK | {field: FLIPS[field]})
    assert (flipped.status, flipped.header("x-cache")) == (200, "MISS")


async def test_stream_and_plain_share_their_entry(client: Client) -> None:
    plain = await client.post(PATH, ASK)
    stream = await client.post(PATH, ASK | {"stream": True})
    assert stream.header("x-cache") == "HIT"
    *deltas, end, done = stream.events
    assert "".join(event["delta"] for event in deltas) == plain.json["response"]
    assert (end["usage"], end["cached"], done) == (plain.json["usage"], True, "[DONE]")


async def test_two_tenants_never_share_an_entry(service: Service, client: Client) -> None:
    other = await service.with_key(tenant_id="other")
    await client.post(PATH, ASK)
    assert (await other.post(PATH, ASK)).header("x-cache") == "MISS"
    colleague = await service.with_key(user_id="bob")
    assert (await colleague.post(PATH, ASK)).header("x-cache") == "HIT"


async def test_age_counts_and_the_entry_expires(service: Service) -> None:
    client = await service.with_key()
    await client.post(PATH, ASK)
    service.clock.advance_s(100)
    assert (await client.post(PATH, ASK)).header("age") == "100"
    service.clock.advance_s(4000)
    assert (await client.post(PATH, ASK)).header("x-cache") == "MISS"


async def test_cache_control_is_honoured(client: Client) -> None:
    async def ask(header: str) -> tuple[int, str | None]:
        response = await client.post(PATH, ASK, headers={"cache-control": header})
        return response.status, response.header("x-cache")

    assert (await client.post(PATH, ASK, headers={"cache-control": "only-if-cached"})).code == "cache.not_cached"
    assert await ask("only-if-cached") == (504, None)
    assert await ask("no-store") == (200, "BYPASS")
    assert await ask("max-age=60") == (200, "MISS")
    assert await ask("only-if-cached") == (200, "HIT")
    assert await ask("no-cache") == (200, "MISS")
    assert await ask("no-store") == (200, "BYPASS")


async def test_failed_answers_are_not_kept(client: Client) -> None:
    for _ in range(2):
        assert (await client.post(PATH, ASK | {"model": "fail-mid"})).status == 502


async def test_quota_of_ten_hit_by_forty_clients_at_once_serves_ten(service: Service) -> None:
    client = await service.with_key(quota_requests_per_hour=10)
    answers = await asyncio.gather(*(client.post(PATH, {"prompt": f"question {n}"}) for n in range(40)))
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [200] * 10 + [429] * 30
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.code == "limits.exceeded"
    assert refused.header("x-ratelimit-limit") == "10"
    assert refused.header("x-ratelimit-remaining") == "0"
    assert refused.header("retry-after") == "360"
    service.clock.advance_s(360)
    assert (await client.post(PATH, {"prompt": "again"})).status == 200
    assert (await client.post(PATH, {"prompt": "and again"})).status == 429


async def test_cached_answers_use_the_limit_too(service: Service) -> None:
    client = await service.with_key(quota_requests_per_hour=2)
    assert [(await client.post(PATH, ASK)).status for _ in range(3)] == [200, 200, 429]


async def test_token_limit_takes_what_was_used(service: Service) -> None:
    client = await service.with_key(tokens_per_hour=100)
    first = await client.post(PATH, {"prompt": "x", "max_tokens": 50, "model": "words-10"})
    assert (first.status, first.header("x-ratelimit-limit-tokens")) == (200, "100")
    after = await client.post(PATH, {"prompt": "y", "max_tokens": 80, "model": "words-10"})
    assert after.status == 200
    refused = await client.post(PATH, {"prompt": "z", "max_tokens": 80, "model": "words-10"})
    assert (refused.status, refused.code) == (429, "limits.exceeded")


async def test_concurrency_limit_frees_its_slots(service: Service) -> None:
    client = await service.with_key(concurrency=2)
    body = {"model": "slow-50", "stream": True}
    answers = await asyncio.gather(*(client.post(PATH, body | {"prompt": f"q{n}"}) for n in range(4)))
    assert sorted(answer.status for answer in answers) == [200, 200, 429, 429]
    assert (await client.post(PATH, body | {"prompt": "later"})).status == 200


@pytest.mark.parametrize(
    ("facts", "retry_after"),
    [
        ({"quota_requests_per_hour": 1}, "3600"),
        ({"tokens_per_hour": 100}, "288"),
        ({"tokens_per_hour": 100, "quota_requests_per_hour": 1}, "3600"),
        ({"concurrency": 1}, "1"),
    ],
)
async def test_a_refusal_says_once_how_long_to_wait_and_how_all_limits_stand(
    service: Service, facts: dict[str, Any], retry_after: str
) -> None:
    client = await service.with_key(**facts)
    body = {"prompt": "x", "model": "slow-50", "max_tokens": 50}
    running = asyncio.create_task(client.post(PATH, body))
    await asyncio.sleep(0.1)
    refused = await client.post(PATH, body | {"prompt": "y"})
    assert (await running).status == 200
    names = [name for name, _ in refused.headers]
    assert (refused.status, refused.header("retry-after"), names.count("retry-after")) == (429, retry_after, 1)
    assert names.count("ratelimit") == (2 if "tokens_per_hour" in facts else 1)
    assert ("x-ratelimit-remaining-tokens" in names) == ("tokens_per_hour" in facts)


async def test_rotated_key_shares_its_bucket(service: Service) -> None:
    old = await service.new_key(quota_requests_per_hour=2)
    assert (await service.client(old["api_key"]).post(PATH, ASK)).status == 200
    rotated = await service.admin("POST", "/auth/rotate-key", {"key_id": old["key_id"], "overlap_seconds": 3600})
    new = service.client(rotated.json["api_key"])
    assert (await new.post(PATH, ASK)).header("x-ratelimit-remaining") == "0"
    assert (await service.client(old["api_key"]).post(PATH, ASK)).status == 429


async def test_stream_of_a_revoked_key_ends_within_a_second(service: Service) -> None:
    facts = await service.new_key()
    client = service.client(facts["api_key"])
    stream = asyncio.create_task(client.post(PATH, {"prompt": "x", "model": "slow-50", "stream": True}))
    await asyncio.sleep(0.3)
    await service.admin("POST", "/auth/revoke-key", {"key_id": facts["key_id"]})
    response = await stream
    assert 1 < len(response.events) < 20
    assert response.events[-1]["error"]["code"] == "keys.refused"
