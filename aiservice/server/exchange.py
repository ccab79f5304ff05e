"""One request and its answer, as ASGI's `receive` and `send`; what is said goes out through the connection."""

import asyncio
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Protocol

from aiservice.api.asgi import JSON_TYPE, Headers, Message, Scope
from aiservice.api.errors import unexpected
from aiservice.api.surfaces import NATIVE
from aiservice.core.errors import AIServiceError

_STATUS_LINES: Mapping[int, bytes] = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_WITHOUT_BODY = (204, 304)
_CHUNKED = (b"transfer-encoding", b"chunked")
_CLOSE = (b"connection", b"close")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


class Connection(Protocol):
    """What an exchange needs of the connection that it takes place on."""

    is_choked: bool

    @property
    def default_lines(self) -> bytes: ...

    def write(self, data: bytes) -> None: ...

    async def writable(self) -> None:
        """Returns when the client has read so much that more may be written, or is gone."""
        ...

    def taken(self) -> None:
        """What had come of the body was taken."""
        ...

    def answered(self, exchange: "Exchange") -> None:
        """The answer is out, or will never be: the next request may be answered, if the connection is kept."""
        ...


class Exchange:
    """The head of an answer is held until its first piece of body, and both are written as one."""

    __slots__ = (
        "_asks_to_continue", "_bytes_left", "_connection", "_has_no_body", "_head", "_is_chunked", "_is_taken", "_news",
        "_parts", "is_answered", "is_begun", "is_gone", "is_kept", "is_read", "scope", "waiting_bytes",
    )  # fmt: skip

    def __init__(self, connection: Connection, scope: Scope, *, is_kept: bool, asks_to_continue: bool) -> None:
        """`is_kept`: the connection is kept for another request; `asks_to_continue`: the body comes when called for."""
        self.scope = scope
        self.is_kept = is_kept
        self.is_read = False
        self.is_gone = False
        self.is_begun = False
        self.is_answered = False
        self.waiting_bytes = 0
        self._connection = connection
        self._asks_to_continue = asks_to_continue
        self._parts: list[bytes] = []
        self._is_taken = False
        self._news: asyncio.Event | None = None
        self._head: Message | None = None
        self._has_no_body = False
        self._is_chunked = False
        self._bytes_left = 0

    def feed(self, body: bytes) -> None:
        """A piece of the request's body is here; nobody wants it any more once the answer is out."""
        if not self.is_answered:
            self._parts.append(body)
            self.waiting_bytes += len(body)
            self._wake()

    def complete(self) -> None:
        """The request is here as a whole."""
        self.is_read = True
        self._wake()

    def leave(self) -> None:
        """The client is gone: whoever waits for it hears so, and what is still said to it is dropped."""
        self.is_gone = True
        self._wake()

    async def receive(self) -> Message:
        """ASGI's next piece of the request; after the last it waits until the client leaves or the answer is out."""
        if self._asks_to_continue and not (self._parts or self.is_read or self.is_begun):
            self._asks_to_continue = False
            self._connection.write(_CONTINUE)
        while not (self._parts or self.is_gone or self.is_answered or (self.is_read and not self._is_taken)):
            if self._news is None:
                self._news = asyncio.Event()
            await self._news.wait()
        if self.is_gone or self.is_answered:
            return {"type": "http.disconnect"}
        body, self._parts, self.waiting_bytes = b"".join(self._parts), [], 0
        self._is_taken = self.is_read
        self._connection.taken()
        return {"type": "http.request", "body": body, "more_body": not self.is_read}

    async def send(self, message: Message) -> None:
        """ASGI's next piece of the answer. Raises `RuntimeError` out of turn, `ValueError` for what cannot be said."""
        if self._connection.is_choked:
            await self._connection.writable()
        if self.is_answered:
            raise RuntimeError("the answer is complete already")
        if message["type"] == "http.response.start":
            if self._head is not None or self.is_begun:
                raise RuntimeError("the answer has begun already")
            self._head = message
            return
        if self.is_gone:
            return
        body, is_last = message.get("body", b""), not message.get("more_body", False)
        data = self._framed(body, is_last=is_last) if self.is_begun else self._begin(body, is_last=is_last)
        self._connection.write(data)
        if is_last:
            self._end()

    def ended(self, task: "asyncio.Task[None]") -> None:
        """The application has returned, which it should do after its answer; a fault becomes a 500 or a cut answer."""
        error = None if task.cancelled() else task.exception()
        if error is None and (self.is_answered or self.is_gone):
            return
        fault = unexpected(error if isinstance(error, Exception) else RuntimeError("the answer was not completed"))
        if not (self.is_answered or self.is_gone):
            self.cut(fault)

    def cut(self, error: AIServiceError) -> None:
        """Ends an answer that cannot be completed, with the error if it has not begun, and the connection with it."""
        self.is_kept = False
        if not self.is_begun:
            self._connection.write(refusal(error))
        self.leave()
        self._connection.answered(self)

    def _begin(self, body: bytes, *, is_last: bool) -> bytes:
        """The head and the first piece of body."""
        head, self._head = self._head, None
        if head is None:
            raise RuntimeError("the answer has no head")
        status, headers = head["status"], head.get("headers", ())
        names = dict(headers)
        if not (is_last and self._is_usual(status, names, body)):
            headers = self._with_framing(status, headers, body_bytes=len(body) if is_last else None)
            body = self._framed(body, is_last=is_last)
        lines = b"\r\n".join([*map(b": ".join, headers), b""])
        if len(lines.translate(None, b"\r\n\0")) != len(lines) - 2 * len(headers):
            raise ValueError("a header has a line end in it")
        self.is_begun = True
        status_line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        return b"%b%b%b\r\n%b" % (status_line, self._connection.default_lines, lines, body)

    def _is_usual(self, status: int, names: Mapping[bytes, bytes], body: bytes) -> bool:
        """Whether a whole answer goes out as it is: its length said, the connection kept."""
        return (
            names.get(b"content-length") == b"%d" % len(body)
            and self.is_kept
            and (self.is_read or not self._asks_to_continue)
            and b"connection" not in names
            and b"transfer-encoding" not in names
            and status not in _WITHOUT_BODY
            and self.scope["method"] != "HEAD"
        )

    def _with_framing(self, status: int, headers: Iterable[tuple[bytes, bytes]], *, body_bytes: int | None) -> Headers:
        """The headers and how the client sees where the body ends; `body_bytes` where that is known already."""
        # ASGI leaves this one to the server.
        framed = [header for header in headers if header[0] != b"transfer-encoding"]
        names = dict(framed)
        length = names.get(b"content-length")
        if self.scope["method"] == "HEAD" or status in _WITHOUT_BODY:
            self._has_no_body = True
        elif length is not None:
            self._bytes_left = int(length)
        elif body_bytes is not None:
            self._bytes_left = body_bytes
            framed.append((b"content-length", b"%d" % body_bytes))
        elif self.scope["http_version"] == "1.1":
            self._is_chunked = True
            framed.append(_CHUNKED)
        else:
            self._bytes_left = -1
        if (self._asks_to_continue and not self.is_read) or b"close" in names.get(b"connection", b"").lower():
            # A client that was not called upon may send its body or not: where the next request begins is unknown.
            self.is_kept = False
        if not self.is_kept and b"connection" not in names:
            framed.append(_CLOSE)
        return framed

    def _framed(self, body: bytes, *, is_last: bool) -> bytes:
        """A piece of body as it is written; below zero bytes left, the body ends with the connection."""
        if self._has_no_body:
            return b""
        if self._is_chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk + _LAST_CHUNK if is_last else chunk
        if self._bytes_left >= 0:
            self._bytes_left -= len(body)
            if self._bytes_left < 0 or (is_last and self._bytes_left):
                raise ValueError("the body is not as long as its content-length")
        return body

    def _end(self) -> None:
        self.is_answered = True
        self._parts, self.waiting_bytes = [], 0
        self._wake()
        self._connection.answered(self)

    def _wake(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None


def refusal(error: AIServiceError) -> bytes:
    """A whole answer that ends the connection."""
    body = NATIVE.body(error, "")
    headers = [JSON_TYPE, (b"content-length", b"%d" % len(body)), _CLOSE]
    return b"%b%b\r\n\r\n%b" % (_STATUS_LINES[error.status], b"\r\n".join(map(b": ".join, headers)), body)
