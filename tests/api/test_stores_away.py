"""What clients and operators see while Redis or PostgreSQL is away."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aiservice.app import create_app, prepare
from aiservice.core.clock import SystemClock
from aiservice.core.settings import load
from tests.api.asgi_client import Client, running
from tests.api.conftest import ENVIRON, Service
from tests.servers.binaries import PostgresBinaries
from tests.servers.postgres_server import PostgresServer
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.stores

PATH = "/ai/generate"


@asynccontextmanager
async def serving(data_dir: Path, **environ: str) -> AsyncIterator[Service]:
    settings = load(ENVIRON | {"DATA_DIR": str(data_dir)} | environ)
    prepare(settings)
    clock = SystemClock()
    async with running(create_app(settings, clock)) as app:
        yield Service(app, settings, clock)  # type: ignore[arg-type]


async def health_when(client: Client, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first health of which it is so; each is told at once, whatever is away."""
    async with asyncio.timeout(10):
        while True:
            began_s = time.monotonic()
            health: dict[str, Any] = (await client.get("/health")).json
            assert time.monotonic() - began_s < 0.5
            if is_so(health):
                return health
            await asyncio.sleep(0.05)


def statuses(health: dict[str, Any]) -> dict[str, str]:
    return {name: health["checks"][name]["status"] for name in ("database", "limiter", "cache", "spool")}


async def metrics_of(client: Client) -> dict[str, float]:
    lines = (await client.get("/metrics")).body.decode().splitlines()
    rows = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in rows}


WELL = {"database": "ok", "limiter": "ok", "cache": "ok", "spool": "ok"}


async def test_without_redis_it_serves_from_its_share_and_says_that_it_is_degraded(
    redis_binary: Path, tmp_path: Path
) -> None:
    with RedisServer.start(redis_binary) as redis:
        async with serving(tmp_path, REDIS_URL=redis.url) as service:
            client = await service.with_key(quota_requests_per_hour=1_000)
            health = await health_when(client, lambda health: health["status"] == "ok")
            assert statuses(health) == WELL
            assert (await client.post(PATH, {"prompt": "x"})).status == 200
            assert (await metrics_of(client))["aiservice_limits_local_takes_total"] == 0

            redis.kill()
            health = await health_when(client, lambda health: health["checks"]["cache"]["status"] == "down")
            assert (health["status"], statuses(health)) == ("degraded", WELL | {"limiter": "degraded", "cache": "down"})
            assert (await client.get("/health/ready")).status == 200
            answer = await client.post(PATH, {"prompt": "x"})
            assert (answer.status, answer.header("x-cache")) == (200, "MISS")
            metrics = await metrics_of(client)
            assert metrics['aiservice_store_up{store="limits"}'] == 0
            assert metrics['aiservice_store_up{store="cache"}'] == 0
            assert metrics['aiservice_store_up{store="database"}'] == 1
            assert metrics['aiservice_store_failures_total{store="limits"}'] >= 1
            assert metrics["aiservice_limits_local_takes_total"] == 1

            redis.start_again()
            health = await health_when(client, lambda health: health["status"] == "ok")
            assert statuses(health) == WELL
            assert (await metrics_of(client))['aiservice_store_up{store="limits"}'] == 1


async def test_a_redis_that_is_full_is_told_though_it_answers(redis_binary: Path, tmp_path: Path) -> None:
    with RedisServer.start(redis_binary) as redis:
        async with serving(tmp_path, REDIS_URL=redis.url) as service:
            client = await service.with_key(quota_requests_per_hour=1_000)
            await health_when(client, lambda health: health["status"] == "ok")
            redis.call("config", "set", "maxmemory", "1")
            assert (await client.post(PATH, {"prompt": "x"})).status == 200
            health = await health_when(client, lambda health: health["status"] != "ok")
            assert (health["status"], health["checks"]["limiter"]["status"]) == ("degraded", "degraded")
            assert (await metrics_of(client))["aiservice_limits_local_takes_total"] == 1
            redis.call("config", "set", "maxmemory", "0")
            await health_when(client, lambda health: health["status"] == "ok")


async def test_503_without_redis_where_limits_are_closed(redis_binary: Path, tmp_path: Path) -> None:
    with RedisServer.start(redis_binary) as redis:
        async with serving(tmp_path, REDIS_URL=redis.url, LIMITS_WITHOUT_REDIS="closed") as service:
            client = await service.with_key()
            redis.kill()
            health = await health_when(client, lambda health: health["status"] == "down")
            assert statuses(health) == WELL | {"limiter": "down", "cache": "down"}
            for response in (await client.get("/health/ready"), await client.post(PATH, {"prompt": "x"})):
                assert (response.status, response.code) == (503, "stores.unavailable")
                assert int(response.header("retry-after") or 0) >= 1
            assert (await client.get("/health")).status == 503


async def test_a_frozen_postgresql_is_told_at_once_and_known_keys_go_on(
    postgres: PostgresBinaries, postgres_template: Path, tmp_path: Path
) -> None:
    with PostgresServer.start(postgres, template=postgres_template) as server:
        urls = server.new_database()
        environ = {"POSTGRES_URL": urls.app, "POSTGRES_OWNER_URL": urls.owner}
        async with serving(tmp_path, **environ) as service:
            client, stranger = await service.with_key(), await service.with_key()
            assert (await client.post(PATH, {"prompt": "x"})).status == 200
            server.freeze()
            health = await health_when(client, lambda health: health["status"] != "ok")
            assert (health["status"], statuses(health)) == ("degraded", WELL | {"database": "down"})
            assert (await client.get("/health/ready")).status == 200
            assert (await client.post(PATH, {"prompt": "y"})).status == 200
            assert (await metrics_of(client))['aiservice_store_up{store="database"}'] == 0
            began_s = time.monotonic()
            refused = await stranger.post(PATH, {"prompt": "x"})
            assert (refused.status, refused.code) == (503, "stores.unavailable")
            assert time.monotonic() - began_s < 3
            server.thaw()
            await health_when(client, lambda health: health["status"] == "ok")
            assert (await stranger.post(PATH, {"prompt": "x"})).status == 200
