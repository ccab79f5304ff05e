"""Several instances over one PostgreSQL and one Redis, and a connection to each of their workers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiservice.core.settings import Settings
from tests.faults.client import Connection, Reply
from tests.faults.serving import Served, serving
from tests.faults.sockets import all_accepted

PEPPER = "the pepper that all instances of these tests share"
# Who accepts a connection is chance: so many are opened at once until each worker has one.
CONNECTIONS = 16


@dataclass(frozen=True)
class Worker:
    """One worker of one instance, spoken to over a connection of its own."""

    instance: int
    pid: int
    connection: Connection

    async def get(self, path: str, key: str) -> Reply:
        """Its answer; the connection stays open."""
        head = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {key}\r\n\r\n"
        reply = await self.connection.ask(head.encode())
        assert reply.is_whole, f"worker {self.pid} of instance {self.instance} broke the connection"
        return reply


@dataclass(frozen=True)
class Fleet:
    """All instances and all of their workers."""

    instances: Sequence[Served]
    workers: Sequence[Worker]


def shared_by(stores: Settings, redis_url: str, **environ: str) -> dict[str, str]:
    """The environment of an instance on these stores."""
    urls = stores.stores
    assert urls.postgres_url is not None
    assert urls.postgres_owner_url is not None
    return {
        "POSTGRES_URL": urls.postgres_url,
        "POSTGRES_OWNER_URL": urls.postgres_owner_url,
        "REDIS_URL": redis_url,
        "KEY_PEPPER": PEPPER,
        **environ,
    }


@asynccontextmanager
async def fleet(folder: Path, *, instances: int, workers: int, environ: dict[str, str]) -> AsyncIterator[Fleet]:
    """So many supervisors with so many workers each; ends all of them in good order."""
    sizes = {"INSTANCES": str(instances), "WORKERS": str(workers)}
    async with AsyncExitStack() as stack:
        served = []
        for number in range(instances):
            (data_dir := folder / f"instance-{number}").mkdir()
            served.append(await stack.enter_async_context(serving(data_dir, **environ, **sizes)))
        reached = [await _workers_of(number, one) for number, one in enumerate(served)]
        everyone = [worker for group in reached for worker in group]
        assert len(everyone) == instances * workers
        for worker in everyone:
            stack.callback(worker.connection.close)
        yield Fleet(served, everyone)


async def _workers_of(instance: int, served: Served) -> list[Worker]:
    """A connection to each worker; those that are one too many are closed again."""
    found: dict[int, Worker] = {}
    pids = served.workers()
    while len(found) < len(pids):
        connections = await asyncio.gather(*(Connection.to(served.port) for _ in range(CONNECTIONS)))
        owners = await all_accepted(pids, served.port, {connection.port for connection in connections})
        for connection in connections:
            pid = owners[connection.port]
            if pid in found:
                connection.close()
            else:
                found[pid] = Worker(instance, pid, connection)
    return list(found.values())
