"""The real service under a steady load while something befalls what it stands on, and what came of every request."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.books import Books, dead_letters_of, read_rows_of, sums_of
from tests.faults.client import Connection, post
from tests.faults.load import KEYS, Key, Load, Outcome, make_keys
from tests.faults.serving import Served, command, serving
from tests.faults.sockets import all_accepted
from tests.faults.witness import Witness, witnessing

DATA = "data"
WORKERS = 4
CLIENTS = 8
SEED = 20260207
# Connections that are opened at once so that each worker gets one.
PROBES = 16


@dataclass(frozen=True)
class Trial:
    """A running service, its load and the books of both."""

    served: Served
    keys: Sequence[Key]
    load: Load
    witness: Witness

    async def every_worker_hits(self, number: int = 0) -> bool:
        """Whether a kept answer comes from the cache, whoever is asked."""
        async with self._each_worker() as connections:
            outcomes = [await self.load.ask(connection, self.load.kept(number)) for connection in connections]
        return all(outcome.reply.headers.get("x-cache") == "HIT" for outcome in outcomes)

    async def limits_are_shared(self, key: str) -> bool:
        """Whether each answer, whoever gives it, has one request less left than the one before."""
        async with self._each_worker() as connections:
            replies = [await connection.ask(_asking(key)) for connection in connections * 2]
        left = [int(reply.headers["x-ratelimit-remaining"]) for reply in replies]
        return left == list(range(left[0], left[0] - len(left), -1))

    async def make_known(self) -> None:
        """Shows every key to every worker; what is kept is a hit afterwards."""
        async with self._each_worker() as connections:
            for connection in connections:
                for number in range(KEYS):
                    await self.load.ask(connection, self.load.kept(number))

    async def ask_metered(self, key: str, count: int) -> Counter[int]:
        """Statuses of so many requests over new connections, so that all workers get some."""
        statuses: Counter[int] = Counter()
        for _ in range(0, count, PROBES):
            replies = await asyncio.gather(*(ask_once(self.served, key) for _ in range(PROBES)))
            statuses.update(reply.status for reply in replies)
        return statuses

    def between(self, from_s: float, to_s: float) -> list[Outcome]:
        """What was asked in that time."""
        return [outcome for outcome in self.load.outcomes if from_s <= outcome.began_s < to_s]

    async def faults(self, url: str, environ: dict[str, str]) -> list[str]:
        """Everything in which the clients, the engine and the ledger differ; the service must have stopped."""
        ids = [key.id for key in self.keys]
        rows = await read_rows_of(url)
        known = [row for row in rows if row.api_key_id in ids]
        found = Books(self.load.outcomes, self.witness.counts(), known, ids, frozenset({503})).faults()
        if (letters := await dead_letters_of(url)) > 0:
            found.append(f"{letters} dead letters")
        summed = await sums_of(url)
        if not summed["rows"] == summed["rollups"] == summed["totals"] or summed["rows"][0] != len(rows):
            found.append(f"{len(rows)} rows have the sums {summed}")
        code, printed = await command(self.served.data_dir, "usage", "reconcile", **environ)
        return found if code == 0 else [*found, printed]

    @asynccontextmanager
    async def _each_worker(self) -> AsyncIterator[list[Connection]]:
        """A connection to each; who takes a new one is chance, so many are opened."""
        pids = self.served.workers()
        found: dict[int, Connection] = {}
        opened: list[Connection] = []
        try:
            while len(found) < len(pids):
                connections = [await Connection.to(self.served.port) for _ in range(PROBES)]
                opened += connections
                owners = await all_accepted(pids, self.served.port, {connection.port for connection in connections})
                found |= {owners[connection.port]: connection for connection in connections}
            yield list(found.values())
        finally:
            for connection in opened:
                connection.close()


@dataclass(frozen=True)
class Asked:
    """A single request and how long it took."""

    status: int
    headers: dict[str, str]
    body: Any
    took_s: float


@asynccontextmanager
async def trying(
    folder: Path, environ: Mapping[str, str], *, seed: int = SEED, clients: int = CLIENTS
) -> AsyncIterator[Trial]:
    """The load runs until the block ends, and begins when every kept number was answered."""
    data_dir = folder / DATA
    data_dir.mkdir(exist_ok=True)
    async with (
        witnessing(folder) as witness,
        serving(data_dir, WORKERS=str(WORKERS), OPENAI_BASE_URL=witness.url, **environ) as served,
    ):
        keys = await make_keys(served)
        load = Load(served.port, keys, seed=seed, clients=clients)
        await load.warm()
        over = asyncio.Event()
        running = asyncio.create_task(load.run(over.is_set))
        try:
            yield Trial(served, keys, load, witness)
        finally:
            over.set()
            await running


async def ask_once(served: Served, key: str, **fields: Any) -> Asked:
    """Asks the scripted engine on a connection of its own, past the cache."""
    began_s = time.monotonic()
    headers = {"x-api-key": key, "cache-control": "no-store", "connection": "close"}
    body = {"prompt": "What is Docker?", "max_tokens": 5} | fields
    async with served.http.post(f"{served.url}/ai/generate", json=body, headers=headers) as response:
        answer = await response.json()
        names = {name.lower(): value for name, value in response.headers.items()}
        return Asked(response.status, names, answer, time.monotonic() - began_s)


def _asking(key: str) -> bytes:
    body = {"prompt": "What is Docker?", "max_tokens": 5}
    return post("/ai/generate", key, body, cache_control="no-store")


async def seconds_until(is_so: Callable[[], Awaitable[bool]], *, within_s: float) -> float:
    """How long it took; raises `TimeoutError`."""
    began_s = time.monotonic()
    async with asyncio.timeout(within_s):
        while not await is_so():
            await asyncio.sleep(0.02)
    return time.monotonic() - began_s


def slowest(outcomes: Sequence[Outcome]) -> float:
    """The longest that any of them took beyond what the engine took, seconds."""
    return max(outcome.took_s - outcome.order.engine_s for outcome in outcomes)
