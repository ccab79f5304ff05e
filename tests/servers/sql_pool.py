"""The pool of SQL sandboxes, started without a supervisor."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.processes import ServerFailed

START_S = 30.0


@dataclass(frozen=True)
class SqlPool:
    """A running pool: where it listens, and its process."""

    path: Path
    process: "subprocess.Popen[bytes]"

    def serve(self, data_dir: Path) -> None:
        """A service of this data folder finds the pool from now on."""
        run = data_dir / "run"
        run.mkdir(parents=True, exist_ok=True)
        (run / "sql.path").write_text(str(self.path), encoding="utf-8")

    def children(self) -> list[int]:
        """The sandboxes' process ids."""
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in task.read_text(encoding="ascii").split()]


@contextmanager
def sql_pool(sandboxes: int = 2) -> Iterator[SqlPool]:
    """Started, and ended with the block."""
    with tempfile.TemporaryDirectory(prefix="sqlpool-") as folder:
        path = Path(folder) / "sql.sock"
        options = {"parent": os.getpid(), "socket": path, "sandboxes": sandboxes}
        command = [sys.executable, "-m", "aiservice.sqlassist.sandbox", *(f"--{key}={options[key]}" for key in options)]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
            try:
                until_s = time.monotonic() + START_S
                while not path.exists():
                    if process.poll() is not None or time.monotonic() > until_s:
                        raise ServerFailed("The pool of SQL sandboxes did not start.")
                    time.sleep(0.02)
                yield SqlPool(path, process)
            finally:
                process.terminate()
                process.wait(10)
