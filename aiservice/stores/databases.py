"""Opens the databases: the main one for SQLAlchemy, the hot SQLite files for the rooms that own them."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from aiservice.core.errors import StoreUnavailable

MAIN_FILE = "main.db"
LIMITS_FILE = "limits.db"
CACHE_FILE = "cache.db"
BUSY_TIMEOUT_MS = 5_000
HOT_BUSY_TIMEOUT_MS = 50


def main_url(data_dir: Path) -> str:
    """The SQLAlchemy address of the main database, without a driver's name."""
    return f"sqlite:///{data_dir / MAIN_FILE}"


def open_main(data_dir: Path) -> AsyncEngine:
    """The main database; opens no connection yet, so that it may be called before the loop runs."""
    engine = create_async_engine(
        main_url(data_dir).replace("sqlite:", "sqlite+aiosqlite:"),
        pool_size=4,
        max_overflow=0,
        hide_parameters=True,
    )
    sa.event.listen(engine.sync_engine, "connect", _set_pragmas)
    return engine


def open_hot(path: Path, *, synchronous: str) -> sqlite3.Connection:
    """A SQLite file of its own for one hot path; autocommit, transactions are said explicitly.

    `synchronous` is OFF or NORMAL. A lock that is held longer than 50 ms raises `sqlite3.OperationalError`.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"pragma busy_timeout = {HOT_BUSY_TIMEOUT_MS:d}")
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = " + {"OFF": "off", "NORMAL": "normal"}[synchronous])
    return connection


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that commits at the end; a database that cannot be used raises `StoreUnavailable`."""
    try:
        async with engine.begin() as connection:
            yield connection
    except (sa.exc.OperationalError, sa.exc.TimeoutError, sqlite3.DatabaseError, OSError) as error:
        raise StoreUnavailable(detail=type(error).__name__) from error


def _set_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"pragma busy_timeout = {BUSY_TIMEOUT_MS:d}")
    cursor.execute("pragma journal_mode = wal")
    cursor.execute("pragma synchronous = normal")
    cursor.execute("pragma foreign_keys = on")
    cursor.close()
