"""The simulated machine: workers over one folder, clients, faults as planned, and a last worker that tidies up."""

import asyncio
import random
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from uuid import UUID

from aiservice.core.errors import SpoolFull
from aiservice.observe.metrics import Metrics
from tests.simulation.doubles import SharedRules, World
from tests.simulation.journal import Exchange
from tests.simulation.mortal import MortalProcess
from tests.simulation.plan import Event, Fault, Plan, Question
from tests.simulation.virtual_loop import Killed, VirtualLoop
from tests.simulation.worker import SPOOL_FOLDER, Parts, Stores, Worker

RESTART_S_MAX = 0.5
PATIENCE_S = 120.0


class Machine:
    """Plays a plan; afterwards `world.journal`, `stores` and the folder say what came of it."""

    def __init__(self, plan: Plan, loop: VirtualLoop, folder: Path, *, parts: Parts, metrics: Metrics) -> None:
        self.plan = plan
        self.loop = loop
        self.folder = folder
        self.world = World(plan.seed, loop)
        self.stores = Stores(parts.store(self.world), SharedRules(self.world))
        self.stores.usage.has_replica = plan.has_replica
        self.dead: set[str] = set()
        self._parts = parts
        self._metrics = metrics
        self._workers: list[Worker] = []
        self._started = 0
        self._restarts: list[asyncio.Task[None]] = []
        self._broken: BaseException | None = None
        self._is_ending = False
        self._source = random.Random(plan.seed ^ 0x3AC417E)

    async def run(self) -> None:
        """From the first worker's start until everything is shipped."""
        self._context = copy_context()
        for rule in self.plan.rules:
            await self.stores.rules.put(rule)
        for _ in range(self.plan.worker_count):
            # Two that start in the same millisecond would have ids in an order that no seed decides.
            await asyncio.sleep(0.002)
            self._start()
        asked = [asyncio.create_task(self._ask(question)) for question in self.plan.questions]
        played = [asyncio.create_task(self._play(event)) for event in self.plan.events]
        await asyncio.gather(*asked, *played)
        self._heal()
        await asyncio.gather(*self._restarts)
        await self._stop_all()
        self._start()
        await self._until(lambda: self._listening() is not None)
        await self._until(lambda: self._folders() == 1)
        await self._stop_all()

    def _start(self) -> Worker:
        self._started += 1
        process = MortalProcess(f"worker {self._started}", self.loop, self.folder)
        worker = Worker(process, self.plan, self.world, stores=self.stores, parts=self._parts)
        process.on_death.append(lambda: self._replace(worker))
        self._workers.append(worker)
        opening = process.spawn(worker.open(self.folder, self._metrics))
        opening.add_done_callback(lambda _: self._opened(worker, opening), context=self._context.copy())
        return worker

    def _opened(self, worker: Worker, opening: "asyncio.Task[None]") -> None:
        """A worker that finds the disk full exits; any other fault is one of the simulation, and ends everything."""
        error = opening.exception()
        if isinstance(error, SpoolFull):
            worker.process.kill()
        elif error is not None and not isinstance(error, Killed):
            self._broken = error

    def _replace(self, worker: Worker) -> None:
        self.dead.add(worker.name)
        self._workers.remove(worker)
        if not self._is_ending:
            self._restarts.append(self.loop.create_task(self._start_later(), context=self._context.copy()))

    async def _start_later(self) -> None:
        await asyncio.sleep(self._source.uniform(0.002, RESTART_S_MAX))
        if not self._is_ending:
            self._start()

    def _listening(self, pick: int = 0) -> Worker | None:
        listening = [worker for worker in self._workers if worker.is_listening]
        return listening[pick % len(listening)] if listening else None

    def _folders(self) -> int:
        return sum(1 for path in (self.folder / SPOOL_FOLDER).iterdir() if path.name != "damaged")

    async def _ask(self, question: Question) -> None:
        await asyncio.sleep(question.at_s)
        pick = self._source.randrange(1_000)
        await self._until(lambda: self._listening() is not None)
        worker = self._listening(pick)
        assert worker is not None
        exchange = Exchange(question, self._id(), worker.name, self.loop.time(), self.loop.create_future())
        self.world.journal.exchanges.append(exchange)
        handler = worker.serve(exchange)
        await asyncio.wait([exchange.over], timeout=question.leaves_after_s)
        if exchange.end == "open":
            exchange.close("left", self.loop.time())
            self.world.say(f"request {question.number} leaves")
            handler.cancel()

    def _id(self) -> str:
        """A UUIDv7 whose chance is the seed's."""
        time = self.world.wall_us() // 1_000 << 80
        chance = self._source.getrandbits(12) << 64 | self._source.getrandbits(62)
        return str(UUID(int=time | 7 << 76 | 2 << 62 | chance))

    async def _play(self, event: Event) -> None:
        await asyncio.sleep(event.at_s)
        self.world.say(f"{event.fault.value} {event.size:g}")
        match event.fault:
            case Fault.CLOCK:
                self.world.offset_us += round(event.size * 1_000_000)
            case Fault.STORE_DOWN:
                await self._lasting(event, lambda is_on: setattr(self.stores.usage, "is_down", is_on))
            case Fault.REPLICA_DOWN:
                await self._lasting(event, lambda is_on: setattr(self.stores.usage, "is_replica_down", is_on))
            case Fault.FAIL_OVER:
                await self._lasting(event, lambda is_on: setattr(self.stores.usage, "is_down", is_on))
                self.stores.usage.fail_over()
            case Fault.LIMITS_DOWN:
                await self._lasting(event, lambda is_on: setattr(self.world, "is_limiter_down", is_on))
            case Fault.DISK_FULL:
                await self._lasting(event, lambda is_on: setattr(self.world, "is_disk_full", is_on))
            case _:
                await self._strike(event)

    async def _lasting(self, event: Event, switch: Callable[[bool], None]) -> None:
        switch(True)
        await asyncio.sleep(event.size)
        switch(False)

    async def _strike(self, event: Event) -> None:
        """Faults that strike one worker; none may be left to strike."""
        worker = self._workers[event.pick % len(self._workers)] if self._workers else None
        if worker is None:
            return
        match event.fault:
            case Fault.KILL:
                worker.process.kill()
            case Fault.KILL_AT_LINE:
                worker.process.doom(int(event.size), event.where)
            case Fault.KILL_AT_WRITE:
                worker.disk.torn_at = int(event.size)
            case Fault.STALL:
                await self._stall(worker, event.size)
            case Fault.RESTART if worker.is_listening:
                self._start()
                await self._stop(worker)
            case Fault.CLEAR if worker.is_listening:
                tenant_id = (None, "tenant-1", "tenant-2")[event.pick % 3]
                worker.process.spawn(worker.cache.clear(tenant_id=tenant_id))
            case _:
                return

    async def _stall(self, worker: Worker, seconds: float) -> None:
        worker.process.is_stalled = True
        await asyncio.sleep(seconds)
        worker.process.is_stalled = False
        self.loop.resume()

    async def _stop(self, worker: Worker) -> None:
        if worker not in self._workers:
            return
        stopping = worker.process.spawn(worker.stop(), name=f"stop {worker.name}")
        await self._until(lambda: stopping.done() or worker.process.is_dead)
        if not worker.process.is_dead:
            stopping.result()
            self._workers.remove(worker)

    async def _stop_all(self) -> None:
        """Also those that are being stopped or started already."""
        await self._until(lambda: all(worker.is_listening for worker in self._workers))
        await asyncio.gather(*(self._stop(worker) for worker in list(self._workers)))

    def _heal(self) -> None:
        """From here on nothing goes wrong any more."""
        self._is_ending = True
        self.stores.usage.is_calm = True
        self.stores.usage.is_down = self.world.is_limiter_down = self.world.is_disk_full = False
        for worker in self._workers:
            worker.process.doom(0)
            worker.disk.torn_at = None
        self.world.say("all is well again")

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Waits for something that must come; `TimeoutError` when it does not."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                if self._broken is not None:
                    raise self._broken
                await asyncio.sleep(0.01)
