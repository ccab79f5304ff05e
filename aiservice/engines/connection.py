"""One HTTP/1.1 connection to an engine: httptools parses, one call at a time."""

import asyncio
from collections import deque
from typing import cast

import httptools

PAUSE_BYTES = 262_144
WHOLE_BYTES_MAX = 67_108_864


class ConnectionBroken(Exception):
    """The connection ended, or what came over it is not HTTP. `has_head` says whether an answer had begun."""

    def __init__(self, reason: str, *, has_head: bool) -> None:
        super().__init__(reason)
        self.has_head = has_head


class StaleConnection(ConnectionBroken):
    """A kept connection was closed by the engine before it sent a byte: the engine has not seen the request."""


class EngineConnection(asyncio.Protocol):
    """`send` a request, await `head`, then `read` until b"", or await `whole`. `close` at any moment.

    Reading pauses while 256 KiB wait to be read, so that a slow consumer slows its engine and fills no memory.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.calls = 0
        self.idle_since_s = 0.0
        self.is_closed = False
        self.status = 0
        self.retry_after: str | None = None
        self.is_complete = False
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._wants_whole = False
        self._parser = httptools.HttpResponseParser(self)
        self._body: deque[bytes] = deque()
        self._buffered = 0
        self._is_paused = False
        self._is_framed = False
        self._has_head = False
        self._keeps_alive = False
        self._is_touched = False
        self._error: str | None = None

    @property
    def is_reusable(self) -> bool:
        """Whether the last answer was read to its end and the engine keeps the connection."""
        return self.is_complete and self._keeps_alive and not self.is_closed

    def send(self, request: bytes) -> None:
        """Writes a whole request and makes ready for its answer."""
        self._reset()
        self.calls += 1
        if self._transport is not None:
            self._transport.write(request)

    async def head(self) -> int:
        """The answer's status; raises `StaleConnection` or `ConnectionBroken`."""
        while not self._has_head:
            await self._wait(wants_whole=False)
        return self.status

    async def read(self) -> bytes:
        """The next bytes of the body, b"" at its end; raises `ConnectionBroken`."""
        while not self._body and not self.is_complete:
            await self._wait(wants_whole=False)
        return self._taken()

    async def arrived(self) -> None:
        """Waits for the whole answer, or for as much of it as is held unread; one wake-up where `head` would be two."""
        while not self.is_complete and not self._is_paused:
            await self._wait(wants_whole=True)

    async def whole(self) -> bytes:
        """The body once all of it is there, at most 64 MiB; raises as `head` and `read` do."""
        await self.arrived()
        body = self._taken()
        while not self.is_complete or self._body:
            body += await self.read()
            if len(body) > WHOLE_BYTES_MAX:
                raise ConnectionBroken("the answer is too large", has_head=True)
        return body

    def close(self) -> None:
        """Cuts the connection at once, so that the engine stops working for it."""
        self.is_closed = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio's, they only have its methods.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._is_touched = True
        if self.is_complete or self.calls == 0:
            # Nothing was asked: whatever this is, the connection is of no use any more.
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"not HTTP: {type(error).__name__}")
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        if error is None and self._has_head and not self.is_complete and not self._is_framed:
            # An answer without a length ends with its connection (RFC 9112, section 6.3).
            self.on_message_complete()
        elif not self.is_complete:
            self._fail("closed" if error is None else type(error).__name__)

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"retry-after":
            self.retry_after = value.decode("latin-1")
        elif name in (b"content-length", b"transfer-encoding"):
            self._is_framed = True

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self._has_head = True
            self._keeps_alive = self._parser.should_keep_alive()
            self._wake(is_whole=False)

    def on_body(self, data: bytes) -> None:
        self._body.append(data)
        self._buffered += len(data)
        if self._buffered > PAUSE_BYTES and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake(is_whole=self._is_paused)

    def on_message_complete(self) -> None:
        if self._has_head:
            self.is_complete = True
            self._wake(is_whole=True)

    def _reset(self) -> None:
        if self.calls > 0:
            self._body.clear()
            self._buffered, self.status, self.retry_after = 0, 0, None
            self._is_framed = self._has_head = self._keeps_alive = self._is_touched = self.is_complete = False

    def _taken(self) -> bytes:
        data = self._body.popleft() if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._buffered = 0
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    async def _wait(self, *, wants_whole: bool) -> None:
        if not self.is_closed:
            self._wants_whole = wants_whole
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self.is_closed and not self.is_complete:
            raise self._broken()

    def _wake(self, *, is_whole: bool) -> None:
        waiter = self._waiter
        if waiter is not None and (is_whole or not self._wants_whole) and not waiter.done():
            waiter.set_result(None)

    def _fail(self, reason: str) -> None:
        self._error = reason
        self._wake(is_whole=True)

    def _broken(self) -> ConnectionBroken:
        reason = self._error or "closed"
        if self.calls > 1 and not self._is_touched:
            return StaleConnection(reason, has_head=False)
        return ConnectionBroken(reason, has_head=self._has_head)
