"""An event loop without threads, sockets and real time: what runs next is drawn from a seed.

Time stands still while anything can run, and jumps to the next timer when nothing can. Work for threads runs inline
at a drawn later moment. Every task has a number, given in the order in which tasks are made; handles of one task keep
their order, those of different tasks are drawn. Nothing here depends on addresses, hashes or the machine's clock, so
that a seed replays step by step.

A handle belongs to the process (`PROCESS`) in whose context it was made. Those of a dead process are never run, those
of a stalled one wait until it goes on.
"""

import asyncio
import heapq
import itertools
import sys
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from enum import Enum
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

THREAD_S_MAX = 0.02
STEPS_MAX = 400_000
_MASK = 2**64 - 1


class Order(Enum):
    """What may run next: anything that is ready; anything of this round, which is fairer; or the oldest task first."""

    ANY = "any"
    ROUND = "round"
    OLDEST = "oldest"


class Process(Protocol):
    """What the loop asks of the owner of a handle."""

    is_dead: bool
    is_stalled: bool

    def run(self, handle: asyncio.Handle) -> None:
        """Runs the handle, and sees to it that the process may die of it."""
        ...


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
TASK: ContextVar[int] = ContextVar("task", default=0)


class Killed(BaseException):
    """The process ends at this very place."""


class Stuck(AssertionError):
    """Nothing can ever run again, or far too much has run, and the main task has not ended."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs one main task and all that it starts, by the luck that `seed` gives."""

    def __init__(self, seed: int, *, order: Order = Order.ANY) -> None:
        self.steps = 0
        self.digest = seed & _MASK
        self.complaints: list[str] = []
        self._seed = seed * 0x9E3779B97F4A7C15 & _MASK
        self._order = order
        self._now_s = 0.0
        self._count = itertools.count(1)
        self._queues: dict[int, deque[asyncio.Handle]] = {}
        self._ready: list[tuple[int, int, int]] = []
        self._next_round: list[tuple[int, int, int]] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._stalled: list[asyncio.Handle] = []
        self._tasks: dict[asyncio.Task[Any], Context] = {}
        self._task_count = 0
        # By identity, which is good as long as the generator lives.
        self._generators: dict[int, Process | None] = {}
        self._is_closed = False

    def run_until_complete(self, future: Coroutine[Any, Any, T]) -> T:  # type: ignore[override]
        task = self.create_task(future)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._note, finalizer=self._finalize)
        asyncio._set_running_loop(self)
        try:
            while not task.done():
                self._step()
        finally:
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)
        return task.result()

    def resume(self) -> None:
        """A stalled process goes on: its handles are ready again."""
        waiting, self._stalled = self._stalled, []
        for handle in waiting:
            self._enqueue(handle)

    def pending(self) -> list[asyncio.Task[Any]]:
        """Tasks of the living that have not ended, oldest first."""
        return [task for task, context in self._tasks.items() if not task.done() and not _is_dead(context)]

    def tasks_of(self, process: Process) -> list[asyncio.Task[Any]]:
        """The process's tasks that have not ended, oldest first."""
        return [task for task, context in self._tasks.items() if not task.done() and context.get(PROCESS) is process]

    def draw(self, task: int) -> int:
        """64 bits that depend on the seed, the task and how far the run has come."""
        bits = (self._seed ^ task * 0xBF58476D1CE4E5B9 ^ self.steps * 0x94D049BB133111EB) & _MASK
        bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & _MASK
        return bits ^ bits >> 31

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self._now_s

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        """What has not run never runs."""
        self._is_closed = True
        for left in (self._queues, self._ready, self._next_round, self._timers, self._stalled, self._tasks):
            left.clear()

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        context = copy_context() if context is None else context
        self._task_count += 1
        context.run(TASK.set, self._task_count)
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks[task] = context
        if self._task_count % 64 == 0:
            self._tasks = {task: context for task, context in self._tasks.items() if not task.done()}
        return task

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._count), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is dropped when its time comes."""

    def run_in_executor(  # type: ignore[override]
        self, executor: None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001
                # As a pool does: whatever the work raised is its caller's to see.
                future.set_exception(error)
            else:
                future.set_result(result)

        share = self.draw(TASK.get()) / 2**64
        self.call_later(0 if share < 0.5 else (share - 0.5) * 2 * THREAD_S_MAX, work)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What nobody awaited and what a callback raised; the simulation fails by it, but for what died."""
        error = context.get("exception")
        owner = self._tasks.get(context.get("task") or context.get("future"))
        if _is_of_death(error) or self._is_closed or (owner is not None and _is_dead(owner)):
            return
        trace = "" if error is None else "".join(traceback.format_exception(error))
        self.complaints.append(f"{context['message']} {trace}")

    def _note(self, generator: AsyncGenerator[Any]) -> None:
        self._generators[id(generator)] = PROCESS.get()

    def _finalize(self, generator: AsyncGenerator[Any]) -> None:
        """One that was left behind half read, but for those of the dead."""
        process = self._generators.pop(id(generator), None)
        if not self._is_closed and (process is None or not process.is_dead):
            self.complaints.append(f"an async generator was left open: {generator.__qualname__}")

    # How it picks.

    def _enqueue(self, handle: asyncio.Handle) -> None:
        number = handle._context.get(TASK, 0)
        queue = self._queues.get(number)
        if queue is None:
            self._queues[number] = deque((handle,))
            self._schedule(number)
        else:
            queue.append(handle)

    def _schedule(self, number: int) -> None:
        luck = number if self._order is Order.OLDEST else self.draw(number)
        entry = (luck, number, next(self._count))
        heapq.heappush(self._ready if self._order is Order.ANY else self._next_round, entry)

    def _step(self) -> None:
        if not self._ready:
            self._begin_round()
        _, number, _ = heapq.heappop(self._ready)
        queue = self._queues[number]
        handle = queue.popleft()
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Stuck(f"{STEPS_MAX} steps, at {self._now_s:.3f} s; pending: {self._named()}")
        if not handle._cancelled:
            self._run(handle, number)
        if queue:
            self._schedule(number)
        else:
            del self._queues[number]

    def _run(self, handle: asyncio.Handle, number: int) -> None:
        process = handle._context.get(PROCESS)
        if process is None:
            handle._run()
        elif process.is_dead:
            return
        elif process.is_stalled:
            self._stalled.append(handle)
            return
        else:
            process.run(handle)
        self.digest = (self.digest * 0x100000001B3 ^ number) & _MASK

    def _begin_round(self) -> None:
        """Takes up what came meanwhile; when there is nothing, lets time pass up to the next timer."""
        if not self._next_round:
            self._pass_time()
        if not self._ready:
            self._ready, self._next_round = self._next_round, []

    def _pass_time(self) -> None:
        timers = self._timers
        while not (self._ready or self._next_round):
            if not timers:
                raise Stuck(f"nothing can run at {self._now_s:.3f} s; pending: {self._named()}")
            self._now_s = max(self._now_s, timers[0][0])
            while timers and timers[0][0] <= self._now_s:
                handle = heapq.heappop(timers)[2]
                if not handle._cancelled:
                    self._enqueue(handle)

    def _named(self) -> list[str]:
        return [f"{task.get_name()} {task.get_coro().__qualname__}" for task in self.pending()]


def _is_of_death(error: BaseException | None) -> bool:
    """Whether it is what a process died of, or what its handlers ran into then."""
    while error is not None:
        if isinstance(error, Killed):
            return True
        error = error.__context__
    return False


def _is_dead(context: Context) -> bool:
    process = context.get(PROCESS)
    return process is not None and process.is_dead
