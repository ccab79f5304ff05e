"""A TCP proxy whose line can be spoilt while it runs: in the loop of a test, or as a process of its own.

What can be done to each way: latency (order is kept), slow bytes, half-open (bytes are taken and lost). To both:
`cut` (connections end, new ones are refused), `reset` (connections end by RST), `heal`.
"""

import asyncio
import contextlib
import socket
import struct
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Self

import msgspec

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
ANSWER_S = 10.0
RST = struct.pack("ii", 1, 0)


class Way(Enum):
    """Whose bytes."""

    TO_SERVER = "to_server"
    TO_CLIENT = "to_client"


BOTH = (Way.TO_SERVER, Way.TO_CLIENT)


@dataclass(frozen=True)
class Line:
    """What happens to the bytes of one way."""

    latency_s: float = 0.0
    bytes_per_s: float | None = None
    is_swallowed: bool = False

    @property
    def is_clear(self) -> bool:
        return self == CLEAR


CLEAR = Line()


class Said(msgspec.Struct, frozen=True):
    """What a test tells a proxy in another process."""

    verb: str
    value: float | None
    ways: tuple[str, ...]


class Proxy:
    """Stands before a port of this machine. All its methods take effect at once, on open connections too."""

    def __init__(self, target_port: int, *, port: int = 0) -> None:
        self.lines = dict.fromkeys(Way, CLEAR)
        self.count_taken = 0
        self.changed = asyncio.Event()
        self._target_port = target_port
        self._port = port
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()

    @property
    def port(self) -> int:
        return self._port

    @property
    def count_open(self) -> int:
        return len(self._pairs)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Pair(self).client, HOST, self._port, backlog=1_024)
        self._port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        await self.cut()

    async def latency(self, seconds: float, *ways: Way) -> None:
        """Each byte arrives so much later."""
        self._spoil(ways, Line(latency_s=seconds))

    async def slow_bytes(self, per_s: float, *ways: Way) -> None:
        self._spoil(ways, Line(bytes_per_s=per_s))

    async def half_open(self, *ways: Way) -> None:
        """Connections are taken and stay, bytes are lost; `heal` then resets those that lost some."""
        self._spoil(ways, Line(is_swallowed=True))

    async def cut(self) -> None:
        """As when the server's process ends in good order and stays away."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for pair in list(self._pairs):
            pair.close()

    async def reset(self) -> None:
        """Ends open connections as when the server's machine has started anew; new ones are taken."""
        for pair in list(self._pairs):
            pair.reset()

    async def heal(self) -> None:
        if self._server is None:
            await self.start()
        self._spoil((), CLEAR)
        for pair in list(self._pairs):
            if pair.has_lost:
                pair.reset()

    def join(self, pair: "_Pair") -> None:
        self.count_taken += 1
        self._pairs.add(pair)

    def leave(self, pair: "_Pair") -> None:
        self._pairs.discard(pair)

    async def connect(self, pair: "_Pair") -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: pair.server, HOST, self._target_port)
        except OSError:
            pair.reset()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _spoil(self, ways: tuple[Way, ...], line: Line) -> None:
        for way in ways or BOTH:
            self.lines[way] = line
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


class _Pair:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.client = _End(self, Way.TO_SERVER)
        self.server = _End(self, Way.TO_CLIENT)
        self.has_lost = False
        self._is_over = False
        self._connecting: asyncio.Task[None] | None = None

    def opened(self, end: "_End") -> None:
        if end is self.client:
            self.proxy.join(self)
            self._connecting = asyncio.get_running_loop().create_task(self.proxy.connect(self))
        elif self._is_over:
            end.close()
        else:
            self.client.forward()

    def other(self, end: "_End") -> "_End":
        return self.server if end is self.client else self.client

    def close(self) -> None:
        self._leave()
        for end in (self.client, self.server):
            end.close()

    def reset(self) -> None:
        self._leave()
        for end in (self.client, self.server):
            end.reset()

    def _leave(self) -> None:
        self._is_over = True
        self.proxy.leave(self)


