"""The supervisor: forks the workers, replaces those that die, stops them all."""

import gc
import logging
import os
import selectors
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from aiservice.core.clock import Clock, SystemClock
from aiservice.core.settings import Settings
from aiservice.observe.metrics import SupervisorMetrics
from aiservice.server.child import Child
from aiservice.server.engine import engine_child
from aiservice.server.listener import url_of
from aiservice.server.restarts import RestartPolicy
from aiservice.server.sandbox import sandbox_child
from aiservice.server.signals import STOP, SignalPipe, held_back
from aiservice.server.worker import configure, work

GRACE_S = 30.0
GRACE_S_SECOND = 5.0
CRASHED = 70
_log = logging.getLogger(__name__)


class Application(Protocol):
    """What the module named to `launch` has."""

    def prepare(self, settings: Settings) -> None:
        """Makes folders and secrets, migrates the database; leaves no thread and no connection behind."""
        ...

    def create_app(self, settings: Settings) -> Any:
        """An ASGI application that opens nothing before its lifespan starts."""
        ...


def supervise(
    settings: Settings, application: Application, *, listener: socket.socket, engine_command: Sequence[str] | None
) -> int:
    """Prepares, then runs the processes until they are told to stop; gives the exit code."""
    clock = SystemClock()
    with engine_child(settings, clock, command=engine_command) as engine, sandbox_child(settings, clock) as sandbox:
        application.prepare(settings)
        config = configure(application.create_app(settings))
        children = [child for child in (engine, sandbox) if child is not None]
        return Supervisor(settings, config, listener, children=children, clock=clock).run()


@dataclass(slots=True)
class Slot:
    """A place for one worker. `start_at_s` is set while nobody is in it; `ready_fd` until its worker serves.

    Each has its own policy: what kills one worker now and then must not hold up the others' replacement.
    """

    number: int
    policy: RestartPolicy
    pid: int = 0
    ready_fd: int | None = None
    is_ready: bool = False
    start_at_s: float | None = 0.0


