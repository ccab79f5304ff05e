"""The assembly: settings to rooms to the ASGI application. The only file that knows every class."""

import asyncio
import hmac
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from aiservice.admin import Health, Stats, Stores
from aiservice.api.asgi import App
from aiservice.api.auth import Auth
from aiservice.api.dispatch import build as build_doors
from aiservice.api.rooms import Rooms
from aiservice.api.routes import ENDPOINTS
from aiservice.cache import Cache, CacheIndex, ResponseCache
from aiservice.cache.redis import RedisCache
from aiservice.cache.sql import SqlCacheIndex
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
from aiservice.limits import Limiter, Limits
from aiservice.limits.outage import OutageLimiter
from aiservice.limits.redis import RedisLimiter
from aiservice.limits.sql import SqlRuleStore
from aiservice.limits.sqlite import SqliteLimiter
from aiservice.observe.metrics import Metrics
from aiservice.sqlassist.client import SandboxMachine, socket_path
from aiservice.sqlassist.databases import Databases
from aiservice.sqlassist.databases.sql import SqlDatabaseStore
from aiservice.stores import migrate, roles
from aiservice.stores.bell import Bell, RedisBell, SilentBell
from aiservice.stores.databases import CACHE_FILE, LIMITS_FILE, open_main, open_owner, open_replica
from aiservice.stores.partitions import Partitions
from aiservice.stores.pulse import Pulse
from aiservice.stores.redis import Redis, redis_addresses
from aiservice.usage import Ledger, Spool, UsageStore
from aiservice.usage.sql import SqlUsageStore

SPOOL_FOLDER = "spool"
METRICS_FLUSH_S = 0.1
RedisPair = tuple[Redis, Redis]
_CACHE_LABEL = b"aiservice cache: mac, version 1"
_DATABASES_LABEL = b"aiservice databases: addresses, version 1"
_IDEMPOTENCY_LABEL = b"aiservice idempotency: answers, version 1"


def prepare(settings: Settings) -> None:
    """Makes DATA_DIR and its secrets and brings the database to its newest form; leaves nothing open.

    Raises `StartRefused` with the reason.
    """
    data_dir = settings.server.data_dir
    migrate.make_folder(data_dir)
    load_pepper(settings.keys.pepper, data_dir)
    roles.check(settings)
    if not migrate.is_current(settings):
        migrate.upgrade(settings)


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
    database = open_main(settings)
    try:
        pepper = load_pepper(settings.keys.pepper, settings.server.data_dir)
        yield Keys(SqlKeyStore(database), settings.keys, settings.limits, pepper=pepper, clock=SystemClock())
    finally:
        await database.dispose()


@asynccontextmanager
async def open_usage(settings: Settings) -> AsyncGenerator[UsageStore]:
    """The ledger's database alone, for commands; as its owner, who alone may make sums anew."""
    database = open_owner(settings)
    try:
        yield SqlUsageStore(database, SystemClock())
    finally:
        await database.dispose()


