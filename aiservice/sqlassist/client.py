"""The machine as workers see it: calls over the sandbox pool's socket."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from aiservice.core.errors import Overloaded
from aiservice.sqlassist import wire
from aiservice.sqlassist.model import Answer, Brief, Grid, Query, Task

SOCKET_NAME = "sql.sock"
POINTER_NAME = "sql.path"
KEPT_MAX = 8
GRACE_S = 2.0
PATIENCE_S = 3.0
RETRY_S = 0.05
_Part = TypeVar("_Part")
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def socket_path(data_dir: Path) -> Path:
    """Where the pool listens: DATA_DIR/run/sql.sock, or where DATA_DIR/run/sql.path says if that is there."""
    run = data_dir.resolve() / "run"
    pointer = run / POINTER_NAME
    return Path(pointer.read_text(encoding="utf-8").strip()) if pointer.is_file() else run / SOCKET_NAME


class SandboxMachine:
    """Keeps up to 8 connections; a call has one for itself, and to be cancelled is to close it.

    While the pool is away, or is being started, a call waits up to 3 s for it and is then refused with `Overloaded`.
    """

    def __init__(self, path: Callable[[], Path]) -> None:
        self._path = path
        self._idle: list[Connection] = []

    async def assist(self, task: Task) -> Answer:
        return self._part(await self._call(wire.Assist(task), task.deadline_s), wire.Answered).answer

    async def brief(self, task: Task) -> Brief | None:
        return self._part(await self._call(wire.Ask(task), task.deadline_s), wire.Briefed).brief

    async def run(self, query: Query) -> Grid:
        return self._part(await self._call(wire.Run(query), query.deadline_s + 1), wire.Listed).grid

    async def aclose(self) -> None:
        while self._idle:
            self._idle.pop()[1].close()

    def _part(self, outcome: wire.Outcome, kind: type[_Part]) -> _Part:
        if isinstance(outcome, wire.Failed):
            raise outcome.error()
        assert isinstance(outcome, kind)
        return outcome

    async def _call(self, call: wire.Call, deadline_s: float) -> wire.Outcome:
        body = wire.encoder.encode(call)
        frame = wire.REQUEST.pack(len(body), round(deadline_s * 1_000)) + body
        try:
            async with asyncio.timeout(deadline_s + GRACE_S + PATIENCE_S):
                return wire.outcomes.decode(await self._asked(frame))
        except TimeoutError:
            raise _away("it does not answer") from None

    async def _asked(self, frame: bytes) -> bytes:
        """A kept connection may be one to a pool that has died since: then once more on a new one."""
        if self._idle:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                return await self._exchanged(self._idle.pop(), frame)
            await self.aclose()
        try:
            return await self._exchanged(await self._connected(), frame)
        except (ConnectionError, asyncio.IncompleteReadError):
            raise _away("it ended") from None

    async def _exchanged(self, connection: Connection, frame: bytes) -> bytes:
        reader, writer = connection
        is_whole = False
        try:
            writer.write(frame)
            await writer.drain()
            (length,) = wire.ANSWER.unpack(await reader.readexactly(wire.ANSWER.size))
            answer = await reader.readexactly(length)
            is_whole = True
        finally:
            if is_whole and len(self._idle) < KEPT_MAX:
                self._idle.append(connection)
            else:
                writer.close()
        return answer

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + PATIENCE_S
        while True:
            try:
                return await asyncio.open_unix_connection(os.fspath(self._path()))
            except OSError:
                if loop.time() >= until_s:
                    raise _away("it is not there") from None
                await asyncio.sleep(RETRY_S)


def _away(why: str) -> Overloaded:
    return Overloaded("SQL assist is not available now; try again soon.", detail=f"sandbox: {why}", retry_after_s=2)
