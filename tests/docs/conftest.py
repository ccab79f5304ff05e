"""The service as a reader of the docs has it: started by its command, in development mode, with the real model."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ADMIN_KEY = "the-admin-key-of-the-docs-tests-0123456789"
READY = re.compile(r"ready on (http://\S+)")
START_S = 60.0
STOP_S = 30.0


@dataclass(frozen=True)
class Service:
    """A running service: its address, and the keys that the blocks call `$KEY` and `$ADMIN_KEY`."""

    address: str
    key: str
    admin_key: str


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ENVIRONMENT": "development",
        "PORT": "0",
        "WORKERS": "1",
        "DATA_DIR": str(folder / "data"),
        "ADMIN_KEY": ADMIN_KEY,
    }
    command = [sys.executable, "-m", "aiservice", "serve"]
    log = folder / "log"
    with log.open("wb") as out, subprocess.Popen(command, env=environ, stdout=out, stderr=out, cwd=folder) as process:
        try:
            address = _wait_ready(process, log)
            _wait_loaded(address, log)
            yield Service(address, _make_key(address), ADMIN_KEY)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    tick = threading.Event()
    for _ in range(round(START_S / 0.1)):
        if found := READY.search(log.read_text(errors="replace")):
            return found.group(1)
        if process.poll() is not None:
            break
        tick.wait(0.1)
    pytest.fail(f"the service did not start:\n{_tail(log)}")


def _wait_loaded(address: str, log: Path) -> None:
    """Serving does not wait for the models; the blocks do, for one to talk with and one for vectors."""
    tick = threading.Event()
    for _ in range(round(START_S / 0.1)):
        with urllib.request.urlopen(f"{address}/ai/models", timeout=10) as response:
            loaded = [model for model in json.load(response)["models"] if model["loaded"]]
        if {"chat", "embed"} <= {capability for model in loaded for capability in model["capabilities"]}:
            return
        tick.wait(0.1)
    pytest.fail(f"the models were not loaded in {START_S:.0f} s:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-8:])


def _make_key(address: str) -> str:
    body = json.dumps({"tenant_id": "docs", "user_id": "reader", "name": "docs", "tier": "enterprise"}).encode()
    headers = {"Content-Type": "application/json", "X-Admin-Key": ADMIN_KEY}
    request = urllib.request.Request(f"{address}/auth/create-key", body, headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(json.load(response)["api_key"])
