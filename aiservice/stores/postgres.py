"""PostgreSQL under SQLAlchemy: connections to the host that takes writes, none of which is kept once it is in doubt."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError)
CONNECT_S = 2.0
POOL_WAIT_S = 2.0
# How much longer than the server waits for itself a statement is waited for: then it is the server that is silent.
SILENCE_S = 1.0
# It takes no writes any more, or no connections: a standby, or a server that ends or begins.
_ESTRANGED = frozenset({"25006", "57P01", "57P02", "57P03", "57P04", "57P05"})

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection


class _Line(asyncpg.Connection):
    """Ends with the command that is given up on it.

    asyncpg would ask the server on a second connection to cancel the command; the server ends it by its own time limit,
    and one that says nothing would not listen there either.
    """

    __slots__ = ()

    def _cancel_current_command(self, *_waiters: Any) -> None:
        asyncio.get_running_loop().call_soon(self.terminate)


def open_engine(
    url: str, *, pool_size: int | None, statement_s: float | None, is_writer: bool, options: Mapping[str, Any]
) -> AsyncEngine:
    """An engine with these execution options, which opens no connection yet.

    Without `pool_size` each transaction has a connection of its own. Connecting and the wait for a free connection are
    given up after 2 s each, a server that says nothing a second after `statement_s` (None: never). A writer connects to
    no host that takes no writes.
    """
    dial = _Dial(url, statement_s=statement_s, is_writer=is_writer)
    pool: dict[str, Any] = {"poolclass": sa.NullPool}
    if pool_size is not None:
        # The last one used comes first, so that those that a quiet hour does not need may end.
        pool = {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": POOL_WAIT_S, "pool_use_lifo": True}
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=dial.open,
        hide_parameters=True,
        execution_options=dict(options),
        **pool,
    )
    sa.event.listen(engine.sync_engine, "checkout", _renew_if_closed)
    sa.event.listen(engine.sync_engine, "close", _hang_up)
    sa.event.listen(engine.sync_engine, "handle_error", _judge)
    return engine


class _Dial:
    """Opens connections to a database that may have several hosts; all are called at once, the first fit one is kept.

    So a host that is gone costs nothing, and after a promotion the next connection is one to the new primary.
    """

    def __init__(self, url: str, *, statement_s: float | None, is_writer: bool) -> None:
        self._urls = tuple(urls_by_host(url))
        self._command_s = None if statement_s is None else statement_s + SILENCE_S
        self._calls: set[asyncio.Task[Connection]] = set()
        self._attribute = asyncpg.connect_utils.SessionAttribute("read-write" if is_writer else "any")

    async def open(self) -> Connection:
        calls = [asyncio.create_task(self._call(url)) for url in self._urls]
        self._calls.update(calls)
        kept: Connection | None = None
        try:
            kept = await _first_of(calls)
            return kept
        finally:
            # The others end by themselves, soon: cut off in the middle, one would complain of it in the log.
            for call in calls:
                call.add_done_callback(partial(self._ended, kept))

    def _ended(self, kept: Connection | None, call: asyncio.Task[Connection]) -> None:
        self._calls.discard(call)
        if not call.cancelled() and call.exception() is None and call.result() is not kept:
            call.result().terminate()

    async def _call(self, url: str) -> Connection:
        try:
            return await asyncpg.connect(
                url,
                timeout=CONNECT_S,
                command_timeout=self._command_s,
                target_session_attrs=self._attribute,
                connection_class=_Line,
                server_settings={"application_name": "aiservice"},
            )
        except asyncpg.exceptions.TargetServerAttributeNotMatched as error:
            raise ConnectionError("it takes no writes") from error


def urls_by_host(url: str) -> Iterator[str]:
    """The address once for each of its hosts, which are joined by commas."""
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    for host in hosts.split(","):
        yield urlunsplit(parts._replace(netloc=login + at + host))


async def _first_of(calls: Sequence[asyncio.Task[Connection]]) -> Connection:
    """The first connection that is there; where there is none, raises what the last call ended with."""
    failure: Exception | None = None
    for ended in asyncio.as_completed(calls):
        try:
            return await ended
        except (OSError, *ERRORS) as error:
            failure = error
    assert failure is not None
    raise failure


def _renew_if_closed(connection: Any, record: Any, _proxy: Any) -> None:
    """A connection that its server has closed is replaced before it is used; to know that takes no question."""
    if not connection.driver_connection.is_closed():
        record.info["was_used"] = True
    elif "was_used" in record.info:
        raise sa.exc.DisconnectionError
    else:
        raise ConnectionResetError("the server closed a new connection")


def _hang_up(connection: Any, _record: Any) -> None:
    """At once: a connection that is closed may be one to a server that says nothing any more."""
    connection.driver_connection.terminate()


def _judge(context: sa.engine.ExceptionContext) -> None:
    """After a silence, or on a host that takes no writes any more, no connection of the pool is used again."""
    error = context.original_exception
    if isinstance(error, OSError) or getattr(error, "sqlstate", None) in _ESTRANGED:
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = True
