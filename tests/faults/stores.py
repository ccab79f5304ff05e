"""A Redis and a PostgreSQL of a test's own behind lines that can be spoilt, and everything that can befall them."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.proxy import ProxyProcess, Way, proxying
from tests.servers.binaries import PostgresBinaries
from tests.servers.postgres_server import PostgresServer, Urls
from tests.servers.redis_server import RedisServer

LATENCY_S = 0.2
BYTES_PER_S = 200
BETWEEN_RESETS_S = 0.05
# A master that nobody will ever reach: who is told to follow it takes no writes.
NOBODY = ("127.0.0.1", 1)


@dataclass(frozen=True)
class Stores:
    """Both servers, each with the line that the service reaches it by; `urls` leads past the line."""

    redis: RedisServer
    redis_line: ProxyProcess
    postgres: PostgresServer
    postgres_line: ProxyProcess
    urls: Urls

    def environ(self) -> dict[str, str]:
        ports = (f":{self.postgres.port}/", f":{self.postgres_line.port}/")
        return {
            "REDIS_URL": f"redis://127.0.0.1:{self.redis_line.port}/0",
            "POSTGRES_URL": self.urls.app.replace(*ports),
            "POSTGRES_OWNER_URL": self.urls.owner.replace(*ports),
        }


Fault = Callable[[Stores], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def storing(redis: Path, postgres: PostgresBinaries, template: Path) -> AsyncIterator[Stores]:
    """Redis keeps what it was told over kill -9, and PostgreSQL over a loss of power."""
    async with contextlib.AsyncExitStack() as stack:
        redis_server = await asyncio.to_thread(RedisServer.start, redis, is_kept=True)
        stack.push_async_callback(asyncio.to_thread, redis_server.close)
        postgres_server = await asyncio.to_thread(PostgresServer.start, postgres, template=template, is_durable=True)
        stack.push_async_callback(asyncio.to_thread, postgres_server.close)
        yield Stores(
            redis_server,
            await stack.enter_async_context(proxying(redis_server.port)),
            postgres_server,
            await stack.enter_async_context(proxying(postgres_server.port)),
            await asyncio.to_thread(postgres_server.new_database),
        )


@asynccontextmanager
async def redis_killed(stores: Stores) -> AsyncIterator[None]:
    await asyncio.to_thread(stores.redis.kill)
    yield
    await asyncio.to_thread(stores.redis.restart)


@asynccontextmanager
async def redis_back_empty(stores: Stores) -> AsyncIterator[None]:
    await asyncio.to_thread(stores.redis.kill)
    yield
    await asyncio.to_thread(stores.redis.restart, is_empty=True)


@asynccontextmanager
async def redis_frozen(stores: Stores) -> AsyncIterator[None]:
    await asyncio.to_thread(stores.redis.freeze)
    yield
    stores.redis.thaw()


@asynccontextmanager
async def redis_cut(stores: Stores) -> AsyncIterator[None]:
    async with _cut(stores.redis_line):
        yield


@asynccontextmanager
async def redis_half_open(stores: Stores) -> AsyncIterator[None]:
    async with _half_open(stores.redis_line):
        yield


@asynccontextmanager
async def redis_slow(stores: Stores) -> AsyncIterator[None]:
    await stores.redis_line.latency(LATENCY_S)
    yield
    await stores.redis_line.heal()


@asynccontextmanager
async def redis_dripping(stores: Stores) -> AsyncIterator[None]:
    """Answers come, byte by byte: no wait for one byte is long, the one for a whole answer is."""
    await stores.redis_line.slow_bytes(BYTES_PER_S, Way.TO_CLIENT)
    yield
    await stores.redis_line.heal()


@asynccontextmanager
async def redis_reset(stores: Stores) -> AsyncIterator[None]:
    async with _reset(stores.redis_line):
        yield


@asynccontextmanager
async def redis_full(stores: Stores) -> AsyncIterator[None]:
    """Without eviction, as the limits' Redis must be: writes are refused, reads are answered."""
    call = stores.redis.call
    await asyncio.to_thread(call, "config", "set", "maxmemory-policy", "noeviction")
    await asyncio.to_thread(call, "config", "set", "maxmemory", 1)
    yield
    await asyncio.to_thread(call, "config", "set", "maxmemory", 0)


