"""/usage, /admin/*, /ai/models, /health, /metrics, /docs, CORS."""

import asyncio
import shutil
from pathlib import Path

import pytest

from aiservice.app import create_app, prepare
from aiservice.core.clock import ManualClock
from aiservice.core.settings import load
from tests.api.asgi_client import Client, running
from tests.api.conftest import Service, Template
from tests.api.rows import rows_of

PATH = "/ai/generate"


async def test_usage_is_the_buckets_view(service: Service, client: Client) -> None:
    answer = await client.post(PATH, {"prompt": "x"})
    usage = (await client.get("/usage")).json
    assert set(usage) == {"requests_used", "requests_limit", "requests_remaining", "window_reset", "limits"}
    assert (usage["requests_used"], usage["requests_limit"], usage["requests_remaining"]) == (1, 100, 99)
    assert str(usage["requests_remaining"]) == answer.header("x-ratelimit-remaining")
    assert usage["window_reset"].endswith("Z")


@pytest.mark.parametrize(("group_by", "keys"), [("model", {"echo", "words-10"}), ("endpoint", {PATH})])
async def test_usage_series_sums_the_callers_rows(
    service: Service, client: Client, group_by: str, keys: set[str]
) -> None:
    other = await service.with_key()
    await other.post(PATH, {"prompt": "not mine"})
    await client.post(PATH, {"prompt": "x"})
    await client.post(PATH, {"prompt": "x", "model": "words-10"})
    await rows_of(service, client, count=2)
    usage = (await client.get(f"/usage?group_by={group_by}")).json
    assert {row["key"] for row in usage["series"]} == keys
    assert sum(row["requests"] for row in usage["series"]) == 2
    assert sum(row["total_tokens"] for row in usage["series"]) == 3 + 11
    assert usage["as_of"].endswith("Z")


async def test_422_usage_span_that_ends_before_it_begins(client: Client) -> None:
    response = await client.get("/usage?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z")
    assert (response.status, response.json["error"]["param"]) == (422, "from")


async def test_usage_logs_page_newest_first_and_show_only_the_callers(service: Service, client: Client) -> None:
    other = await service.with_key(tenant_id="other")
    await other.post(PATH, {"prompt": "not mine"})
    for number in range(5):
        await client.post(PATH, {"prompt": f"q{number}"})
        service.clock.advance_s(1)
    await rows_of(service, client, count=5)
    page = (await client.get("/usage/logs?limit=3")).json
    rest = (await client.get(f"/usage/logs?limit=3&cursor={page['next_cursor']}")).json
    times = [row["created_at"] for row in page["logs"] + rest["logs"]]
    assert len(times) == 5
    assert times == sorted(times, reverse=True)
    assert rest["next_cursor"] is None


async def test_admin_stats_add_up(service: Service, client: Client) -> None:
    for _ in range(2):
        await client.post(PATH, {"prompt": "x"})
    await client.post(PATH, {"prompt": "x", "temperature": 9})
    await rows_of(service, client, count=3)
    stats = (await service.admin("GET", "/admin/stats")).json
    assert stats["total_requests"] == 3
    assert stats["cache_hit_rate"] == 0.5
    assert stats["active_api_keys"] == 1
    assert stats["requests_by_status"] == {"200": 2, "422": 1}
    assert stats["tokens"] == {"prompt": 1, "completion": 2, "total": 3, "saved": 3}
    assert "fake/echo" in stats["models_loaded"]
    assert stats["uptime_seconds"] >= 0


async def test_cache_clear_by_tenant_model_and_all(service: Service, client: Client) -> None:
    other = await service.with_key(tenant_id="other")
    for who in (client, other):
        for model in ("echo", "words-10"):
            await who.post(PATH, {"prompt": "x", "model": model})
    assert (await service.admin("POST", "/admin/cache/clear", {"tenant_id": "other", "model": "echo"})).json == {
        "cleared": 1
    }
    assert (await other.post(PATH, {"prompt": "x"})).header("x-cache") == "MISS"
    assert (await client.post(PATH, {"prompt": "x"})).header("x-cache") == "HIT"
    assert (await service.admin("POST", "/admin/cache/clear", {"model": "words-10"})).json == {"cleared": 2}
    assert (await service.admin("POST", "/admin/cache/clear")).json == {"cleared": 2}
    assert (await client.post(PATH, {"prompt": "x"})).header("x-cache") == "MISS"


async def test_models_name_the_default(client: Client) -> None:
    listed = (await client.get("/ai/models")).json
    assert listed["default"] == "echo"
    (default,) = [model for model in listed["models"] if model["is_default"]]
    assert default["id"] == "fake/echo"
    assert default["loaded"] is True
    assert {"name", "engine", "size_bytes", "context_length", "capabilities"} <= set(default)


