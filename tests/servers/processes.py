"""Processes of real servers: on free ports, under a user that may run them, ended with the tests however those end."""

import contextlib
import os
import pwd
import random
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

# Below the ports that the kernel gives to outgoing connections: nobody takes a stopped server's port meanwhile.
PORTS = range(12_000, 22_000)
# What Redis Cluster adds for the bus between its nodes.
BUS_PORTS = 10_000
# Waits for the end of this process's pipe, which comes even after kill -9; then the server, its children and its
# folder go. A frozen server does not notice the death of its parent by itself.
GUARD = """
read -r _
kill -9 $1 $(cat /proc/$1/task/$1/children) 2>/dev/null
sleep 0.1
rm -rf "$2"
"""
STOP_S = 20.0


class ServerFailed(AssertionError):
    """A server that did not start or did not stop; the message has the end of its log."""


@dataclass(frozen=True)
class Account:
    """A user and its group, by number."""

    uid: int
    gid: int


def unprivileged() -> Account | None:
    """Who runs what refuses to run as root; None for this user itself, which is not root."""
    if os.geteuid() != 0:
        return None
    entries = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = entries.get("postgres") or entries["nobody"]
    return Account(entry.pw_uid, entry.pw_gid)


def run(command: Sequence[str | Path], account: Account | None, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs a server's tool to its end; raises `ServerFailed` with what it said."""
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        cwd="/",
        env=_environ(environ),
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
        **identity_of(account),
    )
    if done.returncode:
        raise ServerFailed(f"{command[0]} ended with {done.returncode}: {done.stderr[-2_000:]}")
    return done


def new_folder(account: Account | None = None) -> Path:
    """A temporary folder that this account owns."""
    folder = Path(tempfile.mkdtemp(prefix="ai-store-"))
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    return folder


def free_port(*, has_bus: bool = False) -> int:
    """A TCP port on 127.0.0.1 that nobody listens on; `has_bus` asks the same of the port that Redis Cluster adds."""
    chance = random.SystemRandom()
    for _ in range(200):
        port = chance.choice(PORTS)
        if all(map(_is_free, (port, port + BUS_PORTS) if has_bus else (port,))):
            return port
    raise ServerFailed("no free port was found")


@dataclass
class ServerProcess:
    """A running server. `folder` goes with it when the tests are killed; else its owner removes it."""

    command: Sequence[str]
    folder: Path
    account: Account | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] = field(init=False)
    _guard: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=_environ(self.environ),
                # A Ctrl-C is for the tests, which then stop their servers in order.
                start_new_session=True,
                **identity_of(self.account),
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", str(self.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def family(self) -> list[int]:
        """The process and its children, itself first."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return [self.pid, *map(int, path.read_text().split())]
        return [self.pid]

    def signal_all(self, number: signal.Signals) -> None:
        for pid in self.family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def freeze(self) -> None:
        """Returns when all stand still; the parent first, so that it has no child afterwards that was not seen."""
        os.kill(self.pid, signal.SIGSTOP)
        _wait_stopped(self.pid)
        for child in self.family()[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)
            _wait_stopped(child)

    def thaw(self) -> None:
        self.signal_all(signal.SIGCONT)

    def kill(self) -> None:
        self.signal_all(signal.SIGKILL)
        self._end(STOP_S)

    def stop(self, number: signal.Signals) -> None:
        """Waits for the end; raises `ServerFailed` where it does not come."""
        if self.is_alive:
            self._process.send_signal(number)
        self._end(STOP_S)

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2_000:]

    def _end(self, within_s: float) -> None:
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired as error:
            self.signal_all(signal.SIGKILL)
            self._process.wait()
            raise ServerFailed(f"{self.command[0]} did not stop: {self.last_words()}") from error
        finally:
            self._guard.kill()
            self._guard.communicate()


class Closing(ABC):
    """What is closed at the end of a `with`."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Server(Closing):
    """What all servers can be told that are one process and its children."""

    _process: ServerProcess

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive

    def kill(self) -> None:
        """kill -9 of the server and all its processes."""
        self._process.kill()

    def freeze(self) -> None:
        """Connections stay open and are answered by nobody; new ones are taken by the kernel alone."""
        self._process.freeze()

    def thaw(self) -> None:
        self._process.thaw()


def identity_of(account: Account | None) -> dict[str, Any]:
    """What `subprocess` wants to hear of it."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def _environ(added: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC", **added}


def state_of(pid: int) -> str:
    """As in `ps`: T stands still, Z has ended; empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _wait_stopped(pid: int) -> None:
    end_s = time.monotonic() + STOP_S
    while state_of(pid) not in ("T", "Z", ""):
        if time.monotonic() > end_s:
            raise ServerFailed(f"process {pid} did not stand still")
        time.sleep(0.001)


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
