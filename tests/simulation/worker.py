"""A worker of the simulated machine: the rooms as `app.py` joins them, and a door to the corridor."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from aiservice.cache import Cache, ResponseCache
from aiservice.cache.sqlite import SqliteCache
from aiservice.core.errors import AIServiceError
from aiservice.core.settings import CacheSettings, KeySettings, UsageSettings
from aiservice.core.types import Chunk, Deadline
from aiservice.engines import Registry
from aiservice.engines.model import EngineSpec
from aiservice.gateway import Answer, Corridor, Recorder, Visit
from aiservice.keys import Keys
from aiservice.keys.memory import MemoryKeyStore
from aiservice.limits import Limits
from aiservice.limits.sqlite import SqliteLimiter
from aiservice.observe.metrics import Metrics
from aiservice.stores.databases import CACHE_FILE, LIMITS_FILE
from aiservice.stores.hot import HotFile
from aiservice.usage import Ledger, Spool, SpoolShape
from tests.simulation.doubles import (
    EXCHANGE,
    Disk,
    JournaledCache,
    JournaledFile,
    SharedEngine,
    SharedRules,
    SharedStore,
    WorkerClock,
    World,
)
from tests.simulation.journal import Exchange
from tests.simulation.mortal import MortalProcess
from tests.simulation.plan import MODEL, Plan

SPOOL_FOLDER = "spool"
# Small, so that files are often changed.
SHAPE = SpoolShape(file_bytes_max=2_048, reserve_bytes=8_192)
DEADLINE = Deadline(connect_s=2.0, first_token_s=5.0, between_tokens_s=3.0, total_s=10.0)
ENDPOINT = "/ai/generate"
PEPPER = b"pepper of the simulated machine."


class Parts:
    """What a worker is made of, where a mutant may put something else."""

    def store(self, world: World) -> SharedStore:
        return SharedStore(world)

    def disk(self, world: World, process: MortalProcess) -> Disk:
        return Disk(world, process)

    def spool(self, root: Path, clock: WorkerClock, disk: Disk) -> Spool:
        return Spool(root, clock=clock, shape=SHAPE, write=disk.write)

    def limiter(self, path: Path, clock: WorkerClock) -> SqliteLimiter:
        return SqliteLimiter(path, clock)

    def cache(self, cache: SqliteCache) -> Cache:
        return cache

    def response_cache(self, settings: CacheSettings, cache: Cache) -> ResponseCache:
        return ResponseCache(settings, cache)


@dataclass(frozen=True, slots=True)
class Stores:
    """What outlives every worker."""

    usage: SharedStore
    rules: SharedRules


class Worker:
    """`open` it, hand exchanges to `serve`, and `stop` it or kill its `process`."""

    def __init__(self, process: MortalProcess, plan: Plan, world: World, *, stores: Stores, parts: Parts) -> None:
        self.process = process
        self.is_listening = False
        self.disk = parts.disk(world, process)
        self._plan = plan
        self._world = world
        self._stores = stores
        self._parts = parts
        self._exchanges: list[Exchange] = []
        self._handlers: set[asyncio.Task[None]] = set()
        process.on_death.append(self._lose)

    @property
    def name(self) -> str:
        return self.process.name

    async def open(self, data_dir: Path, metrics: Metrics) -> None:
        """Everything that `app.py` opens, in its order; runs in the process."""
        clock = WorkerClock(self._world, self.process)
        self._clock = clock
        keys = Keys(MemoryKeyStore(), KeySettings(), self._plan.limits, pepper=PEPPER, clock=clock)
        self._open_limits(data_dir, clock)
        self._open_cache(data_dir, clock)
        engine = SharedEngine(self._world, self.process)
        self._registry = Registry([(EngineSpec("engine", "fake", ""), engine)], default_model=MODEL, clock=clock)
        await self._registry.refresh()
        usage = UsageSettings(batch_rows=10, batch_interval_ms=100, is_durable=self._plan.is_durable)
        spool = self._parts.spool(data_dir / SPOOL_FOLDER, clock, self.disk)
        self.ledger = Ledger(self._stores.usage, spool, usage)
        self._running = self.process.spawn(self.ledger.run(), name=f"{self.name} ledger")
        recorder = Recorder(limits=self.limits, cache=self.cache, ledger=self.ledger, metrics=metrics, clock=clock)
        self._corridor = Corridor(
            keys=keys,
            limits=self.limits,
            cache=self.cache,
            registry=self._registry,
            recorder=recorder,
            deadline=DEADLINE,
        )
        self.is_listening = True
        self._world.say(f"{self.name} listens")

    def serve(self, exchange: Exchange) -> "asyncio.Task[None]":
        """The request's handler, which is cancelled when its client leaves."""
        self._exchanges.append(exchange)
        handler = self.process.spawn(self._serve(exchange), name=f"request {exchange.question.number}")
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)
        return handler

    async def stop(self) -> None:
        """Stops listening, waits for its requests, and closes as `app.py` does."""
        self.is_listening = False
        while self._handlers:
            await asyncio.wait(self._handlers)
        await self._corridor.aclose()
        await self.ledger.aclose()
        await self._running
        await self._registry.aclose()
        await self.cache.aclose()
        await self.limits.aclose()
        self._world.say(f"{self.name} has stopped")

    def _open_limits(self, data_dir: Path, clock: WorkerClock) -> None:
        limiter = self._parts.limiter(data_dir / LIMITS_FILE, clock)
        self.process.on_death.append(lambda: _cut(limiter._file))
        limiter._file = JournaledFile(limiter._file, self._world)
        self.limits = Limits(self._plan.limits, limiter, self._stores.rules)

    def _open_cache(self, data_dir: Path, clock: WorkerClock) -> None:
        settings = CacheSettings(ttl_s=self._plan.ttl_s)
        sqlite = SqliteCache(data_dir / CACHE_FILE, settings, clock, secret=PEPPER, source=self._world.source)
        # Without the second a dead worker would write on into the stamps, which are mapped memory.
        self.process.on_death += [lambda: _cut(sqlite._file), sqlite._stamps.close]
        cache = JournaledCache(self._parts.cache(sqlite), self._world)
        self.cache = self._parts.response_cache(settings, cache)

    async def _serve(self, exchange: Exchange) -> None:
        """What a door does with a request, and what its client sees of it."""
        EXCHANGE.set(exchange)
        question = exchange.question
        exchange.created_at_us = self._clock.now_us()
        visit = Visit(exchange.id, ENDPOINT, question.caller, exchange.created_at_us, self._clock.monotonic_s())
        try:
            policy = self.cache.policy(question.cache_control)
            answer = await self._corridor.answer(visit, question.generation, policy)
            async with aclosing(answer.rest):
                await self._send(exchange, answer)
        except AIServiceError as error:
            self._end(exchange, error.code)
        except asyncio.CancelledError:
            if exchange.end != "left":
                raise

    async def _send(self, exchange: Exchange, answer: Answer) -> None:
        exchange.state, exchange.begun_s = answer.cache_state, self._world.now_s
        await self._send_chunk(exchange, answer.first)
        async for chunk in answer.rest:
            await self._send_chunk(exchange, chunk)
        self._end(exchange)

    async def _send_chunk(self, exchange: Exchange, chunk: Chunk) -> None:
        exchange.take_in(chunk)
        if exchange.question.read_s and exchange.question.generation.stream:
            await asyncio.sleep(exchange.question.read_s)

    def _end(self, exchange: Exchange, error: str = "") -> None:
        exchange.close("refused" if error else "answered", self._world.now_s, error)
        how = error or exchange.state
        self._world.say(f"request {exchange.question.number} of {self.name}: {exchange.end} {how} {exchange.text!r}")

    def _lose(self) -> None:
        self.is_listening = False
        self._world.say(f"{self.name} dies {self.process.place}")
        for exchange in self._exchanges:
            exchange.close("cut", self._world.now_s)


def _cut(file: HotFile | JournaledFile) -> None:
    """Closes a dead worker's file. A statement that is left open would keep the transaction, and its lock, alive."""
    file.cursor.close()
    file.close()
