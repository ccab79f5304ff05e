"""A program beside the workers (the embedded engine, the SQL sandbox pool) that is kept running."""

import logging
import subprocess
from collections.abc import Sequence
from pathlib import Path

from aiservice.core.clock import Clock
from aiservice.server.restarts import RestartPolicy

STOP_S = 5.0
_log = logging.getLogger(__name__)


class Child:
    """Started by the supervisor, started again when it ends, stopped at the end. Its output goes to a log file.

    `name` is what the log calls it.
    """

    def __init__(self, command: Sequence[str], log_path: Path, clock: Clock, *, name: str) -> None:
        self.command = command
        self._name = name
        self._log_path = log_path
        self._clock = clock
        self._policy = RestartPolicy(clock)
        self._process: subprocess.Popen[bytes] | None = None
        self.start_at_s: float | None = None

    def start(self) -> None:
        """Starts the program with a fresh log file."""
        self._log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._log_path.unlink(missing_ok=True)
        self._spawn()

    def tend(self) -> None:
        """Notices that the program ended, and starts it again when its time has come; never blocks."""
        if self._process is not None and (status := self._process.poll()) is not None:
            self._process = None
            pause_s = self._policy.pause_s()
            self.start_at_s = self._clock.monotonic_s() + pause_s
            details = {"status": status, "restart_in_s": pause_s, "log": str(self._log_path)}
            _log.error(f"{self._name} ended and is started again", extra=details)
        if self.start_at_s is not None and self._clock.monotonic_s() >= self.start_at_s:
            self._spawn()

    def stop(self) -> None:
        """Ends the program: SIGTERM, after 5 s SIGKILL."""
        self.start_at_s = None
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _spawn(self) -> None:
        self.start_at_s = None
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # the command is ours
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
