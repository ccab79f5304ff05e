"""What stands between the rooms and the world: clock, disk, databases, engine, and what the journal hears by."""

import asyncio
import os
import random
import sqlite3
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

from aiservice.cache import Cache, CacheKey, CacheStats, Claim, Entry
from aiservice.cache.model import EntryFacts
from aiservice.core.clock import ManualClock
from aiservice.core.errors import EngineBusy, EngineError, StoreUnavailable
from aiservice.core.types import Chunk, Completion, Deadline, Generation, Tokens
from aiservice.engines.model import Model, PullProgress
from aiservice.engines.watch import Watch
from aiservice.limits.memory import MemoryRuleStore
from aiservice.limits.model import Rule
from aiservice.stores.hot import HotFile
from aiservice.usage import UsageRecord
from aiservice.usage.memory import MemoryUsageStore
from tests.simulation.journal import CacheCall, EngineCall, Exchange, Journal, LimiterCall
from tests.simulation.mortal import DESCRIPTORS, MortalProcess
from tests.simulation.plan import MODEL
from tests.simulation.virtual_loop import Killed, VirtualLoop

A = TypeVar("A")
T = TypeVar("T")
EXCHANGE: ContextVar[Exchange] = ContextVar("exchange")
EPOCH_US = 1_750_000_000_000_000


class World:
    """What all workers of the machine share beside its files."""

    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        self.loop = loop
        self.journal = Journal()
        self.source = random.Random(seed ^ 0x5EED)
        self.lags = random.Random(seed ^ 0x1A65)
        self.offset_us = 0
        self.is_limiter_down = False
        self.is_disk_full = False

    @property
    def now_s(self) -> float:
        return self.loop.time()

    def wall_us(self) -> int:
        return EPOCH_US + round(self.now_s * 1_000_000) + self.offset_us

    def say(self, text: str) -> None:
        self.journal.say(self.now_s, text)


class WorkerClock:
    """The machine's clocks, as a worker reads them while it lives."""

    def __init__(self, world: World, process: MortalProcess) -> None:
        self._world = world
        self._process = process

    def now_us(self) -> int:
        self._process.check()
        return self._world.wall_us()

    def monotonic_s(self) -> float:
        self._process.check()
        return self._world.now_s


class Disk:
    """Stands for `os.pwrite`: tears the write in which its worker dies, and is full while the world says so."""

    def __init__(self, world: World, process: MortalProcess) -> None:
        self._world = world
        self._process = process
        self.torn_at: int | None = None

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        self._process.check()
        if not self._process.folders:
            # The spool tells its folder only when it is made, and its worker may not live that long.
            self._process.folders.append((DESCRIPTORS / str(descriptor)).readlink().parent)
        if self.torn_at is not None:
            self._process.die()
            os.pwrite(descriptor, data[: self.torn_at % (len(data) + 1)], offset)
            raise Killed
        if self._world.is_disk_full and os.fstat(descriptor).st_size < offset + len(data):
            raise OSError(28, "No space left on device")
        return self._written(descriptor, data, offset)

    def _written(self, descriptor: int, data: bytes, offset: int) -> int:
        return os.pwrite(descriptor, data, offset)


