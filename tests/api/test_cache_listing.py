"""GET /admin/cache: how the cache is used, over all workers and entry by entry."""

from typing import Any

import pytest

from aiservice.app import create_app, prepare
from aiservice.core.clock import ManualClock
from aiservice.core.settings import load
from tests.api.asgi_client import Client, running
from tests.api.conftest import ADMIN_KEY, Service

PATH = "/ai/generate"


async def cache_of(service: Service, query: str = "") -> dict[str, Any]:
    response = await service.admin("GET", f"/admin/cache{query}")
    assert response.status == 200
    listed: dict[str, Any] = response.json
    return listed


async def test_empty_cache_has_no_rate(service: Service) -> None:
    assert await cache_of(service) == {"entries": 0, "bytes": 0, "hits": 0, "misses": 0, "hit_rate": 0, "top": []}


async def test_hits_are_listed_for_each_entry_and_all_together(service: Service, client: Client) -> None:
    other = await service.with_key(tenant_id="other")
    for _ in range(4):
        await client.post(PATH, {"prompt": "asked often"})
    for _ in range(2):
        await other.post(PATH, {"prompt": "asked often", "model": "words-10"})
    await client.post(PATH, {"prompt": "asked once"})
    listed = await cache_of(service)
    assert (listed["entries"], listed["hits"], listed["misses"], listed["hit_rate"]) == (3, 4, 3, 0.5714)
    assert [(top["tenant_id"], top["model"], top["hit_count"], top["hit_rate"]) for top in listed["top"]] == [
        ("acme", "echo", 3, 0.75),
        ("other", "words-10", 1, 0.5),
        ("acme", "echo", 0, 0),
    ]
    assert listed["bytes"] == sum(top["bytes"] for top in listed["top"])
    first = listed["top"][0]
    assert len(first["key"]) == 64
    assert first["created_at"] < first["expires_at"]
    assert first["created_at"].endswith("Z")
    assert [top["hit_count"] for top in (await cache_of(service, "?limit=1"))["top"]] == [3]
    assert "asked" not in str(listed), "neither question nor answer is shown"


async def test_cleared_and_expired_entries_are_not_listed(service: Service) -> None:
    client = await service.with_key()
    await client.post(PATH, {"prompt": "x"})
    await service.admin("POST", "/admin/cache/clear")
    assert (await cache_of(service))["top"] == []
    await client.post(PATH, {"prompt": "x"})
    assert len((await cache_of(service))["top"]) == 1
    service.clock.advance_s(4_000)
    after = await cache_of(service)
    assert (after["entries"], after["bytes"], after["top"]) == (0, 0, [])
    assert after["misses"] == 2, "look-ups are counted since the cache was made"


@pytest.mark.parametrize("limit", ["0", "1001", "x", "-1"])
async def test_422_limit_out_of_bounds(service: Service, limit: str) -> None:
    response = await service.admin("GET", f"/admin/cache?limit={limit}")
    assert (response.status, response.code) == (422, "request.field_invalid")


async def test_401_without_the_admin_key(service: Service, client: Client) -> None:
    assert (await client.get("/admin/cache")).status == 401
    wrong = await service.client().request("GET", "/admin/cache", headers={"x-admin-key": ADMIN_KEY + "x"})
    assert wrong.status == 401


async def test_encrypted_answers_are_hits_too(environ: dict[str, str]) -> None:
    settings = load(environ | {"CACHE_ENCRYPTION": "true"})
    prepare(settings)
    clock = ManualClock()
    async with running(create_app(settings, clock)) as app:
        service = Service(app, settings, clock)
        client = await service.with_key()
        answers = [await client.post(PATH, {"prompt": "a secret", "model": "words-10"}) for _ in range(2)]
        assert [answer.header("x-cache") for answer in answers] == ["MISS", "HIT"]
        text = answers[0].json["response"]
        assert answers[1].json["response"] == text != ""
        files = list(settings.server.data_dir.glob("cache.db*"))
        assert len(files) >= 3
        assert all(text.encode() not in file.read_bytes() for file in files)
