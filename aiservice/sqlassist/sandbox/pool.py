"""The pool: takes calls on a unix socket and has them answered by children that it may kill."""

import asyncio
import os
import signal
import socket
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiservice.core.errors import Overloaded, SqlTimeout, Unexpected
from aiservice.sqlassist import wire
from aiservice.sqlassist.sandbox import child

CALLS_PER_CHILD = 500
WAITING_PER_CHILD = 16


@dataclass(slots=True)
class Child:
    """A sandbox and the pool's end of its socket."""

    pid: int
    channel: socket.socket
    calls: int = 0


class Pool:
    """`size` children; more than 16 calls waiting for each are refused."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting = 0
        self._idle: asyncio.Queue[Child] = asyncio.Queue()
        self._pids: set[int] = set()

    async def run(self, path: Path) -> None:
        """Serves until it is cancelled."""
        for _ in range(self._size):
            self._add()
        server = await asyncio.start_unix_server(self._serve, path)
        try:
            await server.serve_forever()
        finally:
            for pid in self._pids:
                os.kill(pid, signal.SIGKILL)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length, deadline_ms = wire.REQUEST.unpack(await reader.readexactly(wire.REQUEST.size))
                if length > wire.BODY_BYTES_MAX:
                    break
                body = await reader.readexactly(length)
                answer = await self._unless_left(reader, self._answer(body, deadline_ms / 1_000))
                if answer is None:
                    break
                writer.write(wire.ANSWER.pack(len(answer)) + answer)
                await writer.drain()
        writer.close()

    async def _unless_left(self, reader: asyncio.StreamReader, work: Coroutine[None, None, bytes]) -> bytes | None:
        """The answer; None when the client leaves before it is there, which ends the work."""
        working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            for task in (working, leaving):
                task.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    async def _answer(self, body: bytes, deadline_s: float) -> bytes:
        if self._waiting >= self._size * WAITING_PER_CHILD:
            return _failed(Overloaded.code, "SQL assist has too much to do; try again soon.")
        try:
            async with asyncio.timeout(deadline_s):
                return await self._asked(await self._next(), body)
        except TimeoutError:
            return _failed(SqlTimeout.code, f"The work on this statement ran past {deadline_s:g} s and was ended.")

    async def _next(self) -> Child:
        """An idle child that lives."""
        while True:
            self._waiting += 1
            try:
                one = await self._idle.get()
            finally:
                self._waiting -= 1
            if os.waitpid(one.pid, os.WNOHANG)[0] == 0:  # noqa: ASYNC222  # it does not wait
                return one
            self._pids.discard(one.pid)
            one.channel.close()
            self._add()

    async def _asked(self, one: Child, body: bytes) -> bytes:
        """The child goes back among the idle ones only when its answer came whole."""
        loop, is_whole = asyncio.get_running_loop(), False
        try:
            await loop.sock_sendall(one.channel, wire.ANSWER.pack(len(body)) + body)
            (length,) = wire.ANSWER.unpack(await self._received(one, wire.ANSWER.size))
            answer = await self._received(one, length)
            one.calls += 1
            is_whole = one.calls < CALLS_PER_CHILD
        except ConnectionError:
            return _failed(Unexpected.code, "The sandbox died of this statement.")
        finally:
            if is_whole:
                self._idle.put_nowait(one)
            else:
                self._end(one)
                self._add()
        return answer

    async def _received(self, one: Child, count: int) -> bytes:
        loop, parts = asyncio.get_running_loop(), bytearray()
        while len(parts) < count:
            part = await loop.sock_recv(one.channel, min(count - len(parts), 1 << 20))
            if not part:
                raise ConnectionResetError
            parts += part
        return bytes(parts)

    def _add(self) -> None:
        pid, channel = child.fork(os.getpid())
        channel.setblocking(False)
        self._pids.add(pid)
        self._idle.put_nowait(Child(pid, channel))

    def _end(self, one: Child) -> None:
        one.channel.close()
        os.kill(one.pid, signal.SIGKILL)
        os.waitpid(one.pid, 0)
        self._pids.discard(one.pid)


def _failed(code: str, public: str) -> bytes:
    return wire.encoder.encode(wire.Failed(code, public))