class Supervisor:
    """One loop over signals, the workers' signs of readiness and deadlines; it never waits for one process alone."""

    def __init__(
        self,
        settings: Settings,
        config: uvicorn.Config,
        listener: socket.socket,
        *,
        children: Sequence[Child],
        clock: Clock,
    ) -> None:
        self._url = url_of(settings.server.host, listener)
        self._config = config
        self._listener = listener
        self._children = children
        self._clock = clock
        self._metrics = SupervisorMetrics()
        self._slots = [Slot(number, RestartPolicy(clock)) for number in range(settings.worker_count)]
        self._signals = SignalPipe()
        self._selector = selectors.DefaultSelector()
        self._has_announced = False
        self._kill_at_s: float | None = None
        self._code = 0

    def run(self) -> int:
        """Serves until SIGTERM or SIGINT; 0, or 3 when the first workers could not start."""
        gc.collect()
        gc.freeze()
        with self._signals, self._selector:
            self._selector.register(self._signals, selectors.EVENT_READ)
            for child in self._children:
                child.start()
            while self._kill_at_s is None or any(slot.pid for slot in self._slots):
                self._turn()
            for child in self._children:
                child.stop()
        return self._code

    def _turn(self) -> None:
        if self._kill_at_s is None:
            self._start_due()
            for child in self._children:
                child.tend()
        for key, _ in self._selector.select(self._pause_s()):
            if isinstance(key.data, Slot):
                self._hear(key.data)
        for number in self._signals.read():
            if number in STOP:
                self._stop(signal.Signals(number).name)
        self._reap()
        if self._kill_at_s is not None and self._clock.monotonic_s() >= self._kill_at_s:
            self._signal_workers(signal.SIGKILL)

    def _pause_s(self) -> float | None:
        """Seconds until something is due; None to wait for a signal."""
        if self._kill_at_s is None:
            due = [child.start_at_s for child in self._children] + [slot.start_at_s for slot in self._slots]
        else:
            due = [self._kill_at_s]
        times = [time_s for time_s in due if time_s is not None]
        return max(0.0, min(times) - self._clock.monotonic_s()) if times else None

    def _start_due(self) -> None:
        now_s = self._clock.monotonic_s()
        for slot in self._slots:
            if slot.start_at_s is not None and now_s >= slot.start_at_s:
                self._fork(slot)

    def _fork(self, slot: Slot) -> None:
        read_fd, write_fd = os.pipe()
        supervisor_pid = os.getpid()
        try:
            with held_back():
                if (pid := os.fork()) == 0:
                    os.close(read_fd)
                    self._become_worker(write_fd, supervisor_pid)
        except OSError as error:
            os.close(read_fd)
            self._plan_restart(slot, "a worker could not be forked", error=str(error))
            return
        finally:
            os.close(write_fd)
        slot.pid, slot.ready_fd, slot.is_ready, slot.start_at_s = pid, read_fd, False, None
        self._selector.register(read_fd, selectors.EVENT_READ, slot)

    def _become_worker(self, ready_fd: int, supervisor_pid: int) -> NoReturn:
        """The new process leaves by `os._exit` in any case, so that it never runs on in the supervisor's loop."""
        code = CRASHED
        try:
            signal.set_wakeup_fd(-1)
            self._signals.close()
            self._selector.close()
            for fd in self._open_pipes():
                os.close(fd)
            code = work(self._config, self._listener, ready_fd=ready_fd, supervisor_pid=supervisor_pid)
        finally:
            if (error := sys.exc_info()[1]) is not None:
                _log.critical("a worker failed", exc_info=error)
            os._exit(code)

    def _open_pipes(self) -> Iterator[int]:
        return (slot.ready_fd for slot in self._slots if slot.ready_fd is not None)

    def _hear(self, slot: Slot) -> None:
        """A worker said that it serves, or its end of the pipe closed because it died."""
        assert slot.ready_fd is not None
        slot.is_ready = os.read(slot.ready_fd, 1) == b"1"
        self._forget_pipe(slot)
        if not self._has_announced and all(other.is_ready for other in self._slots):
            self._has_announced = True
            sys.stdout.write(f"ready on {self._url}\n")
            sys.stdout.flush()

    def _forget_pipe(self, slot: Slot) -> None:
        if slot.ready_fd is not None:
            self._selector.unregister(slot.ready_fd)
            os.close(slot.ready_fd)
            slot.ready_fd = None

    def _reap(self) -> None:
        """Takes leave of every worker that died, however many died at once."""
        for slot in self._slots:
            if slot.pid:
                pid, status = os.waitpid(slot.pid, os.WNOHANG)
                if pid:
                    self._bury(slot, os.waitstatus_to_exitcode(status))

    def _bury(self, slot: Slot, code: int) -> None:
        pid, slot.pid, slot.is_ready = slot.pid, 0, False
        self._forget_pipe(slot)
        if self._kill_at_s is not None:
            self._metrics.process_ended(pid)
        elif code == STARTUP_FAILURE and not self._has_announced:
            self._code = code
            self._stop("a worker could not start; the lines above say why")
        else:
            self._metrics.worker_died(pid)
            self._plan_restart(slot, "a worker died and is replaced", worker_pid=pid, exit_code=code)

    def _plan_restart(self, slot: Slot, event: str, **details: object) -> None:
        pause_s = slot.policy.pause_s()
        slot.start_at_s = self._clock.monotonic_s() + pause_s
        _log.error(event, extra={"worker": slot.number, "restart_in_s": pause_s, **details})

    def _stop(self, reason: str) -> None:
        """The first signal gives open answers 30 s, each further one 5 s from then."""
        now_s = self._clock.monotonic_s()
        if self._kill_at_s is None:
            self._kill_at_s = now_s + GRACE_S
        else:
            self._kill_at_s = min(self._kill_at_s, now_s + GRACE_S_SECOND)
        _log.info("stopping", extra={"reason": reason})
        self._signal_workers(signal.SIGTERM)

    def _signal_workers(self, number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.pid:
                os.kill(slot.pid, number)
