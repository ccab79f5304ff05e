"""POST /ai/generate: equal requests at workers and instances that share a Redis, also while it is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from aiservice.app import create_app, prepare
from aiservice.core.settings import Settings, load
from tests.api.asgi_client import Client, running
from tests.api.conftest import ENVIRON, Service
from tests.api.test_single_flight import (
    ASK,
    PATH,
    SLOW,
    SLOW_STREAM,
    TEXT,
    share_a_flight,
    states,
    text_of,
)
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.stores

# This machine's noise must not look like an outage, and an outage must not look like the engine's 20 words.
REDIS = {"REDIS_TIMEOUT_MS": "1000"}
OUTAGE = {"REDIS_TIMEOUT_MS": "50"}
EXTRA_S = 0.5


async def started(settings: Settings, stack: AsyncExitStack, service: Service) -> Service:
    """One more worker."""
    app = await stack.enter_async_context(running(create_app(settings, service.clock)))
    return Service(app, settings, service.clock)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def environ(environ: dict[str, str], redis_url: str) -> dict[str, str]:
    """Of `service`: it shares a Redis."""
    return environ | REDIS | {"REDIS_URL": redis_url}


@pytest.fixture
async def elsewhere(service: Service, client: Client, stack: AsyncExitStack) -> Client:
    """The same key at another worker."""
    other = await started(service.settings, stack, service)
    return other.client(client.key)


async def test_workers_share_a_flight(service: Service, client: Client, elsewhere: Client) -> None:
    await share_a_flight(service, client, elsewhere)


async def test_what_one_worker_kept_another_gives_and_a_clearing_ends_it_for_both(
    service: Service, client: Client, elsewhere: Client
) -> None:
    assert (await client.post(PATH, ASK)).header("x-cache") == "MISS"
    assert (await elsewhere.post(PATH, ASK)).header("x-cache") == "HIT"
    async with asyncio.timeout(5):
        # What another worker found is written down each second.
        while [entry["hit_count"] for entry in (await service.admin("GET", "/admin/cache")).json["top"]] != [1]:
            await asyncio.sleep(0.1)
    assert (await service.admin("POST", "/admin/cache/clear", {"tenant_id": "acme"})).json["cleared"] == 1
    assert (await elsewhere.post(PATH, ASK)).header("x-cache") == "MISS"
    assert (await client.post(PATH, ASK)).header("x-cache") == "HIT"


async def test_a_leader_that_leaves_goes_on_for_another_worker(client: Client, elsewhere: Client) -> None:
    leave = asyncio.Event()
    leader = asyncio.create_task(client.post(PATH, SLOW_STREAM, leave=leave))
    await asyncio.sleep(0.2)
    follower = asyncio.create_task(elsewhere.post(PATH, SLOW))
    await asyncio.sleep(0.2)
    leave.set()
    await leader
    assert ((await follower).header("x-cache"), text_of(await follower)) == ("HIT", TEXT)


async def test_a_worker_that_stops_hands_over(service: Service, client: Client) -> None:
    async with AsyncExitStack() as stopped:
        there = (await started(service.settings, stopped, service)).client(client.key)
        await there.get("/usage")
        leader = asyncio.create_task(there.post(PATH, SLOW_STREAM))
        await asyncio.sleep(0.2)
        follower = asyncio.create_task(client.post(PATH, SLOW))
        await asyncio.sleep(0.1)
    assert ((await follower).header("x-cache"), text_of(await follower)) == ("MISS", TEXT)
    await leader


async def test_a_request_after_a_clearing_elsewhere_joins_no_flight_from_before(
    service: Service, client: Client, elsewhere: Client
) -> None:
    before = asyncio.create_task(elsewhere.post(PATH, SLOW))
    await asyncio.sleep(0.2)
    await service.admin("POST", "/admin/cache/clear")
    after = await elsewhere.post(PATH, SLOW)
    assert (await before).header("x-cache") == "MISS"
    assert after.header("x-cache") == "MISS"
    assert (await client.post(PATH, SLOW)).header("x-cache") == "HIT", "what was begun after it"


async def test_instances_share_a_flight(
    postgres_settings: Settings, redis_url: str, tmp_path: Path, stack: AsyncExitStack, service: Service
) -> None:
    """Two machines: each its own folder, one database and one Redis for both."""
    stores = postgres_settings.stores
    environ = (
        ENVIRON
        | REDIS
        | {
            "POSTGRES_URL": stores.postgres_url or "",
            "POSTGRES_OWNER_URL": stores.postgres_owner_url or "",
            "REDIS_URL": redis_url,
            "INSTANCES": "2",
            "KEY_PEPPER": "the pepper that both instances of this test share",
        }
    )
    instances = []
    for name in ("one", "two"):
        settings = load(environ | {"DATA_DIR": str(tmp_path / name)})
        prepare(settings)
        instances.append(await started(settings, stack, service))
    here = await instances[0].with_key()
    there = instances[1].client(here.key)
    answers = await asyncio.gather(*((here, there)[n % 2].post(PATH, ASK) for n in range(10)))
    assert states(answers) == ["HIT"] * 9 + ["MISS"]
    assert {text_of(answer) for answer in answers} == {TEXT}
    assert (await instances[1].admin("POST", "/admin/cache/clear")).json["cleared"] == 1
    assert (await here.post(PATH, ASK)).header("x-cache") == "MISS"


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_without_redis_every_request_is_answered_and_nothing_waits_for_it(
    environ: dict[str, str], redis_binary: Path, fault: str, stack: AsyncExitStack, service: Service
) -> None:
    with RedisServer.start(redis_binary) as server:
        stack.callback(server.thaw)
        settings = load(environ | OUTAGE | {"REDIS_URL": server.url})
        own = await started(settings, stack, service)
        client = own.client((await service.with_key()).key)
        assert (await client.post(PATH, ASK)).header("x-cache") == "MISS"
        assert (await client.post(PATH, ASK)).header("x-cache") == "HIT"
        getattr(server, fault)()
        loop = asyncio.get_running_loop()
        for number in range(3):
            began_s = loop.time()
            answer = await client.post(PATH, ASK | {"seed": number})
            assert (answer.status, answer.header("x-cache"), text_of(answer)) == (200, "MISS", TEXT)
            assert loop.time() - began_s < 20 * 0.02 + EXTRA_S
        assert (await own.admin("POST", "/admin/cache/clear")).code == "stores.unavailable"
        shared = await asyncio.gather(*(client.post(PATH, SLOW) for _ in range(5)))
        assert states(shared) == ["HIT"] * 4 + ["MISS"], "in a worker flights are shared as ever"
