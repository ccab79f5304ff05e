"""Who may do what: keys good and bad, other tenants, scopes, addresses, and this machine in development."""

from collections.abc import AsyncIterator

import pytest

from aiservice.app import create_app, prepare
from aiservice.core.clock import ManualClock
from aiservice.core.settings import load
from tests.api.asgi_client import Client, running
from tests.api.conftest import Service

PATH = "/ai/generate"
ASK = {"prompt": "x"}
UNKNOWN = "vpn_000000000000_0000000000000000000000000000000000000000000000000"


async def refusal(client: Client) -> tuple[int, bytes]:
    response = await client.post(PATH, ASK)
    return response.status, response.body


async def test_401_has_one_body_for_every_bad_key(service: Service) -> None:
    revoked, expired = await service.new_key(), await service.new_key(expires_in_days=1)
    await service.admin("POST", "/auth/revoke-key", {"key_id": revoked["key_id"]})
    service.clock.advance_s(2 * 86_400)
    texts = [None, "malformed", UNKNOWN, revoked["api_key"], expired["api_key"], expired["api_key"][:-1] + "0"]
    answers = {await refusal(service.client(text, ip=f"10.0.0.{n}")) for n, text in enumerate(texts)}
    assert len(answers) == 1
    ((status, _),) = answers
    assert status == 401


async def test_429_after_ten_bad_keys_from_one_address_and_not_from_another(service: Service) -> None:
    good = (await service.new_key())["api_key"]
    for _ in range(10):
        assert (await refusal(service.client(UNKNOWN, ip="10.1.1.1")))[0] == 401
    held_off = await service.client(UNKNOWN, ip="10.1.1.1").post(PATH, ASK)
    assert (held_off.status, held_off.code) == (429, "keys.too_many_failures")
    assert int(held_off.header("retry-after") or 0) >= 1
    assert (await refusal(service.client(good, ip="10.2.2.2")))[0] == 200


async def test_403_scope_that_the_key_lacks(service: Service) -> None:
    client = await service.with_key(scopes=["usage:read"])
    response = await client.post(PATH, ASK)
    assert (response.status, response.code) == (403, "keys.not_allowed")
    assert (await client.get("/usage")).status == 200


async def test_403_model_outside_the_allow_list(service: Service) -> None:
    client = await service.with_key(models=["words-10"])
    assert (await client.post(PATH, ASK)).status == 403
    assert (await client.post(PATH, ASK | {"model": "words-10"})).status == 200
    listed = (await client.get("/ai/models")).json["models"]
    assert {model["name"] for model in listed} == {"words-10"}


async def test_403_address_outside_the_allow_list(service: Service) -> None:
    key = (await service.new_key(allowed_ips=["10.9.0.0/16"]))["api_key"]
    assert (await service.client(key, ip="10.9.3.4").post(PATH, ASK)).status == 200
    assert (await service.client(key, ip="10.8.3.4").post(PATH, ASK)).status == 403


async def test_tenant_key_makes_keys_only_within_its_own_rights(service: Service) -> None:
    facts = {"tenant_id": "acme", "user_id": "bob", "name": "child"}
    parent = await service.with_key(tier="pro", quota_requests_per_hour=50, scopes=["generate", "keys:write"])
    child = facts | {"scopes": ["generate"], "quota_requests_per_hour": 50}
    assert (await parent.post("/auth/create-key", child)).status == 201
    for wrong in (
        {"tenant_id": "other"},
        {"tier": "enterprise"},
        {"quota_requests_per_hour": 51},
        {"scopes": ["sql"]},
        {"scopes": ["admin"]},
        {"tokens_per_hour": 5},
        {"concurrency": 5},
    ):
        response = await parent.post("/auth/create-key", child | wrong)
        assert (response.status, response.code) == (403, "keys.not_allowed"), wrong


async def test_another_tenants_key_id_does_not_exist(service: Service) -> None:
    theirs = await service.new_key(tenant_id="other")
    mine = await service.with_key(scopes=["keys:write"])
    for path in ("/auth/revoke-key", "/auth/rotate-key"):
        response = await mine.post(path, {"key_id": theirs["key_id"]})
        assert (response.status, response.code) == (404, "keys.unknown")
    listed = (await mine.get("/auth/keys")).json["keys"]
    assert {key["tenant_id"] for key in listed} == {"acme"}
    assert (await mine.get("/auth/keys?tenant_id=other")).status == 403


@pytest.mark.parametrize("path", ["/admin/stats", "/admin/cache/clear"])
@pytest.mark.parametrize("sent", [None, "wrong", "x" * 40])
async def test_401_admin_routes_without_the_admin_key(service: Service, path: str, sent: str | None) -> None:
    key = (await service.new_key(scopes=["generate", "keys:write"]))["api_key"]
    method = "GET" if path.endswith("stats") else "POST"
    response = await service.client(key).request(method, path, body={}, headers={"x-admin-key": sent})
    assert (response.status, response.code) == (401, "keys.refused")


async def test_401_without_a_key_outside_development(service: Service) -> None:
    for method, path in (("POST", PATH), ("GET", "/ai/models"), ("GET", "/usage"), ("POST", "/auth/create-key")):
        assert (await service.client().request(method, path, body={})).status == 401


@pytest.fixture
async def local(environ: dict[str, str]) -> AsyncIterator[Client]:
    """A client on this machine, without a key, of a service in development."""
    settings = load(environ | {"ENVIRONMENT": "development", "EMBEDDED_MODEL": "off"})
    prepare(settings)
    async with running(create_app(settings, ManualClock())) as app:
        yield Client(app)


async def test_development_lets_this_machine_in_without_a_key(local: Client) -> None:
    created = await local.post("/auth/create-key", {"tenant_id": "t", "user_id": "u", "name": "n", "tier": "pro"})
    assert created.status == 201
    assert (await local.get("/ai/models")).status == 200
    assert (await local.get("/usage")).status == 200
    refused = await local.post("/auth/create-key", {"tenant_id": "t", "user_id": "u", "name": "n", "scopes": ["admin"]})
    assert refused.status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:5001"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"x-forwarded-for": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"content-type": "text/plain"},
        {"x-api-key": "vpn_wrong"},
    ],
)
async def test_development_lets_nobody_else_in(local: Client, headers: dict[str, str | None]) -> None:
    response = await local.post("/auth/create-key", {"tenant_id": "t", "user_id": "u", "name": "n"}, headers=headers)
    assert response.status == 401


async def test_development_lets_no_other_machine_in(local: Client) -> None:
    local.ip = "192.168.1.7"
    assert (await local.get("/ai/models")).status == 401


async def test_forwarded_address_counts_only_from_a_trusted_proxy(environ: dict[str, str]) -> None:
    settings = load(environ | {"TRUSTED_PROXIES": "10.0.0.0/8"})
    prepare(settings)
    async with running(create_app(settings, ManualClock())) as app:
        service = Service(app, settings, ManualClock())
        key = (await service.new_key(allowed_ips=["203.0.113.5"]))["api_key"]
        seen = {"x-forwarded-for": "198.51.100.1, 203.0.113.5"}
        assert (await service.client(key, ip="10.1.1.1").post(PATH, ASK, headers=seen)).status != 403
        assert (await service.client(key, ip="198.51.100.9").post(PATH, ASK, headers=seen)).status == 403
