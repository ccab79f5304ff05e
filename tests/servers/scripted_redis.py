"""A Redis that says what a test wants, in a thread and loop of its own: a client whose loop stands still is no excuse.

It greets as a Redis does (HELLO, SELECT, PING, SUBSCRIBE, PUBLISH); every other command is for `answer`.
"""

import asyncio
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import hiredis

HOST = "127.0.0.1"
RST = struct.pack("ii", 1, 0)
START_S = 10.0


class Silent:
    """No reply ever comes."""


class Reset:
    """The connection ends by RST."""


@dataclass(frozen=True)
class Raw:
    """These bytes, in pieces a moment apart, and then perhaps the end of the connection."""

    pieces: Sequence[bytes]
    pause_s: float = 0.0
    is_last: bool = False


@dataclass(frozen=True)
class Later:
    """The reply comes after so many seconds, and those that follow not before it."""

    delay_s: float
    value: Any


class Error(Exception):
    """A RESP error of this text."""


Command = list[bytes]
Answer = Callable[[Command], Any]


class ScriptedRedis:
    """`commands` are those for `answer`; `batches` how many of them each read brought; `greetings` the others."""

    def __init__(self, answer: Answer | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.answer: Answer = answer or (lambda command: "OK")
        self.role = "master"
        self.port = 0
        self.commands: list[Command] = []
        self.greetings: list[Command] = []
        self.batches: list[int] = []
        self.connections = 0
        self.is_frozen = False
        self.refusal: str | None = None
        self.greet: Answer | None = None
        self.denied: set[bytes] = set()
        self._tls = tls
        self._open: set[_Session] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def count_open(self) -> int:
        return len(self._open)

    def listeners(self, channel: str) -> int:
        return sum(channel.encode() in session.channels for session in list(self._open))

    def listen(self) -> None:
        """On the same port as before."""
        self._do(self._listen())

    def stop(self) -> None:
        """Ends the connections and refuses new ones."""
        self._do(self._stop())

    def cut(self) -> None:
        """Ends the connections in good order; new ones are taken."""
        self._do(self._end(is_reset=False))

    def reset(self) -> None:
        self._do(self._end(is_reset=True))

    def hold(self) -> None:
        """Reads nothing more from those that are connected."""
        self._do(self._hold())

    def say(self, data: bytes) -> None:
        """Writes what nobody asked for to every connection."""
        self._do(self._say(data))

    def publish(self, channel: str, message: str) -> None:
        self._do(self._publish(channel.encode(), message.encode()))

    def __enter__(self) -> Self:
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def reply(self, session: "_Session", command: Command) -> Any:
        name = command[0].upper()
        if name in self.denied:
            return Error(f"NOPERM this user has no permissions to run the '{name.decode()}' command")
        match name:
            case b"HELLO" | b"PING" | b"SELECT":
                self.greetings.append(command)
                return self._greet(name) if self.greet is None else self.greet(command)
            case b"SUBSCRIBE":
                session.channels.update(command[1:])
                return Raw([_packed([b"subscribe", channel, 1]) for channel in command[1:]])
            case b"UNSUBSCRIBE":
                session.channels.difference_update(command[1:])
                return Raw([_packed([b"unsubscribe", channel, 0]) for channel in command[1:]])
        self.commands.append(command)
        return self.answer(command)

    def joined(self, session: "_Session") -> None:
        self.connections += 1
        self._open.add(session)

    def left(self, session: "_Session") -> None:
        self._open.discard(session)

    def _greet(self, name: bytes) -> Any:
        if self.refusal is not None:
            return Error(self.refusal)
        if name == b"HELLO":
            facts = {"server": "redis", "version": "6.2.14", "proto": 2, "mode": "standalone", "role": self.role}
            return [part for fact in facts.items() for part in fact]
        return "PONG" if name == b"PING" else "OK"

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(
            lambda: _Session(self), HOST, self.port, ssl=self._tls, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._end(is_reset=False)

    async def _end(self, *, is_reset: bool) -> None:
        for session in list(self._open):
            session.end(is_reset=is_reset)
        while self._open:
            await asyncio.sleep(0.001)

    async def _hold(self) -> None:
        for session in self._open:
            session.hold()

    async def _say(self, data: bytes) -> None:
        for session in self._open:
            session.write(data)

    async def _publish(self, channel: bytes, message: bytes) -> None:
        for session in self._open:
            if channel in session.channels:
                session.write(_packed([b"message", channel, message]))


class _Session(asyncio.Protocol):
    def __init__(self, server: ScriptedRedis) -> None:
        self.channels: set[bytes] = set()
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(notEnoughData=Silent)
        self._clear_at_s = 0.0
        self._due: deque[tuple[float, Callable[[], None]]] = deque()
        self._transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._server.joined(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.left(self)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        before, replies = len(self._server.commands), []
        while (command := self._reader.gets()) is not Silent:
            if not self._server.is_frozen:
                replies.append(self._server.reply(self, command))
        # Before the first reply goes out: who has it may look.
        if count := len(self._server.commands) - before:
            self._server.batches.append(count)
        for reply in replies:
            self._take(reply)

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def hold(self) -> None:
        self._transport.pause_reading()

    def end(self, *, is_reset: bool) -> None:
        if is_reset:
            connection: socket.socket = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
        self._transport.abort()

    def _take(self, reply: Any) -> None:
        match reply:
            case Silent():
                pass
            case Reset():
                self._at(0.0, lambda: self.end(is_reset=True))
            case Raw():
                for piece in reply.pieces:
                    self._at(reply.pause_s, lambda piece=piece: self.write(piece))
                if reply.is_last:
                    self._at(reply.pause_s, self._transport.close)
            case Later():
                self._at(reply.delay_s, lambda: self.write(_packed(reply.value)))
            case _:
                self._at(0.0, lambda: self.write(_packed(reply)))

    def _at(self, delay_s: float, act: Callable[[], None]) -> None:
        """After all that was to be written before."""
        now_s = self._loop.time()
        self._clear_at_s = max(self._clear_at_s, now_s) + delay_s
        self._due.append((self._clear_at_s, act))
        self._drain()

    def _drain(self) -> None:
        """What is due, in order: two timers of one moment have none."""
        while self._due:
            at_s, act = self._due[0]
            if at_s > self._loop.time():
                self._loop.call_at(at_s, self._drain)
                return
            self._due.popleft()
            act()


def _packed(value: Any) -> bytes:
    match value:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % value
        case str():
            return b"+%b\r\n" % value.encode()
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(value), value)
        case Error():
            return b"-%b\r\n" % str(value).encode()
        case _:
            return b"*%d\r\n" % len(value) + b"".join(map(_packed, value))
