"""/auth/*: the life of a key."""

import pytest

from tests.api.conftest import Service

WANTED = {"tenant_id": "acme", "user_id": "ann", "name": "ci"}


async def test_201_created_key_has_the_documented_fields(service: Service) -> None:
    created = await service.admin("POST", "/auth/create-key", WANTED | {"tier": "pro", "quota_requests_per_hour": 5})
    assert created.status == 201
    facts = created.json
    assert facts["api_key"].startswith("vpn_")
    assert len(facts["api_key"]) == 66
    expected = WANTED | {"tier": "pro", "quota_requests_per_hour": 5}
    assert {name: facts[name] for name in expected} == expected
    assert {"key_id", "scopes", "created_at", "expires_at"} <= set(facts)
    assert (await service.client(facts["api_key"]).get("/usage")).json["requests_limit"] == 5


async def test_tier_gives_the_quota_where_none_is_named(service: Service) -> None:
    for tier, quota in (("free", 100), ("pro", 1000), ("enterprise", 10_000)):
        assert (await service.new_key(tier=tier))["quota_requests_per_hour"] == quota


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"tier": "gold"}, "tier"),
        ({"expires_in_days": 0}, "expires_in_days"),
        ({"expires_in_days": 3651}, "expires_in_days"),
        ({"quota_requests_per_hour": 0}, "quota_requests_per_hour"),
        ({"quota_requests_per_hour": "many"}, "quota_requests_per_hour"),
        ({"tenant_id": "a\nb"}, "tenant_id"),
        ({"tenant_id": ""}, "tenant_id"),
        ({"name": "\u0000"}, "name"),
        ({"scopes": ["root"]}, "scopes.0"),
        ({"allowed_ips": ["not an address"]}, "allowed_ips"),
        ({"extra": 1}, "extra"),
    ],
)
async def test_422_names_the_field(service: Service, wrong: dict[str, object], param: str) -> None:
    response = await service.admin("POST", "/auth/create-key", WANTED | wrong)
    assert (response.status, response.code) == (422, "request.field_invalid")
    assert response.json["error"]["param"] == param


async def test_verify_key_says_valid_or_nothing(service: Service) -> None:
    facts = await service.new_key()
    good = await service.client().post("/auth/verify-key", {"api_key": facts["api_key"]})
    assert good.json["valid"] is True
    assert good.json["key_id"] == facts["key_id"]
    assert "api_key" not in good.json
    bad = await service.client().post("/auth/verify-key", {"api_key": facts["api_key"][:-1] + "?"})
    assert (bad.status, bad.json) == (200, {"valid": False})
    assert (await service.client(facts["api_key"]).get("/usage")).json["requests_used"] == 0


async def test_429_verify_key_is_bounded_per_address(service: Service) -> None:
    client = service.client(ip="10.5.5.5")
    statuses = [(await client.post("/auth/verify-key", {"api_key": "x"})).status for _ in range(31)]
    assert statuses == [200] * 30 + [429]


async def test_list_pages_newest_first_without_secrets(service: Service) -> None:
    made = [(await service.new_key())["key_id"]]
    for number in range(4):
        service.clock.advance_s(1)
        made.append((await service.new_key(name=f"key {number}"))["key_id"])
    page = await service.admin("GET", "/auth/keys?tenant_id=acme&limit=3")
    rest = await service.admin("GET", f"/auth/keys?tenant_id=acme&limit=3&cursor={page.json['next_cursor']}")
    listed = page.json["keys"] + rest.json["keys"]
    assert [key["key_id"] for key in listed] == made[::-1]
    assert rest.json["next_cursor"] is None
    assert all("api_key" not in key and "key_hash" not in key for key in listed)


async def test_revoked_key_is_refused_at_once(service: Service) -> None:
    facts = await service.new_key()
    client = service.client(facts["api_key"])
    assert (await client.get("/usage")).status == 200
    revoked = await service.admin("POST", "/auth/revoke-key", {"key_id": facts["key_id"]})
    assert revoked.status == 200
    assert (await client.get("/usage")).status == 401
    again = await service.admin("POST", "/auth/revoke-key", {"key_id": facts["key_id"]})
    assert again.status == 200, "revoking twice is the same as once"
    unknown = await service.admin("POST", "/auth/revoke-key", {"key_id": "01977420-dc00-73e4-a5a2-0ca6b5bc7b03"})
    assert (unknown.status, unknown.code) == (404, "keys.unknown")


async def test_rotation_with_overlap_keeps_the_old_key_that_long(service: Service) -> None:
    old = await service.new_key()
    new = await service.admin("POST", "/auth/rotate-key", {"key_id": old["key_id"], "overlap_seconds": 60})
    assert new.status == 201
    assert new.json["api_key"] != old["api_key"]
    for key in (old["api_key"], new.json["api_key"]):
        assert (await service.client(key).get("/usage")).status == 200
    service.clock.advance_s(61)
    assert (await service.client(old["api_key"]).get("/usage")).status == 401
    assert (await service.client(new.json["api_key"]).get("/usage")).status == 200


async def test_rotation_without_overlap_ends_the_old_key(service: Service) -> None:
    old = await service.new_key()
    assert (await service.client(old["api_key"]).get("/usage")).status == 200
    await service.admin("POST", "/auth/rotate-key", {"key_id": old["key_id"]})
    assert (await service.client(old["api_key"]).get("/usage")).status == 401