class _End(asyncio.Protocol):
    """One of the two connections: what arrives on it goes out on the other."""

    def __init__(self, pair: _Pair, way: Way) -> None:
        self._pair = pair
        self._way = way
        self._transport: asyncio.Transport | None = None
        self._queue: deque[tuple[float, bytes]] = deque()
        self._pumping: asyncio.Task[None] | None = None
        self._has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._pair.opened(self)

    def data_received(self, data: bytes) -> None:
        other = self._pair.other(self)._transport
        if other is not None and not self._queue and self._line.is_clear:
            other.write(data)
            return
        self._queue.append((_now_s(), data))
        self.forward()

    def eof_received(self) -> bool:
        self._has_ended = True
        self.forward()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The other side learns of it in the same way, unless nothing gets through."""
        if self._line.is_swallowed:
            self._pair.has_lost = True
        elif isinstance(error, ConnectionResetError):
            self._pair.reset()
        else:
            self._pair.close()

    def pause_writing(self) -> None:
        if (source := self._pair.other(self)._transport) is not None:
            source.pause_reading()

    def resume_writing(self) -> None:
        if (source := self._pair.other(self)._transport) is not None:
            source.resume_reading()

    def forward(self) -> None:
        if self._pair.other(self)._transport is None:
            return
        if self._pumping is None or self._pumping.done():
            self._pumping = asyncio.get_running_loop().create_task(self._pump())

    def close(self) -> None:
        self._stop()
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        self._stop()
        if self._transport is not None and not self._transport.is_closing():
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            self._transport.abort()

    @property
    def _line(self) -> Line:
        return self._pair.proxy.lines[self._way]

    async def _pump(self) -> None:
        """Until nothing is left; the line is looked at anew for each step."""
        other = self._pair.other(self)._transport
        assert other is not None
        while self._queue:
            wait_s = self._step(other)
            if wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._pair.proxy.changed.wait(), wait_s)
        if self._has_ended and not self._line.is_swallowed and not other.is_closing():
            other.write_eof()

    def _step(self, other: asyncio.Transport) -> float:
        """Sends what may go out now; how long to wait for more, 0 where there is no need."""
        arrived_s, data = self._queue.popleft()
        line = self._line
        if line.is_swallowed:
            self._pair.has_lost = True
            return 0.0
        if (wait_s := arrived_s + line.latency_s - _now_s()) > 0:
            self._queue.appendleft((arrived_s, data))
            return wait_s
        if line.bytes_per_s is None:
            other.write(data)
            return 0.0
        count = max(1, int(line.bytes_per_s / 100))
        other.write(data[:count])
        if data[count:]:
            self._queue.appendleft((arrived_s, data[count:]))
        return count / line.bytes_per_s

    def _stop(self) -> None:
        if self._pumping is not None:
            self._pumping.cancel()


class ProxyProcess:
    """A proxy in a process of its own: a test's loop that stands still does not hold it up."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.port = port
        self._process = process

    async def latency(self, seconds: float, *ways: Way) -> None:
        await self._say("latency", seconds, ways)

    async def slow_bytes(self, per_s: float, *ways: Way) -> None:
        await self._say("slow_bytes", per_s, ways)

    async def half_open(self, *ways: Way) -> None:
        await self._say("half_open", None, ways)

    async def cut(self) -> None:
        await self._say("cut")

    async def reset(self) -> None:
        await self._say("reset")

    async def heal(self) -> None:
        await self._say("heal")

    async def count_taken(self) -> int:
        """How many connections it has taken in all."""
        return await self._say("heard")

    async def _say(self, verb: str, value: float | None = None, ways: tuple[Way, ...] = ()) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        said = Said(verb, value, tuple(way.value for way in ways))
        self._process.stdin.write(msgspec.json.encode(said) + b"\n")
        return int(await asyncio.wait_for(self._process.stdout.readline(), ANSWER_S))


@asynccontextmanager
async def proxying(target_port: int) -> AsyncIterator[ProxyProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.proxy",
        str(target_port),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        yield ProxyProcess(process, int(await asyncio.wait_for(process.stdout.readline(), ANSWER_S)))
    finally:
        # Its input ends, and so does it: also when the test was killed.
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def _serve(target_port: int) -> None:
    """A line in, the number of connections taken so far out."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin.buffer)
    async with Proxy(target_port) as proxy:
        _tell(proxy.port)
        while line := await commands.readline():
            await _obey(proxy, msgspec.json.decode(line, type=Said))
            _tell(proxy.count_taken)


def _tell(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


async def _obey(proxy: Proxy, said: Said) -> None:
    ways = tuple(map(Way, said.ways))
    match said.verb:
        case "latency" if said.value is not None:
            await proxy.latency(said.value, *ways)
        case "slow_bytes" if said.value is not None:
            await proxy.slow_bytes(said.value, *ways)
        case "half_open":
            await proxy.half_open(*ways)
        case "cut":
            await proxy.cut()
        case "reset":
            await proxy.reset()
        case "heal":
            await proxy.heal()
        case "heard":
            pass
        case unknown:
            raise ValueError(unknown)


def _now_s() -> float:
    return asyncio.get_running_loop().time()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