class SharedStore(MemoryUsageStore):
    """The ledger's database: it takes time, is down now and then, and may commit without saying so.

    Its replica, where it has one, gets each transaction some time after the one before, and may take its place.
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.is_down = False
        self.is_replica_down = False
        self.is_calm = False
        self._log: deque[tuple[float, Sequence[UsageRecord]]] = deque()
        self._replica = MemoryUsageStore()

    @property
    def rows(self) -> list[UsageRecord]:
        return list(self._rows.values())

    @property
    def replicated(self) -> list[UsageRecord]:
        """What the replica has by now."""
        while self._log and self._log[0][0] <= self._world.now_s:
            for row in self._log.popleft()[1]:
                self._replica._rows.setdefault((row.id, row.created_at_us), row)
        return list(self._replica._rows.values())

    async def insert(self, rows: Sequence[UsageRecord]) -> int:
        await self._travel()
        new = await super().insert(rows)
        if new and self.has_replica:
            lag_s = self._world.lags.choice((0.0, 0.02, 0.02, 0.3, 2.0, 7.0))
            after_s = self._log[-1][0] if self._log else 0.0
            self._log.append((max(self._world.now_s + lag_s, after_s), rows))
        await self._travel()
        return new

    async def unreplicated(self, ids: Sequence[str]) -> Sequence[str]:
        await asyncio.sleep(self._world.lags.choice((0.0, 0.03)))
        if self.is_replica_down:
            raise StoreUnavailable(detail="the replica went away")
        known = {row.id for row in self.replicated}
        return [id for id in ids if id not in known]

    def fail_over(self) -> None:
        """What the replica has not is gone."""
        self._rows = {(row.id, row.created_at_us): row for row in self.replicated}
        self._log.clear()

    async def _travel(self) -> None:
        source = self._world.source
        await asyncio.sleep(source.choice((0.0, source.uniform(0, 0.03))))
        if self.is_down or (not self.is_calm and source.random() < 0.03):
            raise StoreUnavailable(detail="the database went away")


class SharedRules(MemoryRuleStore):
    """The operator's rules, which take their time to be read."""

    def __init__(self, world: World) -> None:
        super().__init__(ManualClock())
        self._world = world

    async def find(self, tenant_id: str, user_id: str | None) -> Sequence[Rule]:
        await asyncio.sleep(self._world.source.choice((0.0, 0.01)))
        return await super().find(tenant_id, user_id)


