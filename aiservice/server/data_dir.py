"""One supervisor per data folder: a second one would empty the metrics and take the engine's socket away."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiservice.core.errors import StartRefused

LOCK_NAME = "supervisor.lock"
# After a kill -9 the workers hold the lock until the kernel has ended them too.
WAIT_S = 2.0
POLL_S = 0.02


@contextmanager
def hold_data_dir(run_dir: Path) -> Iterator[None]:
    """Makes DATA_DIR/run and locks it for this process and its forks; raises `StartRefused` when another has it."""
    try:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(run_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartRefused(f"DATA_DIR {run_dir.parent} cannot be written: {error.strerror}.") from error
    try:
        _lock(descriptor, run_dir)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, run_dir: Path) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                owner = os.pread(descriptor, 20, 0).decode(errors="replace") or "unknown"
                raise StartRefused(
                    f"DATA_DIR {run_dir.parent} is used by another aiservice (process {owner}); "
                    "stop it, or set DATA_DIR to another folder."
                ) from None
            time.sleep(POLL_S)
        else:
            return
