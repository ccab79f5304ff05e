"""The assembly: settings to rooms to the ASGI application. The only file that knows every class."""

import asyncio
import hmac
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from aiservice.admin import Stats
from aiservice.api.asgi import App
from aiservice.api.auth import Auth
from aiservice.api.dispatch import build as build_doors
from aiservice.api.rooms import Rooms
from aiservice.api.routes import ENDPOINTS
from aiservice.cache import ResponseCache
from aiservice.cache.sqlite import SqliteCache
from aiservice.core.clock import Clock, SystemClock
from aiservice.core.settings import Settings
from aiservice.core.types import Deadline
from aiservice.engines import Registry
from aiservice.engines.registry import build as build_registry
from aiservice.gateway import Corridor, Idempotency, Recorder
from aiservice.gateway.responses import Responses
from aiservice.gateway.responses.sql import SqlResponseStore
from aiservice.gateway.sql import SqlIdempotencyStore
from aiservice.keys import Keys, load_pepper
from aiservice.keys.sql import SqlKeyStore
from aiservice.limits import Limits
from aiservice.limits.sql import SqlRuleStore
from aiservice.limits.sqlite import SqliteLimiter
from aiservice.observe.metrics import Metrics
from aiservice.stores import migrate
from aiservice.stores.databases import CACHE_FILE, LIMITS_FILE, open_main
from aiservice.usage import Ledger, Spool, UsageStore
from aiservice.usage.sql import SqlUsageStore

SPOOL_FOLDER = "spool"
METRICS_FLUSH_S = 0.1
_CACHE_LABEL = b"aiservice cache: mac, version 1"
_IDEMPOTENCY_LABEL = b"aiservice idempotency: answers, version 1"


def prepare(settings: Settings) -> None:
    """Makes DATA_DIR and its secrets and brings the database to its newest form; leaves nothing open.

    Raises `StartRefused` with the reason.
    """
    data_dir = settings.server.data_dir
    load_pepper(settings.keys.pepper, data_dir)
    if not migrate.is_current(data_dir):
        migrate.upgrade(data_dir)


def create_app(settings: Settings, clock: Clock | None = None) -> App:
    """The ASGI application; files, sockets and background work are opened by its lifespan."""
    rooms = Rooms(settings, clock or SystemClock(), Metrics(ENDPOINTS))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            await _open(rooms, stack)
            yield

    return build_doors(rooms, lifespan)


@asynccontextmanager
async def open_keys(settings: Settings) -> AsyncGenerator[Keys]:
    """The keys room alone, for commands."""
    database = open_main(settings.server.data_dir)
    try:
        pepper = load_pepper(settings.keys.pepper, settings.server.data_dir)
        yield Keys(SqlKeyStore(database), settings.keys, settings.limits, pepper=pepper, clock=SystemClock())
    finally:
        await database.dispose()


@asynccontextmanager
async def open_usage(settings: Settings) -> AsyncGenerator[UsageStore]:
    """The ledger's database alone, for commands."""
    database = open_main(settings.server.data_dir)
    try:
        yield SqlUsageStore(database, SystemClock())
    finally:
        await database.dispose()


@asynccontextmanager
async def open_registry(settings: Settings) -> AsyncGenerator[Registry]:
    """The engines alone, asked once, for commands."""
    registry = build_registry(settings, SystemClock())
    await registry.refresh()
    try:
        yield registry
    finally:
        await registry.aclose()


async def _open(rooms: Rooms, stack: AsyncExitStack) -> None:
    """Fills the rooms, the ones that others stand on first; the stack closes them the other way round."""
    settings, clock = rooms.settings, rooms.clock
    data_dir = settings.server.data_dir
    pepper = load_pepper(settings.keys.pepper, data_dir)
    database = open_main(data_dir)
    stack.push_async_callback(database.dispose)

    rooms.keys = Keys(SqlKeyStore(database), settings.keys, settings.limits, pepper=pepper, clock=clock)
    await _run_beside(stack, rooms.keys.watch())
    secret = hmac.digest(pepper, _IDEMPOTENCY_LABEL, "sha256")
    attempts = SqlIdempotencyStore(database, clock)
    rooms.idempotency = Idempotency(attempts, secret=secret, metrics=rooms.metrics, clock=clock)
    await _run_beside(stack, rooms.idempotency.tend())
    limiter = SqliteLimiter(data_dir / LIMITS_FILE, clock)
    rooms.limits = Limits(settings.limits, limiter, SqlRuleStore(database, clock))
    stack.push_async_callback(rooms.limits.aclose)
    await _run_beside(stack, rooms.limits.watch())
    secret = hmac.digest(pepper, _CACHE_LABEL, "sha256")
    rooms.cache = ResponseCache(
        settings.cache, SqliteCache(data_dir / CACHE_FILE, settings.cache, clock, secret=secret)
    )
    stack.push_async_callback(rooms.cache.aclose)
    rooms.registry = build_registry(settings, clock)
    await rooms.registry.start()
    stack.push_async_callback(rooms.registry.aclose)
    rooms.ledger = Ledger(SqlUsageStore(database, clock), Spool(data_dir / SPOOL_FOLDER, clock=clock), settings.usage)
    running = asyncio.create_task(rooms.ledger.run())
    stack.push_async_callback(_closed, rooms.ledger, running)

    stack.callback(rooms.metrics.flush)
    await _run_beside(stack, _flush(rooms.metrics))

    _join(rooms)
    stack.push_async_callback(rooms.corridor.aclose)
    rooms.responses = Responses(SqlResponseStore(database, clock), settings.responses, clock)
    await _run_beside(stack, rooms.responses.tend())
    stack.push_async_callback(rooms.responses.aclose)


def _join(rooms: Rooms) -> None:
    """What stands over several rooms."""
    engines = rooms.settings.engines
    recorder = Recorder(
        limits=rooms.limits, cache=rooms.cache, ledger=rooms.ledger, metrics=rooms.metrics, clock=rooms.clock
    )
    rooms.corridor = Corridor(
        keys=rooms.keys,
        limits=rooms.limits,
        cache=rooms.cache,
        registry=rooms.registry,
        recorder=recorder,
        deadline=Deadline(engines.connect_s, engines.first_token_s, engines.between_tokens_s, engines.total_s),
    )
    rooms.stats = Stats(keys=rooms.keys, cache=rooms.cache, registry=rooms.registry, ledger=rooms.ledger)
    rooms.auth = Auth(rooms.settings, rooms.keys)
    rooms.started_s = rooms.clock.monotonic_s()


async def _flush(metrics: Metrics) -> None:
    while True:
        await asyncio.sleep(METRICS_FLUSH_S)
        metrics.flush()


async def _run_beside(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Runs a loop until the stack closes."""
    task = asyncio.create_task(work)

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(end)


async def _closed(ledger: Ledger, running: asyncio.Task[None]) -> None:
    await ledger.aclose()
    await running
