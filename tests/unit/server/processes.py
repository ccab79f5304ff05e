"""A small application under the real supervisor, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

ROOT = Path(__file__).resolve().parents[3]
READY = "ready on "
WAIT_S = 15.0

# What `launch` expects of an application, without its rooms. FAILS_TO_START names a file that makes a worker fail.
APPLICATION = """
import asyncio, json, os
from pathlib import Path
from aiservice.observe.metrics import Metrics

def prepare(settings):
    settings.server.data_dir.mkdir(exist_ok=True)

def create_app(settings):
    data_dir = settings.server.data_dir
    metrics = Metrics(["/pid"])

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            if (data_dir / "fail").exists():
                await send({"type": "lifespan.startup.failed", "message": "no store"})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
            (data_dir / f"closed-{os.getpid()}").touch()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = json.dumps({"pid": os.getpid()}).encode()
        if scope["path"] == "/metrics":
            body = metrics.render()
        elif scope["path"] == "/slow":
            (data_dir / "slow-began").touch()
            await asyncio.sleep(float(scope["query_string"]))
        elif scope["path"] == "/crash":
            os._exit(9)
        else:
            metrics.request("/pid", 200, 0.01)
            metrics.flush()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": body})
    return app
"""
MAIN = """
import sys
from aiservice.core.errors import StartRefused
from aiservice.core.settings import load
from aiservice.server import launch
try:
    sys.exit(launch(load(), app="application", engine_command=sys.argv[1:] or None))
except StartRefused as error:
    sys.exit(error.public)
"""
# Stands in for the embedded engine: says its number, then waits.
ENGINE = "import os, time; print(os.getpid(), flush=True); time.sleep(3600)"


class Served:
    """The running processes."""

    def __init__(self, process: subprocess.Popen[str], data_dir: Path) -> None:
        self.process = process
        self.data_dir = data_dir
        self.url = ""
        self._opener = build_opener(ProxyHandler({}))

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(READY), line
        self.url = line.removeprefix(READY).strip()

    def get(self, path: str) -> str:
        with self._opener.open(self.url + path, timeout=WAIT_S) as answer:
            text: str = answer.read().decode()
            return text

    def pid(self) -> int:
        """The worker that happens to answer."""
        return int(json.loads(self.get("/pid"))["pid"])

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def engine_pids(self) -> list[int]:
        """Every process that was the engine, the newest last."""
        log = self.data_dir / "log" / "llamacpp.log"
        return [int(line) for line in log.read_text().split()] if log.exists() else []

    def workers(self) -> list[int]:
        return [pid for pid in self.children() if pid not in self.engine_pids()]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)


@contextmanager
def started(folder: Path, *, workers: int = 2, engine: str | None = None, **environ: str) -> Iterator[Served]:
    """The processes, not ready yet; whatever is left of them is killed at the end."""
    (folder / "application.py").write_text(APPLICATION)
    (folder / "main.py").write_text(MAIN)
    data_dir = folder / "data"
    settings = {
        "ENVIRONMENT": "test",
        "PORT": "0",
        "WORKERS": str(workers),
        "DATA_DIR": str(data_dir),
        "EMBEDDED_MODEL": "off" if engine is None else "smollm2",
        "SQL_SANDBOXES": "0",
        "PYTHONPATH": f"{ROOT}:{folder}",
    }
    command = [sys.executable, str(folder / "main.py")]
    if engine is not None:
        command += [sys.executable, "-c", engine]
    process = subprocess.Popen(
        command,
        env={"PATH": os.environ["PATH"], **settings, **environ},
        stdout=subprocess.PIPE,
        stderr=(folder / "stderr").open("w"),
        text=True,
        process_group=0,
    )
    served = Served(process, data_dir)
    try:
        yield served
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def said(folder: Path) -> list[dict[str, Any]]:
    """The log's lines, each a JSON object."""
    return [json.loads(line) for line in (folder / "stderr").read_text().splitlines()]


def eventually(holds: Callable[[], bool], *, within_s: float = WAIT_S) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
