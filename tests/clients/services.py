"""Starts the service as a user would and hands out keys: what the vendors' clients of these tests talk to."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ADMIN_KEY = "an admin key of more than thirty-two characters"
REAL_MODEL = "smollm2:135m"
START_S = 60.0
STOP_S = 40.0
LEDGER_S = 10.0
_READY = re.compile(r"^ready on (http://\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Service:
    """A running service."""

    url: str

    def made_key(self, **facts: Any) -> dict[str, Any]:
        """A key's facts; of a tenant of its own, so that no other test's answers are in its cache."""
        wanted = {"tenant_id": f"t-{uuid.uuid4().hex[:12]}", "user_id": "ann", "name": "test", "tier": "enterprise"}
        answer = httpx.post(
            f"{self.url}/auth/create-key", json=wanted | facts, headers={"x-admin-key": ADMIN_KEY}, timeout=30
        )
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def new_key(self, **facts: Any) -> str:
        return str(self.made_key(**facts)["api_key"])

    def logs(self, key: str, count: int) -> list[dict[str, Any]]:
        """The key's rows of the ledger, newest first, once there are `count` of them."""
        end_s = time.monotonic() + LEDGER_S
        while True:
            answer = httpx.get(f"{self.url}/usage/logs?limit=100", headers={"x-api-key": key}, timeout=30)
            rows: list[dict[str, Any]] = answer.json()["logs"]
            if len(rows) >= count or time.monotonic() > end_s:
                assert len(rows) == count, rows
                return rows
            time.sleep(0.05)

    def models(self) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/ai/models", headers={"x-api-key": self.new_key()}, timeout=30)
        listed: list[dict[str, Any]] = answer.json()["models"]
        return listed


@contextmanager
def serving(folder: Path, **environ: str) -> Iterator[Service]:
    """A service with files of its own in `folder`; ends with SIGTERM and demands exit code 0."""
    log = folder / "log"
    command = [sys.executable, "-m", "aiservice", "serve"]
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, env=_environment(folder) | environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        ) as process,
    ):
        try:
            yield Service(_wait_ready(process, log))
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_S) == 0, log.read_text(errors="replace")[-2_000:]
        finally:
            if process.poll() is None:
                process.kill()


def wait_loaded(service: Service, *capabilities: str) -> None:
    """Returns when a model is loaded for each of the capabilities; serving does not wait for them."""
    end_s = time.monotonic() + START_S
    while True:
        loaded = [model for model in service.models() if model["loaded"] and model["engine"] != "fake"]
        if all(any(capability in model["capabilities"] for model in loaded) for capability in capabilities):
            return
        assert time.monotonic() < end_s, service.models()
        time.sleep(0.1)


def _environment(folder: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "ENVIRONMENT": "test",
        "ADMIN_KEY": ADMIN_KEY,
        "DATA_DIR": str(folder / "data"),
        "PORT": "0",
        "WORKERS": "1",
        "EMBEDDED_MODEL": "off",
        "OLLAMA_URL": "",
        "DEFAULT_MODEL": "echo",
        "KEY_FAILURES_PER_MINUTE": "10000",
    }


def _wait_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and process.poll() is None:
        if found := _READY.search(log.read_text(errors="replace")):
            return found.group(1)
        time.sleep(0.05)
    raise AssertionError(f"the service did not start:\n{log.read_text(errors='replace')[-2_000:]}")