class SharedEngine:
    """One engine server as a worker sees it. It says whose answer it gives; its pace and failures are drawn."""

    def __init__(self, world: World, process: MortalProcess) -> None:
        self.name = "engine"
        self._world = world
        process.on_death.append(self._hang_up)
        self._calls: list[EngineCall] = []

    async def models(self) -> Sequence[Model]:
        return [Model(MODEL, self.name, "digest-1", None, None, True, ("chat", "stream"))]

    async def generate(self, model: str, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
        call = self._arrive(EXCHANGE.get())
        watch = Watch(deadline, is_streamed=generation.stream)
        words = call.text.split(" ")
        pauses_s, fails_at = self._drawn(len(words))
        try:
            for number, pause_s in enumerate(pauses_s):
                with watch:
                    await asyncio.sleep(pause_s)
                if number == fails_at:
                    raise EngineError("the engine failed") if number else EngineBusy("the engine is busy")
                watch.note_token()
                call.sent += 1
                if generation.stream:
                    yield Chunk(words[number] + " ")
            text = "" if generation.stream else call.text + " "
            call.close("whole", self._world.now_s)
            yield Chunk(text, "stop", Tokens(9, len(words)))
        except EngineError:
            call.close("failed", self._world.now_s)
            raise
        finally:
            call.close("closed", self._world.now_s)
            watch.close()
            self._world.say(f"engine call {call.number}: {call.end}")

    async def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        yield PullProgress("success")

    async def aclose(self) -> None:
        """Nothing is open."""

    def _arrive(self, exchange: Exchange) -> EngineCall:
        calls = self._world.journal.engine
        number = len(calls)
        subject = "/".join(map(str, exchange.subject)).replace(" ", "_")
        call = EngineCall(number, exchange, f"{subject} call {number}", self._world.now_s)
        calls.append(call)
        self._calls.append(call)
        self._world.say(f"engine call {number}: request {exchange.question.number}")
        return call

    def _drawn(self, count: int) -> tuple[list[float], int]:
        """The pause before each word, and the number of the word that it fails at."""
        source = self._world.source
        slowest_s = source.choice((0.0, 0.05, 0.05, 0.4, 2.0, 7.0))
        fails_at = source.randrange(count) if source.random() < 0.15 else -1
        return [source.uniform(0, slowest_s) for _ in range(count)], fails_at

    def _hang_up(self) -> None:
        for call in self._calls:
            call.close("closed", self._world.now_s)


class JournaledFile:
    """The limiter's file: notes what was committed, in that order; cannot be used while the world says so."""

    def __init__(self, file: HotFile, world: World) -> None:
        self._file = file
        self._world = world
        self.follow = file.follow
        self.close = file.close

    @property
    def cursor(self) -> sqlite3.Cursor:
        return self._file.cursor

    def run(self, work: Callable[[A], T], argument: A) -> T:
        if self._world.is_limiter_down:
            raise StoreUnavailable(detail="the limiter's file is locked")
        try:
            result = self._file.run(work, argument)
        except Killed:
            self._note(work.__name__, argument, (), is_doubtful=True)
            raise
        self._note(work.__name__, argument, result, is_doubtful=False)
        return result

    def _note(self, work: str, argument: Any, result: Any, *, is_doubtful: bool) -> None:
        """The limiter's transactions by their names; those that only look or tidy up change nothing."""
        at_us = self._world.wall_us()
        match work:
            case "_take_all":
                call = LimiterCall(at_us, is_doubtful, takes=tuple(argument), decisions=tuple(result))
            case "_close":
                take, given_back = argument
                call = LimiterCall(at_us, is_doubtful, closed=take, given_back=tuple(given_back))
            case "_renew":
                call = LimiterCall(at_us, is_doubtful, renewed=argument)
            case "_peek" | "_held" | "_prune":
                return
            case _:
                raise AssertionError(f"the limiter has a transaction that no check knows: {work}")
        self._world.journal.limiter.append(call)


class JournaledCache:
    """Notes what a cache was given, what it gave, and when it was cleared."""

    def __init__(self, cache: Cache, world: World) -> None:
        self._cache = cache
        self._world = world

    @property
    def failures(self) -> int:
        return self._cache.failures

    @property
    def era(self) -> int:
        return self._cache.era

    async def get(self, key: CacheKey, *, max_age_s: int | None = None) -> Entry | None:
        return self._found(key, await self._cache.get(key, max_age_s=max_age_s), max_age_s)

    async def put(self, key: CacheKey, completion: Completion, *, lease_id: str | None = None) -> None:
        # Noted also when its worker dies in it: it may have been kept.
        try:
            await self._cache.put(key, completion, lease_id=lease_id)
        finally:
            self._note(
                CacheCall(self._world.wall_us(), "put", key.tenant_id, key.model, key, completion.choices[0].text)
            )

    async def claim(self, key: CacheKey, lease_id: str, *, max_age_s: float | None = None) -> Claim:
        claim = await self._cache.claim(key, lease_id, max_age_s=max_age_s)
        self._found(key, claim.entry, max_age_s)
        return claim

    async def renew(self, key: CacheKey, lease_id: str) -> bool:
        return await self._cache.renew(key, lease_id)

    async def release(self, key: CacheKey, lease_id: str) -> None:
        await self._cache.release(key, lease_id)

    async def joined(self, key: CacheKey, hits: int) -> None:
        await self._cache.joined(key, hits)

    async def clear(self, *, tenant_id: str | None = None, model: str | None = None) -> int:
        count = await self._cache.clear(tenant_id=tenant_id, model=model)
        self._note(CacheCall(self._world.wall_us(), "clear", tenant_id, model))
        return count

    async def entries(self, limit: int) -> list[EntryFacts]:
        return await self._cache.entries(limit)

    async def stats(self) -> CacheStats:
        return await self._cache.stats()

    async def aclose(self) -> None:
        await self._cache.aclose()

    def _found(self, key: CacheKey, entry: Entry | None, max_age_s: float | None) -> Entry | None:
        if entry is not None:
            text, created_us = entry.completion.choices[0].text, entry.created_at_us
            at_us = self._world.wall_us()
            self._note(CacheCall(at_us, "found", key.tenant_id, key.model, key, text, created_us, max_age_s))
        return entry

    def _note(self, call: CacheCall) -> None:
        self._world.journal.cache.append(call)