async def test_health_names_every_check(service: Service) -> None:
    response = await service.client().get("/health")
    assert response.status == 200
    health = response.json
    assert health["status"] == "ok"
    checks = health["checks"]
    assert {name: checks[name]["status"] for name in ("database", "cache", "limiter", "spool")} == {
        "database": "ok",
        "cache": "ok",
        "limiter": "ok",
        "spool": "ok",
    }
    assert checks["replica"] is None
    assert health["checks"]["engines"]["fake"]["status"] == "ok"
    assert (await service.client().get("/health/live")).json == {"status": "ok"}
    assert (await service.client().get("/health/ready")).status == 200


async def test_503_not_ready_without_its_database(environ: dict[str, str]) -> None:
    settings = load(environ)
    prepare(settings)
    database = Path(environ["DATA_DIR"]) / "main.db"
    shutil.move(database, database.with_suffix(".gone"))
    database.mkdir()
    async with running(create_app(settings, ManualClock())) as app:
        client = Client(app)
        async with asyncio.timeout(5):
            while (ready := await client.get("/health/ready")).status == 200:
                await asyncio.sleep(0.05)
        assert (ready.status, ready.code) == (503, "stores.unavailable")
        health = await client.get("/health")
        assert (health.status, health.json["status"]) == (503, "down")
        assert health.json["checks"]["database"]["status"] == "down"
        assert (await client.get("/health/live")).status == 200


async def test_metrics_count_requests_by_route_and_status(service: Service, client: Client) -> None:
    await client.post(PATH, {"prompt": "x"})
    await client.get("/no/such/route")
    text = (await service.client().get("/metrics")).body.decode()
    assert 'aiservice_requests_total{endpoint="/ai/generate",status="200"} 1.0' in text
    assert 'aiservice_requests_total{endpoint="other",status="404"} 1.0' in text
    assert 'aiservice_tokens_total{kind="completion",model="echo"} 2.0' in text
    assert 'aiservice_cache_lookups_total{result="miss"} 1.0' in text


async def test_docs_are_served_from_here(service: Service) -> None:
    client = service.client()
    page = (await client.get("/docs")).body.decode()
    assert "http://" not in page
    assert "https://" not in page
    for path in ("/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/favicon.png"):
        assert path in page
        assert (await client.get(path)).status == 200
    assert (await client.get("/docs/..%2f..%2fpyproject.toml")).status == 404
    assert PATH in (await client.get("/openapi.json")).json["paths"]
    assert (await client.get("/")).header("location") == "/docs"


async def test_cors_answers_only_known_origins(environ: dict[str, str]) -> None:
    settings = load(environ | {"ALLOWED_ORIGINS": "https://app.example"})
    prepare(settings)
    async with running(create_app(settings, ManualClock())) as app:
        client = Client(app)
        for origin, allowed in (("https://app.example", "https://app.example"), ("https://evil.example", None)):
            asked = {"origin": origin, "access-control-request-method": "POST"}
            preflight = await client.request("OPTIONS", PATH, headers=asked)
            assert preflight.header("access-control-allow-origin") == allowed
            assert preflight.status == (204 if allowed else 403)
            answer = await client.get("/health/live", headers={"origin": origin})
            assert answer.header("access-control-allow-origin") == allowed


# What the Fetch standard shows to every page, what is the browser's own business, and what steers caches and proxies.
NEVER_EXPOSED = {"content-type", "content-length", "cache-control", "vary", "x-accel-buffering"}


MESSAGES = {"model": "echo", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}


async def test_pages_of_known_origins_may_read_every_header_of_an_answer(
    environ: dict[str, str], template: Template
) -> None:
    settings = load(environ | {"ALLOWED_ORIGINS": "https://app.example"})
    prepare(settings)
    clock = ManualClock()
    async with running(create_app(settings, clock)) as app:
        facts = {"quota_requests_per_hour": 3, "tokens_per_hour": 10_000}
        client = await Service(app, settings, clock, template.key).with_key(**facts)
        headers = {"origin": "https://app.example", "idempotency-key": "once"}
        answers = [
            await client.post(PATH, {"prompt": "x", "stream": True}, headers=headers),
            await client.post(PATH, {"prompt": "x", "stream": True}, headers=headers),
            *[await client.post(PATH, {"prompt": "x"}, headers={"origin": "https://app.example"}) for _ in range(3)],
            await client.post("/v1/messages", MESSAGES, headers={"origin": "https://app.example"}),
        ]
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 429, 429]
    exposed = set((answers[0].header("access-control-expose-headers") or "").split(", "))
    sent = {name for answer in answers for name, _ in answer.headers if not name.startswith("access-control-")}
    assert sent - NEVER_EXPOSED == exposed
