"""Processes that record usage as workers do, say each request when its record is written, and ship it.

Run as `python -m tests.faults.shippers FOLDER RATE`; settings come from the environment. Ends in good order on SIGTERM.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiservice.core.clock import SystemClock
from aiservice.core.ids import uuid7
from aiservice.core.settings import load
from aiservice.stores.databases import open_main, open_replica
from aiservice.usage import Ledger, Spool, SpoolShape, UsageRecord, UsageStart
from aiservice.usage.sql import SqlUsageStore

ROOT = Path(__file__).parents[2]
# Small, so that files come and go all the time.
SHAPE = SpoolShape(file_bytes_max=32_768, reserve_bytes=65_536)
TICK_S = 0.02
TENANTS = 3
START_S = 60.0
STOP_S = 90.0


@dataclass
class Shippers:
    """Running processes over one spool; `said` are the requests whose records are written, by id."""

    root: Path
    environ: Mapping[str, str]
    said: set[str] = field(default_factory=set)
    _running: list[tuple[asyncio.subprocess.Process, asyncio.Task[None]]] = field(default_factory=list)

    async def start(self, rate: int) -> None:
        """One more, that records so many requests a second; returns when it has said one."""
        command = [sys.executable, "-m", "tests.faults.shippers", str(self.root), str(rate)]
        environ = {"PATH": os.environ["PATH"], "ENVIRONMENT": "test", **self.environ}
        process = await asyncio.create_subprocess_exec(
            *command, env=environ, cwd=ROOT, stdout=asyncio.subprocess.PIPE, limit=1 << 20
        )
        has_said = asyncio.Event()
        self._running.append((process, asyncio.create_task(self._listen(process, has_said))))
        await asyncio.wait_for(has_said.wait(), START_S)

    async def more(self, count: int) -> None:
        """Returns when so many more requests were recorded."""
        target = len(self.said) + count
        async with asyncio.timeout(60):
            while len(self.said) < target:
                await asyncio.sleep(0.02)

    async def kill_one(self) -> None:
        """kill -9: what it left is shipped by the others."""
        process, listening = self._running.pop(0)
        process.kill()
        await process.wait()
        await listening

    async def stop(self) -> None:
        """In good order, one after the other: the last one adopts what the others could not ship."""
        while self._running:
            process, listening = self._running.pop(0)
            if not self._running:
                await self._alone()
            process.send_signal(signal.SIGTERM)
            code = await asyncio.wait_for(process.wait(), STOP_S)
            await listening
            assert code == 0, f"a shipper ended with {code}"

    def end(self) -> None:
        for process, listening in self._running:
            process.kill()
            listening.cancel()

    async def _alone(self) -> None:
        """Waits until there is one spool only."""
        async with asyncio.timeout(STOP_S):
            while sum(folder.is_dir() for folder in self.root.iterdir()) > 1:
                await asyncio.sleep(0.05)

    async def _listen(self, process: asyncio.subprocess.Process, has_said: asyncio.Event) -> None:
        assert process.stdout is not None
        while (line := await process.stdout.readline()).endswith(b"\n"):
            self.said.add(line.decode().strip())
            has_said.set()


@asynccontextmanager
async def shipping(root: Path, environ: Mapping[str, str], *, processes: int, rate: int) -> AsyncIterator[Shippers]:
    """So many processes, each of which records so many requests a second."""
    root.mkdir()
    shippers = Shippers(root, environ)
    try:
        await asyncio.gather(*(shippers.start(rate) for _ in range(processes)))
        yield shippers
    finally:
        shippers.end()


async def _work(root: Path, rate: int) -> None:
    settings, clock = load(), SystemClock()
    database, replica = open_main(settings), open_replica(settings)
    store = SqlUsageStore(database, clock, replica=replica)
    ledger = Ledger(store, Spool(root, clock=clock, shape=SHAPE), settings.usage)
    running = asyncio.create_task(ledger.run())
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    began_s, count = time.monotonic(), 0
    while not stopping.is_set():
        due = int((time.monotonic() - began_s) * rate) - count
        if due > 0:
            count += due
            os.write(1, "".join(f"{_record(ledger, clock.now_us(), count + n)}\n" for n in range(due)).encode())
        await asyncio.sleep(TICK_S)
    await ledger.aclose(timeout_s=60)
    await running
    for engine in (database, replica):
        if engine is not None:
            await engine.dispose()


def _record(ledger: Ledger, at_us: int, number: int) -> str:
    """One request, in one record or, every second one, in two."""
    key = f"01977a2b-0000-7000-8000-{number % (TENANTS * 4):012d}"
    tenant, endpoint = f"tenant-{number % TENANTS}", ("/ai/generate", "/v1/embeddings")[number % 2]
    id = uuid7(at_us)
    if number % 2:
        ledger.start(UsageStart(id, key, tenant, None, endpoint, "m", 3, at_us))
    status = (200, 200, 200, 429, 502)[number % 5]
    ledger.end(UsageRecord(id, key, tenant, None, endpoint, "m", 3, 4, 0, number % 7 == 0, 5, status, None, at_us, 6))
    return id


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(_work(Path(sys.argv[1]), int(sys.argv[2])))
