"""A server in a thread of its own with a small application, and a client that speaks bytes."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
import uvloop

from aiservice.server.protocol import HttpProtocol
from aiservice.server.worker import configure

WAIT_S = 10.0
MIB = 1_048_576
LENGTH = re.compile(rb"content-length: (\d+)\r\n")
LOOPS: dict[str, Callable[..., None]] = {"asyncio": asyncio.run, "uvloop": uvloop.run}


class HastyProtocol(HttpProtocol):
    """Waits a fifth of a second for the rest of a body that nobody takes."""

    leftover_s = 0.2


@dataclass
class Application:
    """Answers by path; `notes` has what it heard, and `go` is what its slow paths wait for."""

    notes: list[Any] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await getattr(self, scope["path"].strip("/").partition("/")[0] or "hello")(scope, receive, send)

    async def hello(self, scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"hello")

    async def scope(self, scope: Any, receive: Any, send: Any) -> None:
        shown = {name: scope[name] for name in ("method", "path", "http_version", "client", "scheme")}
        shown |= {name: scope[name].decode() for name in ("raw_path", "query_string")}
        shown["headers"] = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
        await answer(send, json.dumps(shown).encode())

    async def echo(self, scope: Any, receive: Any, send: Any) -> None:
        await answer(send, await read(receive))

    async def ignore(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers before the body is here."""
        await answer(send, b"ignored", status=413)

    async def later(self, scope: Any, receive: Any, send: Any) -> None:
        """Takes nothing of the body until it may."""
        self.notes.append("waits")
        await self._until_go()
        first = await receive()
        self.notes.append(len(first["body"]))
        rest = await read(receive) if first["more_body"] else b""
        await answer(send, str(len(first["body"]) + len(rest)).encode())

    async def pieces(self, scope: Any, receive: Any, send: Any) -> None:
        """Notes each piece of the body as it comes."""
        while True:
            message = await receive()
            self.notes.append(message.get("body", message["type"]))
            if not message.get("more_body"):
                break
        if message["type"] == "http.request":
            await answer(send, b"read")

    async def stream(self, scope: Any, receive: Any, send: Any) -> None:
        await begin(send)
        for piece in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def flood(self, scope: Any, receive: Any, send: Any) -> None:
        """Streams 32 times half a MiB, and notes how many of them it got rid of."""
        await begin(send)
        for count in range(1, 33):
            await send({"type": "http.response.body", "body": b"x" * (MIB // 2), "more_body": True})
            self.notes.append(count)
        await send({"type": "http.response.body", "body": b""})

    async def watched(self, scope: Any, receive: Any, send: Any) -> None:
        """Streams its first piece and waits for the client to leave."""
        await begin(send)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await receive()
        heard = await asyncio.gather(receive(), receive())
        self.notes += [message["type"] for message in heard]
        await send({"type": "http.response.body", "body": b"dropped", "more_body": True})
        self.notes.append("dropped")

    async def slow(self, scope: Any, receive: Any, send: Any) -> None:
        self.notes.append("began")
        await self._until_go()
        await answer(send, b"slow")

    async def fail(self, scope: Any, receive: Any, send: Any) -> None:
        """/fail/N: fails after N messages of its answer."""
        count = int(scope["path"].rpartition("/")[2])
        head = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        for message in [head, {"type": "http.response.body", "body": b"one", "more_body": True}][:count]:
            await send(message)
        raise RuntimeError("of the application")

    async def silent(self, scope: Any, receive: Any, send: Any) -> None:
        """Returns without an answer."""

    async def say(self, scope: Any, receive: Any, send: Any) -> None:
        """Sends the messages that its request's body spells out."""
        for message in json.loads(await read(receive)):
            message |= {name: message[name].encode() for name in ("body",) if name in message}
            if "headers" in message:
                message["headers"] = [(name.encode(), value.encode()) for name, value in message["headers"]]
            await send(message)

    async def _until_go(self) -> None:
        while not self.go.is_set():
            await asyncio.sleep(0.005)

    def heard(self, count: int) -> list[Any]:
        """The notes, once there are so many."""
        eventually(lambda: len(self.notes) >= count)
        return self.notes


async def read(receive: Any) -> bytes:
    parts, has_more = [], True
    while has_more:
        message = await receive()
        parts.append(message["body"])
        has_more = message["more_body"]
    return b"".join(parts)


async def begin(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})


async def answer(send: Any, body: bytes, *, status: int = 200) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass
class Running:
    """A server that runs."""

    application: Application
    server: uvicorn.Server
    thread: threading.Thread
    port: int

    def connect(self, *, buffer_bytes: int | None = None) -> "Client":
        connection = socket.socket()
        if buffer_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
        connection.connect(("127.0.0.1", self.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(WAIT_S)
        return Client(connection)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()


@contextmanager
def serving(loop: str, *, keep_alive_s: float = 60.0) -> Iterator[Running]:
    application = Application()
    config = configure(application)
    config.http_protocol_class = HastyProtocol
    config.timeout_keep_alive = keep_alive_s  # type: ignore[assignment]
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=lambda: LOOPS[loop](server._serve([listener])), daemon=True)
        thread.start()
        eventually(lambda: server.started)
        running = Running(application, server, thread, listener.getsockname()[1])
        try:
            yield running
        finally:
            application.go.set()
            running.stop()


@dataclass
class Client:
    """One connection. Answers are given without their date."""

    connection: socket.socket
    pending: bytes = b""

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def send_until_full(self, data: bytes) -> int:
        """Sends until the server has taken nothing for a moment; gives how much it took."""
        self.connection.settimeout(0.2)
        sent = 0
        try:
            while sent < len(data):
                sent += self.connection.send(data[sent : sent + 65_536])
        except TimeoutError:
            return sent
        finally:
            self.connection.settimeout(WAIT_S)
        return sent

    def answer(self) -> bytes:
        """The next answer that has a length."""
        while b"\r\n\r\n" not in self.pending:
            self._more()
        head, _, self.pending = self.pending.partition(b"\r\n\r\n")
        length = LENGTH.search(head + b"\r\n")
        size = int(length[1]) if length else 0
        while len(self.pending) < size:
            self._more()
        body, self.pending = self.pending[:size], self.pending[size:]
        return dateless(head + b"\r\n\r\n") + body

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        parts = [self.pending]
        while part := self.connection.recv(1_048_576):
            parts.append(part)
        return dateless(b"".join(parts))

    def is_open(self) -> bool:
        """Whether the server neither closes nor says anything for a moment."""
        self.connection.settimeout(0.03)
        try:
            self.connection.recv(1)
        except TimeoutError:
            return True
        finally:
            self.connection.settimeout(WAIT_S)
        return False

    def close(self) -> None:
        self.connection.close()

    def _more(self) -> None:
        part = self.connection.recv(65_536)
        if not part:
            raise ConnectionError(f"closed after {self.pending!r}")
        self.pending += part


def request(path: str, *headers: str, method: str = "GET", body: bytes | None = None) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def post(path: str, body: bytes, *headers: str) -> bytes:
    return request(path, *headers, method="POST", body=body)


def plain(body: bytes, *, status: str = "200 OK") -> bytes:
    """What the application's whole answers look like."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def closing(answer: bytes) -> bytes:
    return answer.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)


def dateless(answer: bytes) -> bytes:
    return re.sub(rb"date: [^\r]*\r\n", b"", answer)


def eventually(is_true: Callable[[], bool]) -> None:
    until_s = time.monotonic() + WAIT_S
    while not is_true():
        assert time.monotonic() < until_s, "did not come true in time"
        time.sleep(0.002)
