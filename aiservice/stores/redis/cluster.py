"""A Redis Cluster: keys on several servers, which may change."""

import asyncio
import random
from binascii import crc_hqx
from collections.abc import Mapping, Sequence
from contextlib import suppress

from hiredis import ReplyError

from aiservice.stores.redis.address import RedisAddress
from aiservice.stores.redis.background import Background
from aiservice.stores.redis.dial import DialFailed
from aiservice.stores.redis.node import Node, Place, always_at
from aiservice.stores.redis.topology import START_WAIT_S, within
from aiservice.stores.redis.wire import Reply, code_of, is_estranged, pack, unavailable

SLOTS = 16_384
REDIRECTS_MAX = 5
# A slot on its way from one node to another has some of a script's keys here and some there, for milliseconds.
TRY_AGAIN_S = 0.005
# Between two looks at the topology: the second as long as a look has helped nothing.
REFRESH_S_MIN = 0.25
REFRESH_S_MAX = 1.0
ASKING = pack(("ASKING",))


class Cluster:
    """Follows keys to the masters of their slots, with one connection to each.

    The topology is looked at again when a key has moved, a node is lost or the cluster says that it is down, and for as
    long as a slot has no master that answers. Calls for other slots go on meanwhile.
    """

    def __init__(self, address: RedisAddress, *, timeout_s: float, name: str) -> None:
        from aiservice.stores.redis.discovery import ClusterDiscovery  # noqa: PLC0415 - it imports redis-py

        self._address = address
        self._timeout_s = timeout_s
        self._name = name
        self._discovery = ClusterDiscovery(address)
        self._nodes: dict[Place, Node] = {}
        # Where keys were redirected to since the last look: a node may be on its way to its first slot.
        self._targets: set[Place] = set()
        self._leaving: list[Node] = []
        self._owners: list[Node | None] = [None] * SLOTS
        self._is_covered = False
        self._reason = "its nodes are not known yet"
        self._wanted = asyncio.Event()
        self._looked = asyncio.Event()
        self._pause_s = REFRESH_S_MIN
        self._background = Background(self._follow)

    @property
    def is_up(self) -> bool:
        return self._is_covered and all(node.is_up for node in self._nodes.values())

    @property
    def nodes(self) -> Sequence[Node]:
        return list(self._nodes.values())

    async def start(self) -> None:
        self._wanted.set()
        self._background.start()
        with suppress(TimeoutError):
            async with asyncio.timeout(START_WAIT_S):
                await self._looked.wait()
                for node in list(self._nodes.values()):
                    await node.tried()

    async def aclose(self) -> None:
        await self._background.aclose()
        nodes, self._nodes, self._leaving = [*self._nodes.values(), *self._leaving], {}, []
        self._owners = [None] * SLOTS
        for node in nodes:
            await node.aclose()

    def node_of(self, key: str) -> Node:
        node = self._owners[slot_of(key)]
        if node is None:
            raise unavailable(f"no node of the cluster {self._name} has the key's slot: {self._reason}")
        return node

    def any_node(self) -> Node:
        node = next((node for node in self._nodes.values() if node.is_up), None)
        if node is None:
            raise unavailable(f"no node of the cluster {self._name} is up: {self._reason}")
        return node

    async def locate(self) -> Place:
        up = [place for place, node in self._nodes.items() if node.is_up]
        return random.choice(up or self._address.nodes)  # noqa: S311 - spreads listeners, no secret

    async def resolve(self, error: ReplyError, command: bytes, *, node: Node, deadline_s: float) -> Reply:
        return await within(deadline_s, self._follow_up(error, command, node))

    async def _follow_up(self, error: ReplyError, command: bytes, node: Node) -> Reply:
        redirects, is_asking = 0, False
        while redirects < REDIRECTS_MAX:
            match code_of(error):
                case "MOVED":
                    node, is_asking = self._moved(error, node), False
                    redirects += 1
                case "ASK":
                    node, is_asking = self._target(error, node), True
                    redirects += 1
                case "TRYAGAIN":
                    await asyncio.sleep(TRY_AGAIN_S)
                case code:
                    self._suspect(node, code, error)
                    raise error
            try:
                return await self._send(node, command, is_asking=is_asking)
            except ReplyError as again:
                error = again
        raise error

    def _suspect(self, node: Node, code: str, error: ReplyError) -> None:
        if code == "CLUSTERDOWN" or is_estranged(code):
            self._wanted.set()
        if is_estranged(code):
            node.drop(str(error))

    async def _send(self, node: Node, command: bytes, *, is_asking: bool) -> Reply:
        await node.up()
        if not is_asking:
            return await node.send(command)
        # Both in one turn, so that nothing comes between them.
        _, reply = await asyncio.gather(node.send(ASKING), node.send(command))
        return reply

    def _moved(self, error: ReplyError, asked: Node) -> Node:
        node = self._target(error, asked)
        self._owners[int(str(error).split(" ")[1])] = node
        self._wanted.set()
        return node

    def _target(self, error: ReplyError, asked: Node) -> Node:
        """The node in "MOVED 3999 127.0.0.1:6381" or "ASK ..."; without a host it is on that of the one asked."""
        host, _, port = str(error).split(" ")[2].rpartition(":")
        asked_host = asked.place[0] if asked.place is not None else ""
        place = (host or asked_host, int(port))
        self._targets.add(place)
        return self._node_at(place)

    def _node_at(self, place: Place) -> Node:
        node = self._nodes.get(place)
        if node is None:
            name = f"{self._name} {place[0]}:{place[1]}"
            node = Node(self._address, always_at(place), timeout_s=self._timeout_s, name=name, must_write=False)
            node.on_lost = self._wanted.set
            self._nodes[place] = node
            node.start()
        return node

    async def _follow(self) -> None:
        """One look at the topology when it is wanted, and the pause after it: longer while looking helps nothing."""
        await self._wanted.wait()
        self._wanted.clear()
        before = set(self._nodes)
        await self._look()
        await asyncio.sleep(self._pause_s)
        await self._part()
        has_helped = self.is_up or set(self._nodes) != before
        self._pause_s = REFRESH_S_MIN if has_helped else min(2 * self._pause_s, REFRESH_S_MAX)
        if not self.is_up:
            self._wanted.set()

    async def _look(self) -> None:
        try:
            owners = await self._discovery.owners([place for place, node in self._nodes.items() if node.is_up])
            self._take(owners)
        except DialFailed as error:
            self._reason = error.reason
        self._looked.set()

    def _take(self, places: Mapping[int, Place]) -> None:
        nodes = {place: self._node_at(place) for place in set(places.values())}
        self._owners = [nodes[places[slot]] if slot in places else None for slot in range(SLOTS)]
        self._is_covered = len(places) == SLOTS
        self._reason = "the slot has no master"
        for place in self._nodes.keys() - nodes.keys() - self._targets:
            node = self._nodes.pop(place)
            node.leave()
            self._leaving.append(node)
        self._targets.clear()

    async def _part(self) -> None:
        """Closes the nodes that had no slots any more when it was looked last: the calls that they had have ended."""
        while self._leaving:
            await self._leaving.pop().aclose()


def slot_of(key: str) -> int:
    """The slot of a key, or of what stands between its first braces."""
    encoded = key.encode()
    start = encoded.find(b"{") + 1
    if start > 0:
        end = encoded.find(b"}", start)
        if end > start:
            encoded = encoded[start:end]
    return crc_hqx(encoded, 0) % SLOTS