@asynccontextmanager
async def redis_read_only(stores: Stores) -> AsyncIterator[None]:
    """As a master that was made a replica."""
    await asyncio.to_thread(stores.redis.call, "replicaof", *NOBODY)
    yield
    await asyncio.to_thread(stores.redis.call, "replicaof", "no", "one")


@asynccontextmanager
async def postgres_killed(stores: Stores) -> AsyncIterator[None]:
    await asyncio.to_thread(stores.postgres.kill)
    yield
    await asyncio.to_thread(stores.postgres.start_again)


@asynccontextmanager
async def postgres_stopped(stores: Stores) -> AsyncIterator[None]:
    """At once, as by `pg_ctl stop -m immediate`."""
    await asyncio.to_thread(stores.postgres.stop_immediate)
    yield
    await asyncio.to_thread(stores.postgres.start_again)


@asynccontextmanager
async def postgres_frozen(stores: Stores) -> AsyncIterator[None]:
    await asyncio.to_thread(stores.postgres.freeze)
    yield
    stores.postgres.thaw()


@asynccontextmanager
async def postgres_cut(stores: Stores) -> AsyncIterator[None]:
    async with _cut(stores.postgres_line):
        yield


@asynccontextmanager
async def postgres_half_open(stores: Stores) -> AsyncIterator[None]:
    async with _half_open(stores.postgres_line):
        yield


@asynccontextmanager
async def postgres_reset(stores: Stores) -> AsyncIterator[None]:
    async with _reset(stores.postgres_line):
        yield


@asynccontextmanager
async def postgres_locked(stores: Stores) -> AsyncIterator[None]:
    """Somebody holds the keys: whoever asks for one keeps a connection of the pool until it gives up."""
    psql = [str(stores.postgres.binaries.folder / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", stores.urls.superuser]
    pipe = asyncio.subprocess.PIPE
    holder = await asyncio.create_subprocess_exec(*psql, stdin=pipe, stdout=pipe, env={**os.environ, "LC_ALL": "C"})
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write(b"begin; lock table ai_api_keys in access exclusive mode; select 'held';\n")
    assert await asyncio.wait_for(holder.stdout.readline(), 10) == b"held\n"
    try:
        yield
    finally:
        # It ends with its input, and its transaction with it.
        holder.stdin.close()
        await holder.wait()


@asynccontextmanager
async def _cut(line: ProxyProcess) -> AsyncIterator[None]:
    await line.cut()
    yield
    await line.heal()


@asynccontextmanager
async def _half_open(line: ProxyProcess) -> AsyncIterator[None]:
    await line.half_open()
    yield
    await line.heal()


@asynccontextmanager
async def _reset(line: ProxyProcess) -> AsyncIterator[None]:
    """Every connection, again and again; new ones are taken."""

    async def storm() -> None:
        while True:
            await line.reset()
            await asyncio.sleep(BETWEEN_RESETS_S)

    storming = asyncio.create_task(storm())
    try:
        yield
    finally:
        storming.cancel()
        await asyncio.wait([storming])


REDIS_FAULTS: Mapping[str, Fault] = {
    "killed": redis_killed,
    "frozen": redis_frozen,
    "cut": redis_cut,
    "half-open": redis_half_open,
    "slow": redis_slow,
    "byte by byte": redis_dripping,
    "reset": redis_reset,
    "full": redis_full,
    "read-only": redis_read_only,
    "back empty": redis_back_empty,
}
POSTGRES_FAULTS: Mapping[str, Fault] = {
    "killed": postgres_killed,
    "stopped at once": postgres_stopped,
    "frozen": postgres_frozen,
    "cut": postgres_cut,
    "half-open": postgres_half_open,
    "reset": postgres_reset,
    "pool exhausted": postgres_locked,
}
