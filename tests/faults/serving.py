"""Starts the real service as a user would, `aiservice serve`, on a free port with files of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

ADMIN_KEY = "an admin key of more than thirty-two characters"
READY_S = 30.0
STOP_S = 40.0


@dataclass
class Served:
    """A running service."""

    url: str
    process: asyncio.subprocess.Process
    http: aiohttp.ClientSession
    data_dir: Path

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    async def get(self, path: str, **headers: str) -> Any:
        async with self.http.get(self.url + path, headers=headers) as response:
            return await response.json()

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"x-admin-key": ADMIN_KEY}
        async with self.http.request(method, self.url + path, json=body, headers=headers) as response:
            assert response.status < 300, await response.text()
            return await response.json()

    async def made_key(self, **facts: Any) -> dict[str, Any]:
        """The answer of /auth/create-key: the key and its facts."""
        wanted = {"tenant_id": "acme", "user_id": "ann", "name": "test", "quota_requests_per_hour": 1_000_000}
        made: dict[str, Any] = await self.admin("POST", "/auth/create-key", wanted | facts)
        return made

    async def new_key(self, **facts: Any) -> str:
        return str((await self.made_key(**facts))["api_key"])

    def workers(self) -> list[int]:
        """The process ids of the supervisor's living children that run the service itself."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [
            int(pid)
            for pid in children
            if (command := _command(pid)) and b".embedded" not in command and b".sandbox" not in command
        ]

    async def replaced(self, victim: int, *, count: int, within_s: float = 40) -> None:
        """Returns when there are `count` workers again and the victim is none of them."""
        async with asyncio.timeout(within_s):
            while len(after := self.workers()) < count or victim in after:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(data_dir: Path, **environ: str) -> AsyncIterator[Served]:
    """Ends with SIGTERM and demands exit code 0."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aiservice", "serve", env=environment(data_dir) | environ, stdout=asyncio.subprocess.PIPE
    )
    try:
        url = await asyncio.wait_for(_ready_url(process), READY_S)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            yield Served(url, process, http, data_dir)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), STOP_S) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def command(data_dir: Path, *words: str, **environ: str) -> tuple[int, str]:
    """Runs `aiservice ...` over the same files; its exit code and all that it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "aiservice",
        *words,
        env=environment(data_dir) | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


def environment(data_dir: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "ENVIRONMENT": "test",
        "ADMIN_KEY": ADMIN_KEY,
        "DATA_DIR": str(data_dir),
        "PORT": "0",
        "EMBEDDED_MODEL": "off",
        "OLLAMA_URL": "",
        "DEFAULT_MODEL": "echo",
    }


def _command(pid: str) -> bytes:
    """A process's command line; empty for one that has just died."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


async def _ready_url(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if line.startswith("ready on "):
            return line.removeprefix("ready on ").strip()
    raise AssertionError("the service ended before it was ready")
