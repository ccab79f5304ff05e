"""The checks of `aiservice doctor` that ask the stores."""

from collections.abc import Callable
from typing import TypeVar

from aiservice.cli.finding import Check, State
from aiservice.core.errors import StartRefused
from aiservice.core.settings import Settings
from aiservice.stores import migrate, roles
from aiservice.stores.servers import DatabaseFacts, database_facts, redis_facts, replica_facts

AGAIN = "as it says, then run `aiservice doctor` again"

_Facts = TypeVar("_Facts")


def check_database(settings: Settings) -> Check:
    """The main database: a server that may be relied on or a file that can be read, and of the newest form."""
    try:
        server = None if settings.stores.postgres_url is None else database_facts(settings)
        faults = roles.faults(settings)
        revision = migrate.revision_of(settings)
    except StartRefused as error:
        return Check("database", State.MISSING, error.public, AGAIN)
    if faults:
        state = State.OPTIONAL if settings.is_development else State.MISSING
        return Check("database", state, faults[0], AGAIN)
    name = "" if server is None else f"{_named(server)} as {server.role}, "
    if revision is None:
        return Check("database", State.OK, f"{name}none yet; the first start makes it")
    if revision == migrate.HEAD:
        return Check("database", State.OK, f"{name}at revision {revision}")
    return Check("database", State.MISSING, f"{name}at revision {revision}, needs {migrate.HEAD}", "aiservice migrate")


def check_replica(settings: Settings) -> Check:
    """The standby that is read; the service goes on without it."""
    if settings.stores.postgres_replica_url is None:
        return Check("replica", State.OK, "none; usage is read from the database itself")
    found = _tried(replica_facts, settings)
    if isinstance(found, str):
        return Check("replica", State.OPTIONAL, found, AGAIN)
    if found.is_standby:
        return Check("replica", State.OK, f"{_named(found)} as {found.role}")
    mend = "set POSTGRES_REPLICA_URL to a standby, or unset it"
    return Check("replica", State.OPTIONAL, f"{_named(found)} is no standby, it takes writes", mend)


def check_redis(settings: Settings) -> Check:
    """Both Redis. One that drops keys when it is full must not hold limits: a dropped bucket is a full one."""
    if settings.stores.redis_url is None and settings.stores.redis_host is None:
        return Check("redis", State.OK, "none; limits and cache are files in DATA_DIR")
    found = _tried(redis_facts, settings)
    if isinstance(found, str):
        return Check("redis", State.MISSING, found, "start it, or correct REDIS_URL and REDIS_CACHE_URL")
    limits, cache = found
    said = f"{limits.version} for limits, {cache.version} for the cache"
    if limits.eviction_policy is None:
        return Check("redis", State.OK, said)
    mend = "set maxmemory-policy noeviction there, and REDIS_CACHE_URL to an instance of its own that may evict"
    return Check("redis", State.MISSING, f"{said}; that for limits drops keys ({limits.eviction_policy})", mend)


def _named(server: DatabaseFacts) -> str:
    return f"PostgreSQL {server.version}"


def _tried(ask: Callable[[Settings], _Facts], settings: Settings) -> _Facts | str:
    """What is found, or why nothing is."""
    try:
        return ask(settings)
    except StartRefused as error:
        return error.public
