"""Opens the databases: the main one for SQLAlchemy, the hot SQLite files for the rooms that own them."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, overload

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from aiservice.core.errors import StoreUnavailable
from aiservice.core.settings import Settings

MAIN_FILE = "main.db"
LIMITS_FILE = "limits.db"
CACHE_FILE = "cache.db"
BUSY_TIMEOUT_MS = 5_000
HOT_BUSY_TIMEOUT_MS = 50
STATEMENT_S = 5.0
# A worker that stands still in the middle of a transaction holds up nobody for longer than that.
IDLE_MS = "10000"
RETRY_AFTER_S = 1
# Where an engine of PostgreSQL keeps its deadline among its options, in milliseconds as text; "0" is none.
STATEMENT_MS = "aiservice_statement_ms"
# And its driver's own errors, which SQLAlchemy lets pass while it makes a new connection ready.
DRIVER_ERRORS = "aiservice_driver_errors"

# Why a transaction must see rows of all tenants; which tables and rows each one opens stands in the migrations.
Purpose = Literal["keys", "ledger", "limits", "sweep", "leases", "cache"]

# All four end with the transaction: what a session kept, the pool would hand to the next one.
_BEGIN = sa.text(
    "select set_config('app.tenant_id', :tenant_id, true), set_config('app.purpose', :purpose, true), "
    "set_config('statement_timeout', :statement_ms, true), "
    "set_config('idle_in_transaction_session_timeout', :idle_ms, true)"
)


def main_url(data_dir: Path) -> str:
    """The SQLAlchemy address of the main database in a folder, without a driver's name."""
    return f"sqlite:///{data_dir / MAIN_FILE}"


def open_main(settings: Settings, *, statement_s: float = STATEMENT_S) -> AsyncEngine:
    """The main database: PostgreSQL where POSTGRES_URL is set, else the file in DATA_DIR.

    Opens no connection yet, so that it may be called before the loop runs. On PostgreSQL a statement is given up after
    `statement_s`.
    """
    url = settings.stores.postgres_url
    if url is None:
        return _open_file(settings.server.data_dir)
    return _open_server(url, pool_size=settings.stores.postgres_pool_size, statement_s=statement_s)


def open_owner(settings: Settings, *, statement_s: float | None = None) -> AsyncEngine:
    """The main database under the role that owns its tables, without a deadline unless one is named.

    On PostgreSQL each transaction has a connection of its own, for they are rare.
    """
    stores = settings.stores
    if stores.postgres_url is None:
        return _open_file(settings.server.data_dir)
    return _open_server(stores.postgres_owner_url or stores.postgres_url, pool_size=None, statement_s=statement_s)


def open_replica(settings: Settings, *, statement_s: float = STATEMENT_S) -> AsyncEngine | None:
    """The standby that may be read, None where there is none."""
    url = settings.stores.postgres_replica_url
    if url is None:
        return None
    return _open_server(url, pool_size=settings.stores.postgres_pool_size, statement_s=statement_s, is_writer=False)


def open_hot(path: Path, *, synchronous: str) -> sqlite3.Connection:
    """A SQLite file of its own for one hot path; autocommit, transactions are said explicitly.

    `synchronous` is OFF or NORMAL. A lock that is held longer than 50 ms raises `sqlite3.OperationalError`.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"pragma busy_timeout = {HOT_BUSY_TIMEOUT_MS:d}")
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = " + {"OFF": "off", "NORMAL": "normal"}[synchronous])
    return connection


@overload
def transaction(engine: AsyncEngine, *, tenant_id: str) -> AbstractAsyncContextManager[AsyncConnection]: ...


@overload
def transaction(engine: AsyncEngine, *, purpose: Purpose) -> AbstractAsyncContextManager[AsyncConnection]: ...


@asynccontextmanager
async def transaction(
    engine: AsyncEngine, *, tenant_id: str = "", purpose: Purpose | Literal[""] = ""
) -> AsyncIterator[AsyncConnection]:
    """A transaction for one tenant, or for a purpose that needs rows of all; it commits at the end.

    On PostgreSQL row level security shows it the rows of this tenant or purpose and no others. A database that cannot
    be used now raises `StoreUnavailable`, within some seconds whatever is the matter; only values that a column does
    not take raise what SQLAlchemy makes of them.
    """
    try:
        async with engine.begin() as connection:
            statement_ms = engine.get_execution_options().get(STATEMENT_MS)
            if statement_ms is not None:
                who = {"tenant_id": tenant_id, "purpose": purpose}
                await connection.execute(_BEGIN, {**who, "statement_ms": statement_ms, "idle_ms": IDLE_MS})
            yield connection
    except (sa.exc.DBAPIError, sa.exc.TimeoutError, sqlite3.DatabaseError, OSError) as error:
        if isinstance(error, sa.exc.DBAPIError) and not _is_away(error):
            raise
        raise StoreUnavailable(detail=_words(error), retry_after_s=RETRY_AFTER_S) from error
    except engine.get_execution_options().get(DRIVER_ERRORS, ()) as error:
        raise StoreUnavailable(detail=_words(error), retry_after_s=RETRY_AFTER_S) from error


@asynccontextmanager
async def guarded(work: AbstractAsyncContextManager[AsyncConnection]) -> AsyncIterator[AsyncConnection]:
    """A transaction in which a value that a column does not take is `StoreUnavailable` too.

    For what must not look like a fault of the request: an answer is handed out also where it cannot be kept.
    """
    try:
        async with work as connection:
            yield connection
    except sa.exc.DBAPIError as error:
        raise StoreUnavailable(detail=type(error).__name__) from error


def _open_file(data_dir: Path) -> AsyncEngine:
    engine = create_async_engine(
        main_url(data_dir).replace("sqlite:", "sqlite+aiosqlite:"),
        pool_size=4,
        max_overflow=0,
        hide_parameters=True,
    )
    sa.event.listen(engine.sync_engine, "connect", _set_pragmas)
    return engine


def _open_server(url: str, *, pool_size: int | None, statement_s: float | None, is_writer: bool = True) -> AsyncEngine:
    # The driver takes 50 ms and 5 MB, which a start without PostgreSQL need not pay.
    from aiservice.stores.postgres import ERRORS, open_engine  # noqa: PLC0415

    options = {STATEMENT_MS: str(round((statement_s or 0) * 1_000)), DRIVER_ERRORS: ERRORS}
    return open_engine(url, pool_size=pool_size, statement_s=statement_s, is_writer=is_writer, options=options)


def _is_away(error: sa.exc.DBAPIError) -> bool:
    """Whether it is the database that cannot be used now, and not the values that it refuses (SQLSTATE 22 and 23)."""
    if isinstance(error.orig, sqlite3.Error):
        # Of the plain kind is what SQLite says of a file that is damaged or no database.
        return isinstance(error.orig, sqlite3.OperationalError) or type(error.orig) is sqlite3.DatabaseError
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state[:2] not in {"22", "23"}


def _words(error: Exception) -> str:
    """What happened, without the statement."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error
    return f"{type(cause).__name__}: {cause}"[:500]


def _set_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"pragma busy_timeout = {BUSY_TIMEOUT_MS:d}")
    cursor.execute("pragma journal_mode = wal")
    cursor.execute("pragma synchronous = normal")
    cursor.execute("pragma foreign_keys = on")
    cursor.close()