@asynccontextmanager
async def open_databases(settings: Settings) -> AsyncGenerator[Databases]:
    """The registered databases alone, for commands."""
    database = open_main(settings)
    try:
        pepper = load_pepper(settings.keys.pepper, settings.server.data_dir)
        secret = hmac.digest(pepper, _DATABASES_LABEL, "sha256")
        yield Databases(SqlDatabaseStore(database), secret=secret, clock=SystemClock())
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
    database = open_main(settings)
    stack.push_async_callback(database.dispose)
    replica = open_replica(settings)
    if replica is not None:
        stack.push_async_callback(replica.dispose)
    redis = await _open_redis(settings, stack)
    bell: Bell = SilentBell() if redis is None else RedisBell(redis[0])
    stack.push_async_callback(bell.aclose)

    rooms.keys = Keys(SqlKeyStore(database), settings.keys, settings.limits, pepper=pepper, clock=clock, bell=bell)
    await _run_beside(stack, rooms.keys.watch())
    secret = hmac.digest(pepper, _IDEMPOTENCY_LABEL, "sha256")
    attempts = SqlIdempotencyStore(database, clock)
    rooms.idempotency = Idempotency(attempts, secret=secret, metrics=rooms.metrics, clock=clock)
    await _run_beside(stack, rooms.idempotency.tend())
    limiter = _limiter(settings, clock, redis)
    rooms.limits = Limits(settings.limits, limiter, SqlRuleStore(database, clock), bell=bell)
    stack.push_async_callback(rooms.limits.aclose)
    await _run_beside(stack, rooms.limits.watch())
    secret = hmac.digest(pepper, _CACHE_LABEL, "sha256")
    cache = _cache(rooms, secret, SqlCacheIndex(database, clock), redis=redis)
    rooms.cache = ResponseCache(settings.cache, cache)
    stack.push_async_callback(rooms.cache.aclose)
    rooms.registry = build_registry(settings, clock)
    await rooms.registry.start()
    stack.push_async_callback(rooms.registry.aclose)
    rows = SqlUsageStore(database, clock, replica=replica)
    rooms.ledger = Ledger(rows, Spool(data_dir / SPOOL_FOLDER, clock=clock), settings.usage)
    running = asyncio.create_task(rooms.ledger.run())
    stack.push_async_callback(_closed, rooms.ledger, running)

    limits_redis, cache_redis = redis or (None, None)
    stores = Stores(
        Pulse(database, clock),
        replica=None if replica is None else Pulse(replica, clock),
        limits=limits_redis,
        cache=cache_redis,
        outage=limiter if isinstance(limiter, OutageLimiter) else None,
        partitions=None if settings.stores.postgres_url is None else Partitions(open_owner(settings), clock),
    )
    secret = hmac.digest(pepper, _DATABASES_LABEL, "sha256")
    rooms.databases = Databases(SqlDatabaseStore(database), secret=secret, clock=clock)
    rooms.sql = SandboxMachine(lambda: socket_path(data_dir))
    stack.push_async_callback(rooms.sql.aclose)
    _join(rooms, stores)
    await _watch(stores, stack)
    stack.callback(rooms.metrics.flush)
    await _run_beside(stack, _flush(rooms))
    stack.push_async_callback(rooms.corridor.aclose)
    rooms.responses = Responses(SqlResponseStore(database, clock), settings.responses, clock)
    await _run_beside(stack, rooms.responses.tend())
    stack.push_async_callback(rooms.responses.aclose)


async def _open_redis(settings: Settings, stack: AsyncExitStack) -> RedisPair | None:
    """The Redis of limits and events, and that of the cache, which is the same one in a cluster that has both."""
    addresses = redis_addresses(settings)
    if addresses is None:
        return None
    timeout_s = settings.stores.redis_timeout_ms / 1_000
    limits = Redis(addresses[0], timeout_s=timeout_s, name="limits")
    is_one = addresses[0] == addresses[1]
    cache = limits if is_one else Redis(addresses[1], timeout_s=timeout_s, name="cache")
    for redis in dict.fromkeys((limits, cache)):
        await redis.start()
        stack.push_async_callback(redis.aclose)
    return limits, cache


def _limiter(settings: Settings, clock: Clock, redis: RedisPair | None) -> Limiter:
    if redis is None:
        return SqliteLimiter(settings.server.data_dir / LIMITS_FILE, clock)
    mode = settings.limits.without_redis
    return OutageLimiter(RedisLimiter(redis[0]), shares=settings.process_count, mode=mode, clock=clock)


def _cache(rooms: Rooms, secret: bytes, index: CacheIndex, *, redis: RedisPair | None) -> Cache:
    settings, clock = rooms.settings, rooms.clock
    if redis is None:
        return SqliteCache(settings.server.data_dir / CACHE_FILE, settings.cache, clock, secret=secret)
    return RedisCache(redis[1], settings.cache, clock, secret=secret, index=index)


async def _watch(stores: Stores, stack: AsyncExitStack) -> None:
    """Asks the databases how they are, and makes the months of the ledger."""
    await _run_beside(stack, stores.database.run())
    if stores.replica is not None:
        await _run_beside(stack, stores.replica.run())
    if stores.partitions is not None:
        await _run_beside(stack, stores.partitions.watch())


def _join(rooms: Rooms, stores: Stores) -> None:
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
    rooms.health = Health(
        keys=rooms.keys, limits=rooms.limits, cache=rooms.cache, ledger=rooms.ledger, stores=stores, clock=rooms.clock
    )
    rooms.auth = Auth(rooms.settings, rooms.keys)
    rooms.started_s = rooms.clock.monotonic_s()


async def _flush(rooms: Rooms) -> None:
    while True:
        await asyncio.sleep(METRICS_FLUSH_S)
        rooms.health.measure(rooms.metrics)
        rooms.metrics.flush()


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
