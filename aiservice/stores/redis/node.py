"""One server as its callers see it: connected, or away and looked for."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from hiredis import ReplyError

from aiservice.core.errors import StoreUnavailable
from aiservice.stores.redis.address import RedisAddress
from aiservice.stores.redis.background import Background
from aiservice.stores.redis.breaker import Breaker
from aiservice.stores.redis.connection import Connection, Waiter
from aiservice.stores.redis.dial import DialFailed, dial
from aiservice.stores.redis.wire import pack, unavailable

# A quiet connection is asked for a sign of life this often, so that one whose other end is gone is found out.
QUIET_S = 1.0
RETRY_S_MIN = 0.1
RETRY_S_MAX = 0.25

Place = tuple[str, int]
PING = pack(("PING",))


def always_at(place: Place) -> Callable[[], Awaitable[Place]]:
    """For a `Node` whose server does not move."""

    async def locate() -> Place:
        return place

    return locate


class Node:
    """Keeps one connection to a server. While it is away calls fail at once, and it is tried 4 to 10 times a second.

    `locate` says where the server is, each time anew, and raises `DialFailed` if that is not known; `place` is what it
    said last. `on_lost` is called when a connection is lost.
    """

    def __init__(
        self,
        address: RedisAddress,
        locate: Callable[[], Awaitable[Place]],
        *,
        timeout_s: float,
        name: str,
        must_write: bool = True,
    ) -> None:
        """`must_write` refuses a server that is a replica. `name` is for the log and the server's list of clients."""
        self.on_lost: Callable[[], None] | None = None
        self.place: Place | None = None
        self._address = address
        self._locate = locate
        self._timeout_s = timeout_s
        self._name = name
        self._must_write = must_write
        self._breaker = Breaker(name)
        self._connection: Connection | None = None
        self._tried: asyncio.Event = asyncio.Event()
        self._up: asyncio.Event = asyncio.Event()
        self._background = Background(self._keep)

    @property
    def is_up(self) -> bool:
        return self._connection is not None

    def start(self) -> None:
        """Begins to connect, in the background."""
        self._background.start()

    async def tried(self) -> None:
        """Waits for the end of the first attempt to connect, good or bad: about a second at most."""
        await self._tried.wait()

    async def up(self) -> None:
        """Waits until the server is connected."""
        await self._up.wait()

    async def aclose(self) -> None:
        await self._background.aclose()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._breaker.reason = "closed"

    def send(self, command: bytes) -> Waiter:
        """The future of the reply; raises `StoreUnavailable` at once while the server is away."""
        connection = self._connection
        if connection is None:
            raise unavailable(f"{self._name} is away: {self._breaker.reason}")
        return connection.send(command)

    def drop(self, reason: str) -> None:
        """Gives the connection up, because the server is not what it should be, and connects anew."""
        if self._connection is not None:
            self._connection.fail(reason)

    def leave(self) -> None:
        """The server is not needed any more; it goes on until `aclose` for the calls that it has."""
        self.on_lost = None
        self._breaker.retire()

    async def _keep(self) -> None:
        """One connection's life. The next is tried at once, unless this one was short."""
        started_s = time.monotonic()
        connection = await self._connect()
        if connection is not None:
            await self._watch(connection)
        if connection is None or time.monotonic() - started_s < RETRY_S_MAX:
            await asyncio.sleep(random.uniform(RETRY_S_MIN, RETRY_S_MAX))  # noqa: S311 - spreads workers, no secret

    async def _connect(self) -> Connection | None:
        connection = Connection(breaker=self._breaker, timeout_s=self._timeout_s)
        try:
            self.place = await self._locate()
            await dial(connection, self._address, self.place, name=self._name, must_write=self._must_write)
        except DialFailed as error:
            self._breaker.open(error.reason)
            return None
        finally:
            self._tried.set()
        connection.lost = self._lost
        self._connection = connection
        self._breaker.close()
        self._up.set()
        return connection

    def _lost(self, reason: str) -> None:
        self._connection = None
        self._up.clear()
        self._breaker.open(reason)
        if self.on_lost is not None:
            self.on_lost()

    async def _watch(self, connection: Connection) -> None:
        """Returns when the connection has ended. Whoever is quiet is pinged; misses add up as those of calls do."""
        reads = -1
        while not connection.ended.done():
            await asyncio.wait((connection.ended,), timeout=QUIET_S)
            while connection.reads == reads and not connection.ended.done():
                await self._ping(connection)
            reads = connection.reads

    async def _ping(self, connection: Connection) -> None:
        try:
            # An error is a sign of life too; what it means is for the calls that get one.
            with suppress(ReplyError):
                await connection.send(PING)
        except StoreUnavailable:
            # No turn of calls goes out any more that could be missed, and this one did not wait for anything.
            if connection.is_full:
                connection.fail("it says nothing and takes no more bytes")
