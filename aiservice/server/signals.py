"""Signals as bytes on a pipe, so that one selector waits for everything the supervisor has to hear."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

STOP = frozenset({signal.SIGTERM, signal.SIGINT})
HEARD = STOP | {signal.SIGCHLD}


class SignalPipe:
    """While open, the signals in `HEARD` do nothing but arrive at `read`."""

    def __enter__(self) -> "SignalPipe":
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._former_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        self._former = {number: signal.signal(number, _nothing) for number in HEARD}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._former_fd)
        self.close()

    def fileno(self) -> int:
        return self._read_fd

    def close(self) -> None:
        """Closes the pipe without touching handlers: what a fork does with its copy."""
        os.close(self._read_fd)
        os.close(self._write_fd)

    def read(self) -> bytes:
        """The numbers of the signals since the last call, one byte each."""
        try:
            return os.read(self._read_fd, 4_096)
        except BlockingIOError:
            return b""


@contextmanager
def held_back() -> Iterator[None]:
    """Keeps the signals in `HEARD` waiting; around a fork, since they would be lost before the worker has handlers."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """The wake-up pipe has the number; a handler has to be there for it to be written."""
