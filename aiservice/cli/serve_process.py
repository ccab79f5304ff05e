"""`aiservice serve` as a child of `aiservice run`."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from types import FrameType, TracebackType

READY = "ready on "


class _Interrupted(Exception):
    """A signal says stop while the service is being introduced; it has been passed on."""


class ServeProcess:
    """The service in a process group of its own, so that Ctrl-C reaches it once: passed on as SIGTERM."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "aiservice", "serve", f"--parent={os.getpid()}"]
        self._is_introduced = False
        # The service ends with this process even if that is killed, by its --parent.
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0)  # noqa: S603

    def __enter__(self) -> "ServeProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def serve(self, introduce: Callable[[str], None]) -> int:
        """Calls `introduce` with the address when every worker serves; gives the exit code when the service ended."""
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._pass_on)
            url = self._ready_url()
            if url is not None:
                introduce(url)
        except _Interrupted:
            pass
        return self._wait()

    def _ready_url(self) -> str | None:
        """The address when every worker serves; None when the service ended instead."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(READY):
                return line.removeprefix(READY).strip()
        return None

    def _wait(self) -> int:
        self._is_introduced = True
        return self._process.wait()

    def _pass_on(self, _number: int, _frame: FrameType | None) -> None:
        self._process.terminate()
        if not self._is_introduced:
            self._is_introduced = True
            raise _Interrupted
