"""A small HTTP/1.1 server for tests: streams, cuts and silences on demand, and sees at once when a client leaves."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Exchange:
    """One request's answer, written step by step."""

    request: Request
    writer: asyncio.StreamWriter
    is_chunked: bool = False
    is_closing: bool = False

    async def answer(self, status: int, content: object, headers: Mapping[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        head = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
        self.writer.write(_head(status, head) + body)
        await self.writer.drain()

    async def begin(self, content_type: str) -> None:
        self.is_chunked = True
        self.writer.write(_head(200, {"content-type": content_type, "transfer-encoding": "chunked"}))
        await self.writer.drain()

    async def send(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self.writer.drain()

    async def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    def cut(self) -> None:
        """Closes the connection where it is."""
        self.is_closing = True


Handler = Callable[[Exchange], Awaitable[None]]


@dataclass
class HttpServer:
    """`async with HttpServer(handler) as server:` listens on `server.url`.

    `closes_silently` makes it close a kept connection as soon as the next request comes on it, without a byte.
    """

    handler: Handler
    closes_silently: bool = False
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> "HttpServer":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        # A client that leaves in the middle is what many tests are about; the end of the server cancels.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun, served = b"", 0
        while head := begun + await reader.readuntil(b"\r\n\r\n"):
            if self.closes_silently and served:
                return
            request = await _request(head, reader)
            self.requests.append(request)
            exchange = Exchange(request, writer)
            begun = await _while_connected(self.handler(exchange), reader)
            served += 1
            if exchange.is_closing or request.headers.get("connection") == "close":
                return


async def _request(head: bytes, reader: asyncio.StreamReader) -> Request:
    first, *rest = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, path, headers, body)


async def _while_connected(work: Awaitable[None], reader: asyncio.StreamReader) -> bytes:
    """Runs the handler and cancels it when the client leaves; gives back what of the next request was read."""
    answering = asyncio.ensure_future(work)
    listening = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait((answering, listening), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done() and not listening.result():
            raise ConnectionResetError("the client left")
        await answering
        if listening.done():
            return listening.result()
    finally:
        answering.cancel()
        listening.cancel()
        await asyncio.gather(answering, listening, return_exceptions=True)
    return b""


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\n{lines}\r\n".encode()
