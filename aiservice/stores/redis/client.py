"""The client of a Redis: calls, scripts, messages."""

import time
from collections.abc import Callable, Sequence

from hiredis import ReplyError

from aiservice.core.errors import AIServiceError, StoreUnavailable
from aiservice.stores.redis.address import RedisAddress
from aiservice.stores.redis.cluster import Cluster
from aiservice.stores.redis.script import Script
from aiservice.stores.redis.subscription import Subscriber, Subscription
from aiservice.stores.redis.topology import OneServer, Topology, within
from aiservice.stores.redis.wire import Argument, Reply, code_of, meaning, pack


class Redis:
    """One Redis: single, Cluster or behind Sentinel. One connection to each server, and one that listens.

    Every call ends within `timeout_s`: with its reply, or with `StoreUnavailable` when there is none in time, no
    connection, or an error that passes (LOADING, READONLY, OOM ...); while the server is away at once. A call that got
    no reply may have been executed or not; it is never sent again. An error that is our own mistake is `Unexpected`.
    """

    def __init__(self, address: RedisAddress, *, timeout_s: float, name: str) -> None:
        """Opens nothing and needs no loop. `name` is said in logs, in health and to the server."""
        self.name = name
        self.kind = address.kind
        self.failures = 0
        self._timeout_s = timeout_s
        shape = Cluster if address.kind == "cluster" else OneServer
        self._topology: Topology = shape(address, timeout_s=timeout_s, name=name)
        # A replica is told of what is published in its cluster too.
        must_write = address.kind != "cluster"
        self._subscriber = Subscriber(address, self._topology.locate, name=name, must_write=must_write)

    @property
    def is_up(self) -> bool:
        """Whether calls can be answered; in a cluster, those of every key."""
        return self._topology.is_up

    async def start(self) -> None:
        """Connects in the background; waits 3 s at most for the first attempt, and never raises for its end."""
        await self._topology.start()
        self._subscriber.start()

    async def aclose(self) -> None:
        """Ends the connections; calls that wait get `StoreUnavailable`."""
        await self._subscriber.aclose()
        await self._topology.aclose()

    async def call(self, *command: Argument, key: str) -> Reply:
        """The reply to one command. `key` decides the server by its hash tag and need not be the first argument."""
        deadline_s = time.monotonic() + self._timeout_s
        try:
            return await self._exchange(pack(command), key, deadline_s)
        except StoreUnavailable:
            self.failures += 1
            raise
        except ReplyError as error:
            raise self._meaning(error) from error

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Argument] = ()) -> Reply:
        """The reply of a script; all its keys have one hash tag. A Redis that does not know it is sent its text."""
        deadline_s = time.monotonic() + self._timeout_s
        try:
            try:
                packed = pack(("EVALSHA", script.sha, len(keys), *keys, *args))
                return await self._exchange(packed, keys[0], deadline_s)
            except ReplyError as error:
                if code_of(error) != "NOSCRIPT":
                    raise
            packed = pack(("EVAL", script.text, len(keys), *keys, *args))
            return await within(deadline_s, self._exchange(packed, keys[0], deadline_s))
        except StoreUnavailable:
            self.failures += 1
            raise
        except ReplyError as error:
            raise self._meaning(error) from error

    async def publish(self, channel: str, message: str) -> None:
        """Says it to all who listen now; raises as `call` does."""
        deadline_s = time.monotonic() + self._timeout_s
        try:
            await self._exchange(pack(("PUBLISH", channel, message)), None, deadline_s)
        except StoreUnavailable:
            self.failures += 1
            raise
        except ReplyError as error:
            raise self._meaning(error) from error

    async def each(self, *command: Argument) -> list[Reply]:
        """The reply of every server that is connected; raises as `call` does, also where there is none."""
        nodes = [node for node in self._topology.nodes if node.is_up] or [self._topology.any_node()]
        packed = pack(command)
        try:
            return [await node.send(packed) for node in nodes]
        except ReplyError as error:
            raise self._meaning(error) from error

    def subscribe(self, channel: str, heard: Callable[[str], None], lost: Callable[[], None]) -> Subscription:
        """Calls `heard` with each message; `lost` when listening begins and after each gap: look at what may be new.

        Both are called by the loop, one at a time. Before `start` nothing is heard.
        """
        return self._subscriber.add(channel, heard, lost)

    async def _exchange(self, packed: bytes, key: str | None, deadline_s: float) -> Reply:
        """Without a key any server will do."""
        node = self._topology.any_node() if key is None else self._topology.node_of(key)
        try:
            return await node.send(packed)
        except ReplyError as error:
            return await self._topology.resolve(error, packed, node=node, deadline_s=deadline_s)

    def _meaning(self, error: ReplyError) -> AIServiceError:
        meant = meaning(error)
        self.failures += isinstance(meant, StoreUnavailable)
        return meant
