"""What a start asks and does on PostgreSQL: one transaction over a connection that is closed again."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aiservice.core.errors import StartRefused
from aiservice.core.settings import Settings
from aiservice.stores.databases import open_main, open_owner, open_replica

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]


def as_owner(settings: Settings, work: Work[T]) -> T:
    """The work's result, in a transaction of the role that owns the tables. Raises `StartRefused` with the reason.

    It may take as long as it takes: a migration copies rows, and waits for that of another instance.
    """
    name = "POSTGRES_OWNER_URL"
    url = settings.stores.postgres_owner_url
    if url is None:
        name, url = "POSTGRES_URL", settings.stores.postgres_url
    assert url is not None
    return _in_its_own_loop(open_owner(settings), work, _Address(name, url))


def as_application(settings: Settings, work: Work[T]) -> T:
    """The same for the role that the workers have, and within their deadlines."""
    url = settings.stores.postgres_url
    assert url is not None
    return _in_its_own_loop(open_main(settings), work, _Address("POSTGRES_URL", url))


def as_reader(settings: Settings, work: Work[T]) -> T:
    """The same on the standby that POSTGRES_REPLICA_URL names."""
    url, engine = settings.stores.postgres_replica_url, open_replica(settings)
    assert url is not None
    assert engine is not None
    return _in_its_own_loop(engine, work, _Address("POSTGRES_REPLICA_URL", url))


def user_of(url: str | None) -> str | None:
    """The role that an address names."""
    user = None if url is None else urlsplit(url).username
    return None if user is None else unquote(user)


class _Address:
    """Where a setting leads, in words without its password."""

    def __init__(self, setting: str, url: str) -> None:
        self._setting = setting
        parts = urlsplit(url)
        self._place = parts.netloc.rpartition("@")[2] + parts.path

    def refused(self, error: Exception) -> StartRefused:
        place, setting = self._place, self._setting
        if isinstance(error, FileNotFoundError):
            return StartRefused(f"{setting} names a file that is not there: a certificate, or a socket at {place}.")
        if isinstance(error, OSError):
            reason = str(error) or "no answer in time"
            return StartRefused(f"PostgreSQL at {place} cannot be reached ({reason}); start it, or correct {setting}.")
        if not isinstance(error, sa.exc.DBAPIError):
            return StartRefused(f"{setting} cannot be read; it takes postgresql://USER:PASSWORD@HOST:PORT/NAME.")
        state = str(getattr(error.orig, "sqlstate", None))
        match state[:2]:
            case "28":
                return StartRefused(f"PostgreSQL at {place} does not let us in ({error.orig}); correct {setting}.")
            case "3D":
                return StartRefused(f"PostgreSQL at {place}: {error.orig}; make it, or correct {setting}.")
            case _:
                return StartRefused(f"The database at {place} ({setting}) cannot be used: {error.orig}.")


def _in_its_own_loop(engine: AsyncEngine, work: Work[T], address: _Address) -> T:
    # In a thread, for whoever starts the service may have a loop in this one.
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, _whole(engine, work, address)).result()


async def _whole(engine: AsyncEngine, work: Work[T], address: _Address) -> T:
    try:
        async with engine.begin() as connection:
            return await work(connection)
    except (sa.exc.DBAPIError, OSError, ValueError) as error:
        raise address.refused(error) from error
    finally:
        await engine.dispose()
