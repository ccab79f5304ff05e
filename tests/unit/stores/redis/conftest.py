"""Clients of the Redis that a test scripts or starts, closed at its end; on both loops where that is quick."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest
import uvloop

from aiservice.stores.redis import Redis, address_of
from tests.servers.scripted_redis import ScriptedRedis
from tests.unit.stores.redis.waiting import Connect


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Workers run on uvloop; it orders timers and reading differently from asyncio."""
    loops = {"uvloop": uvloop.new_event_loop}
    is_quick = isinstance(item, pytest.Function) and {"server", "cluster"} & set(item.fixturenames)
    return {"asyncio": asyncio.new_event_loop, **loops} if is_quick else loops


@pytest.fixture
def server() -> Iterator[ScriptedRedis]:
    with ScriptedRedis() as scripted:
        yield scripted


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes a client of an address and starts it; on a loaded machine, so with a long deadline by default."""
    clients: list[Redis] = []

    async def start(url: str, *, timeout_s: float = 2.0, name: str = "limits") -> Redis:
        clients.append(Redis(address_of(url), timeout_s=timeout_s, name=name))
        await clients[-1].start()
        return clients[-1]

    yield start
    for client in clients:
        await client.aclose()
