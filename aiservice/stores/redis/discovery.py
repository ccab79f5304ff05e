"""Asks a cluster which node has which slots, and sentinels who is master: rare work, done by redis-py.

Importing redis-py takes 11 MB and some 130 ms, which a single Redis is spared: this file is imported late.
"""

import asyncio
import random
from collections.abc import Collection, Coroutine, Mapping
from typing import Any, TypeVar

from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from aiservice.stores.redis.address import RedisAddress
from aiservice.stores.redis.dial import DialFailed
from aiservice.stores.redis.node import Place

# For one node or sentinel, of which several are asked in turn.
ANSWER_S = 0.5
# How long the end of an answer is waited for by who is cancelled.
ENDING_S = 1.0

T = TypeVar("T")


class ClusterDiscovery:
    """The owners of a cluster's slots."""

    def __init__(self, address: RedisAddress) -> None:
        self._seeds = address.nodes
        self._options = _options(address, address.username, address.password)

    async def owners(self, known: Collection[Place]) -> Mapping[int, Place]:
        """The place of each slot's master, as the first node says that answers; raises `DialFailed` if none does.

        `known` are asked besides the nodes of the address. Slots without a master are missing.
        """
        return await _to_its_end(self._owners(known))

    async def _owners(self, known: Collection[Place]) -> Mapping[int, Place]:
        nodes = [ClusterNode(host, port) for host, port in {*known, *self._seeds}]
        cluster = RedisCluster(startup_nodes=nodes, require_full_coverage=False, **self._options)
        manager = cluster.nodes_manager
        try:
            # Of the manager alone: the client's own `initialize` asks a master for a list of all commands too.
            await manager.initialize()
        except (RedisError, RedisClusterException, OSError, IndexError) as error:
            # The last is what comes of a cluster none of whose slots has a master.
            raise DialFailed(f"no node of the cluster answered: {error}") from error
        finally:
            await manager.aclose()
            await manager.aclose("startup_nodes")
        return {slot: (str(masters[0].host), int(masters[0].port)) for slot, masters in manager.slots_cache.items()}


class SentinelDiscovery:
    """The master of a service."""

    def __init__(self, address: RedisAddress) -> None:
        self._service = address.service or ""
        self._sentinels = list(address.nodes)
        self._options = _options(address, address.sentinel_username, address.sentinel_password)

    async def master(self) -> Place:
        """The place of the master, as the first sentinel says that has a living one; `DialFailed` if none has."""
        return await _to_its_end(self._master())

    async def _master(self) -> Place:
        # Not always the same one first: it may be frozen.
        random.shuffle(self._sentinels)
        sentinel = Sentinel(self._sentinels, sentinel_kwargs=self._options)  # type: ignore[no-untyped-call]
        try:
            host, port = await sentinel.discover_master(self._service)
        except (RedisError, OSError) as error:
            raise DialFailed(f"the sentinels know no living master: {error}") from error
        finally:
            await sentinel.aclose()
        return str(host), int(port)


async def _to_its_end(asking: Coroutine[Any, Any, T]) -> T:
    """What it returns. It is not disturbed where we are cancelled.

    One in six cancellations that reached redis-py was swallowed, and others left connections open.
    """
    task = asyncio.create_task(asking)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=ENDING_S)
        if not task.cancel() and not task.cancelled():
            # Looked at, or the loop would complain that nobody did.
            task.exception()
        raise


def _options(address: RedisAddress, username: str | None, password: str | None) -> dict[str, Any]:
    """What redis-py is to be told of the connections that it makes."""
    return {
        "username": username,
        "password": password,
        "socket_connect_timeout": ANSWER_S,
        "socket_timeout": ANSWER_S,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        **({"ssl": True, **address.tls_parameters} if address.tls is not None else {}),
    }
