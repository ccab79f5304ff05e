"""What a process tree costs: CPU seconds, memory, and the time until it answers.

All figures are the kernel's own, from /proc: so Linux only, and for processes of the same user.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
POLL_S = 0.005
STOP_S = 20.0


class NotReady(Exception):
    """A target ended, or did not answer its health route in time."""


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of /proc/<pid>/stat that are used here."""

    parent: int
    cpu_s: float


def read_stat(pid: int) -> Stat | None:
    """None when the process is gone. `cpu_s` is user + system, with that of children it has waited for."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command may hold spaces and parentheses: the fields start after the last one.
    fields = text.rpartition(")")[2].split()
    return Stat(parent=int(fields[1]), cpu_s=sum(int(ticks) for ticks in fields[11:15]) / TICKS_PER_S)


def tree(root: int) -> dict[int, Stat]:
    """The process and all its living descendants; empty when it is gone."""
    pids = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    stats = {pid: stat for pid in pids if (stat := read_stat(pid)) is not None}
    found = {root: stats[root]} if root in stats else {}
    grew = bool(found)
    while grew:
        children = {pid: stat for pid, stat in stats.items() if stat.parent in found and pid not in found}
        found |= children
        grew = bool(children)
    return found


def cpu_s(root: int) -> float:
    """CPU seconds that the tree has used since its start, in steps of one tick (10 ms)."""
    return sum(stat.cpu_s for stat in tree(root).values())


def pss_bytes(root: int) -> int:
    """Memory of the tree: private pages, and each shared page divided by the processes that share it."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int, path: str) -> bool:
    """Whether a GET on loopback is answered with 200 within a second."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
            return connection.recv(64).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False


def engine_calls(port: int) -> int:
    """How many completions the mock engine was asked for so far."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/count", timeout=10) as answer:
        return int(json.load(answer)["calls"])


@dataclass(frozen=True, slots=True)
class Server:
    """A started target: its process (the root of its tree), port, and seconds from exec to the first 200."""

    process: subprocess.Popen[bytes]
    port: int
    start_s: float

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """SIGTERM to the root; when it ended, or after 20 s, SIGKILL to what is left of its process group."""
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True, slots=True)
class Launch:
    """How a target is started: command, whole environment, folder, and the route that says it serves."""

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    health_path: str
    timeout_s: float = 120.0


def start(launch: Launch, port: int) -> Server:
    """Starts a target in a process group of its own and waits for its first 200.

    Raises `NotReady` with the end of its log when it ends or stays silent.
    """
    log_path = launch.folder / "output.log"
    with log_path.open("wb") as log:
        started_s = time.perf_counter()
        process = subprocess.Popen(
            launch.command,
            env=launch.environment,
            cwd=launch.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while not answers(port, launch.health_path):
        waited_s = time.perf_counter() - started_s
        if process.poll() is not None or waited_s > launch.timeout_s:
            Server(process, port, waited_s).stop()
            raise NotReady(f"no 200 from {launch.health_path}: {_tail(log_path)}")
        time.sleep(POLL_S)
    return Server(process, port, time.perf_counter() - started_s)


def _tail(path: Path) -> str:
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-400:] or "no output"
