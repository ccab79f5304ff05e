"""Which server a key is on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from hiredis import ReplyError

from aiservice.stores.redis.address import RedisAddress
from aiservice.stores.redis.node import Node, Place, always_at
from aiservice.stores.redis.wire import Reply, code_of, is_estranged, unavailable

START_WAIT_S = 3.0


class Topology(Protocol):
    """What a client needs of its servers, one or many."""

    @property
    def is_up(self) -> bool: ...

    @property
    def nodes(self) -> Sequence[Node]: ...

    async def start(self) -> None:
        """Begins to connect; comes back when the first attempt has ended, or after 3 s."""
        ...

    async def aclose(self) -> None: ...

    def node_of(self, key: str) -> Node:
        """The server of a key; raises `StoreUnavailable` where none is known."""
        ...

    def any_node(self) -> Node:
        """A server to publish at; raises `StoreUnavailable` where none is known."""
        ...

    async def resolve(self, error: ReplyError, command: bytes, *, node: Node, deadline_s: float) -> Reply:
        """The reply from another server, where an error points to one; else raises the error again."""
        ...

    @property
    def locate(self) -> Callable[[], Awaitable[Place]]:
        """Finds a server to subscribe at; raises `DialFailed` where none is known."""
        ...


async def within(deadline_s: float, replying: Awaitable[Reply]) -> Reply:
    """The reply, or `StoreUnavailable` when the monotonic clock passes the deadline first."""
    try:
        async with asyncio.timeout(max(0.0, deadline_s - time.monotonic())):
            return await replying
    except TimeoutError:
        raise unavailable("no reply in time, after another server or a script's text was asked for") from None


class OneServer:
    """All keys are on one server, which does not move or which sentinels know."""

    def __init__(self, address: RedisAddress, *, timeout_s: float, name: str) -> None:
        self.locate = always_at(address.nodes[0])
        if address.kind == "sentinel":
            from aiservice.stores.redis.discovery import SentinelDiscovery  # noqa: PLC0415 - it imports redis-py

            self.locate = SentinelDiscovery(address).master
        self._node = Node(address, self.locate, timeout_s=timeout_s, name=name)

    @property
    def is_up(self) -> bool:
        return self._node.is_up

    @property
    def nodes(self) -> Sequence[Node]:
        return (self._node,)

    async def start(self) -> None:
        self._node.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(START_WAIT_S):
                await self._node.tried()

    async def aclose(self) -> None:
        await self._node.aclose()

    def node_of(self, key: str) -> Node:
        return self._node

    def any_node(self) -> Node:
        return self._node

    async def resolve(self, error: ReplyError, command: bytes, *, node: Node, deadline_s: float) -> Reply:
        if is_estranged(code_of(error)):
            node.drop(str(error))
        raise error
