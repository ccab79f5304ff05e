"""What an operator should know of the servers that the settings name: each is asked once, and then left alone."""

import asyncio
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from aiservice.core.errors import StartRefused, StoreUnavailable
from aiservice.core.settings import Settings
from aiservice.stores.redis import Redis, RedisAddress, ServerFacts, check, redis_addresses
from aiservice.stores.visits import as_application, as_reader

# Whoever asks here waits at a terminal, and not for a request.
REDIS_ANSWER_S = 2.0

_FACTS = sa.text("select current_setting('server_version'), current_user, pg_is_in_recovery()")


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """A PostgreSQL: its version, the role that it knows us as, and whether it is a standby."""

    version: str
    role: str
    is_standby: bool


def database_facts(settings: Settings) -> DatabaseFacts:
    """Of POSTGRES_URL, which must be set. Raises `StartRefused` with the reason where it cannot be used."""
    return as_application(settings, _facts)


def replica_facts(settings: Settings) -> DatabaseFacts:
    """The same of POSTGRES_REPLICA_URL."""
    return as_reader(settings, _facts)


def redis_facts(settings: Settings) -> tuple[ServerFacts, ServerFacts]:
    """Of the Redis for limits and of that for the cache, which must be set. Raises `StartRefused` with the reason."""
    addresses = redis_addresses(settings)
    assert addresses is not None
    limits, cache = addresses
    return asyncio.run(_asked(limits, "limits")), asyncio.run(_asked(cache, "cache"))


async def _facts(connection: AsyncConnection) -> DatabaseFacts:
    version, role, is_standby = (await connection.execute(_FACTS)).one()
    return DatabaseFacts(str(version).partition(" ")[0], role, is_standby)


async def _asked(address: RedisAddress, name: str) -> ServerFacts:
    redis = Redis(address, timeout_s=REDIS_ANSWER_S, name=name)
    try:
        await redis.start()
        return await check(redis)
    except StoreUnavailable as error:
        raise StartRefused(f"The Redis for {name} does not answer ({error.detail}).") from error
    finally:
        await redis.aclose()
