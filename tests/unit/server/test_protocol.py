"""What goes over the wire, seen by a client that speaks bytes."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from aiservice.server.worker import configure

Exchange = Callable[[bytes], Awaitable[bytes]]
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"5")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    if path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS[:1]})
        for piece in (b"one", b"two"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    if path == "/fails":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        raise RuntimeError("after the head")
    status = 204 if path == "/empty" else 201
    headers = [(b"x-bad", b"a\r\nset-cookie: b")] if path == "/injected" else []
    own = [] if path == "/empty" else HEADERS
    await send({"type": "http.response.start", "status": status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": b"" if path == "/empty" else b"hello"})


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    server = uvicorn.Server(configure(app))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        serve = asyncio.create_task(server._serve([listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serve


async def said(request: bytes) -> bytes:
    """All that comes back until the server closes, or has been silent for a moment."""
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        answer = b""
        try:
            while part := await asyncio.wait_for(reader.read(65_536), 0.3):
                answer += part
        except TimeoutError:
            answer += b"<still open>"
        writer.close()
        return re.sub(rb"date: [^\r]*\r\n", b"", answer)


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


HELLO = b"HTTP/1.1 201 Created\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"


async def test_whole_answer_and_the_connection_stays() -> None:
    assert await said(get("/")) == HELLO + b"<still open>"


async def test_pipelined_requests_are_answered_in_order() -> None:
    assert await said(get("/") + get("/stream") + get("/")) == (
        HELLO
        + b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
        + b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
        + HELLO
        + b"<still open>"
    )


async def test_client_that_asks_to_close_is_closed() -> None:
    answer = await said(get("/", "Connection: close"))
    assert answer == HELLO.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")


async def test_http_1_0_is_closed() -> None:
    answer = await said(b"GET / HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"connection: close\r\n\r\nhello")


async def test_head_has_no_body() -> None:
    assert await said(get("/", method="HEAD")) == HELLO.removesuffix(b"hello") + b"<still open>"


async def test_204_has_no_body_and_no_length() -> None:
    assert await said(get("/empty")) == b"HTTP/1.1 204 No Content\r\n\r\n<still open>"


@pytest.mark.parametrize("path", ["/injected", "/fails"])
async def test_what_cannot_be_sent_is_a_500(path: str) -> None:
    answer = await said(get(path))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in answer
