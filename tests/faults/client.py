"""A keep-alive client that costs little: one connection, one request at a time, and what came of one that broke."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httptools

EVENT = b"data: "
DONE = b"[DONE]"


@dataclass
class Reply:
    """What came back; `is_whole` False when the connection broke before the end. `id` is the row's in the ledger."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    is_whole: bool = False

    @property
    def id(self) -> str | None:
        return self.headers.get("x-request-id")

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def is_answered(self) -> bool:
        """Whether this is an answer to its end: a stream that stops before [DONE] is none."""
        return self.status == 200 and self.is_whole and (not self.is_stream or self._payloads()[-1:] == [DONE])

    @property
    def text(self) -> str:
        if self.is_stream:
            return "".join(event.get("delta", "") for event in self._events())
        return str(json.loads(self.body)["response"])

    @property
    def end(self) -> dict[str, Any]:
        """The part of an answer that has its id, its tokens and whether it was cached."""
        end: dict[str, Any] = self._events()[-1] if self.is_stream else json.loads(self.body)
        return end

    def _events(self) -> list[dict[str, Any]]:
        return [json.loads(payload) for payload in self._payloads() if payload != DONE]

    def _payloads(self) -> list[bytes]:
        return [event.removeprefix(EVENT) for event in bytes(self.body).split(b"\n\n") if event]


class Connection(asyncio.Protocol):
    """`await Connection.to(port)`; an open one can be asked again and again."""

    def __init__(self) -> None:
        self._parser: Any = None
        self._reply = Reply()
        self._answered: asyncio.Future[Reply] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def to(cls, port: int) -> "Connection":
        """Raises `OSError` when nobody accepts."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    async def ask(self, request: bytes) -> Reply:
        """Sends a request on an open connection and waits for its reply, or for what came until it broke."""
        self._reply = Reply()
        if self._transport is None:
            return self._reply
        self._parser = httptools.HttpResponseParser(self)
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.port: int = transport.get_extra_info("sockname")[1]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._settle()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._reply.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self._reply.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._reply.body += body

    def on_message_complete(self) -> None:
        self._reply.is_whole = True
        self._settle()

    def _settle(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(self._reply)


def post(path: str, key: str, body: dict[str, Any], **headers: str) -> bytes:
    """A request as it goes over the wire; `cache_control` becomes Cache-Control."""
    content = json.dumps(body).encode()
    fields = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(content))}
    fields |= {"x-api-key": key} | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content
