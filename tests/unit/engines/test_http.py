import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from aiservice.core.errors import EngineError, EngineTimeout, EngineUnreachable
from aiservice.core.types import Deadline
from aiservice.engines.http import HttpClient, is_http_url
from tests.servers.http_server import Exchange, HttpServer

DEADLINE = Deadline(2.0, 5.0, 5.0, 5.0)


async def echo(exchange: Exchange) -> None:
    await exchange.answer(200, exchange.request.body or b"{}")


async def stream_three(exchange: Exchange) -> None:
    await exchange.begin("text/plain")
    for piece in (b"one", b"two", b"three"):
        await exchange.send(piece)
    await exchange.end()


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[..., HttpClient]]:
    clients: list[HttpClient] = []

    def make(url: str, **options: bool) -> HttpClient:
        clients.append(HttpClient(url, headers={"Authorization": "Bearer k"}, **options))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


async def read_all(opening: Awaitable) -> bytes:
    with await opening as stream:
        body = b""
        while data := await stream.read():
            body += data
        return body


async def test_post_sends_what_it_was_given(client_of):
    async with HttpServer(echo) as server:
        assert await client_of(server.url + "/base/").post("/path", b'{"a":1}', DEADLINE) == b'{"a":1}'

    request = server.requests[0]
    assert (request.method, request.path) == ("POST", "/base/path")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer k"
    assert request.headers["accept-encoding"] == "identity"
    assert "cookie" not in request.headers


def test_calls_over_the_loop_that_workers_use():
    async def call() -> bytes:
        async with HttpServer(stream_three) as server:
            client = HttpClient(server.url)
            body = await client.post("/x", b"{}", DEADLINE) + await read_all(client.stream("/x", b"{}", DEADLINE))
            await client.aclose()
            return body

    assert uvloop.run(call()) == b"onetwothree" * 2


async def test_get(client_of):
    async with HttpServer(echo) as server:
        assert await client_of(server.url).get("/x", timeout_s=2.0) == b"{}"


async def test_a_stream_comes_in_pieces(client_of):
    async with HttpServer(stream_three) as server:
        assert await read_all(client_of(server.url).stream("/x", b"{}", DEADLINE)) == b"onetwothree"


async def test_connections_are_kept(client_of):
    async with HttpServer(echo) as server:
        client = client_of(server.url)
        for _ in range(3):
            await client.post("/x", b"{}", DEADLINE)
    assert server.connections == 1


async def test_connections_are_kept_after_a_stream_that_was_read_to_its_end(client_of):
    async with HttpServer(stream_three) as server:
        client = client_of(server.url)
        for _ in range(3):
            await read_all(client.stream("/x", b"{}", DEADLINE))
    assert server.connections == 1


async def test_connections_can_be_made_anew_each_time(client_of):
    async with HttpServer(echo) as server:
        client = client_of(server.url, is_kept_alive=False)
        for _ in range(3):
            await client.post("/x", b"{}", DEADLINE)
    assert server.connections == 3


async def test_a_kept_connection_that_was_closed_is_replaced_once(client_of):
    async with HttpServer(echo, closes_silently=True) as server:
        client = client_of(server.url)
        for number in range(3):
            assert await client.post("/x", b"%d" % number, DEADLINE) == b"%d" % number
    assert [request.body for request in server.requests] == [b"0", b"1", b"2"]


async def test_a_new_connection_that_is_closed_is_not_tried_again(client_of):
    async def close(exchange: Exchange) -> None:
        exchange.cut()

    async with HttpServer(close) as server:
        with pytest.raises(EngineUnreachable):
            await client_of(server.url).post("/x", b"{}", DEADLINE)
    assert len(server.requests) == 1


async def test_an_answer_that_has_begun_is_not_asked_for_again(client_of):
    async def half(exchange: Exchange) -> None:
        if len(server.requests) == 1:
            return await echo(exchange)
        exchange.writer.write(b"HTTP/1.1 200 OK\r\ncontent-le")
        await exchange.writer.drain()
        return exchange.cut()

    async with HttpServer(half) as server:
        client = client_of(server.url)
        await client.post("/x", b"{}", DEADLINE)
        with pytest.raises(EngineError):
            await client.post("/x", b"{}", DEADLINE)
    assert len(server.requests) == 2


async def test_a_body_that_is_cut(client_of):
    async def short(exchange: Exchange) -> None:
        exchange.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        await exchange.writer.drain()
        exchange.cut()

    async with HttpServer(short) as server:
        with pytest.raises(EngineError, match="broke off") as caught:
            await client_of(server.url).post("/x", b"{}", DEADLINE)
    assert caught.type is EngineError


async def test_what_is_not_http(client_of):
    async def nonsense(exchange: Exchange) -> None:
        exchange.writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        await exchange.writer.drain()
        exchange.cut()

    async with HttpServer(nonsense) as server:
        with pytest.raises(EngineError) as caught:
            await client_of(server.url).post("/x", b"{}", DEADLINE)
    assert "127.0.0.1" not in caught.value.public


async def test_redirects_are_not_followed(client_of):
    async def redirect(exchange: Exchange) -> None:
        await exchange.answer(302, b"", {"location": "http://127.0.0.1:9/"})

    async with HttpServer(redirect) as server:
        with pytest.raises(EngineError) as caught:
            await client_of(server.url).post("/x", b"{}", DEADLINE)
    assert "302" in str(caught.value.detail)


async def test_a_long_error_body_is_bounded(client_of):
    async def endless(exchange: Exchange) -> None:
        exchange.writer.write(b"HTTP/1.1 400 Bad\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            await exchange.send(b"x" * 10_000)

    async with HttpServer(endless) as server:
        with pytest.raises(EngineError):
            await client_of(server.url).post("/x", b"{}", DEADLINE)


async def test_a_head_that_does_not_come(client_of):
    async def silent(exchange: Exchange) -> None:
        await asyncio.sleep(30)

    async with HttpServer(silent) as server:
        with pytest.raises(EngineTimeout):
            await client_of(server.url).get("/x", timeout_s=0.05)


async def test_a_connection_that_is_not_taken(client_of):
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # Nobody accepts, and these fill the queue.
        for _ in range(4):
            other = waiting.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(listener.getsockname())
        client = client_of("http://{}:{}".format(*listener.getsockname()))

        with pytest.raises(EngineUnreachable):
            await client.post("/x", b"{}", Deadline(0.05, 5.0, 5.0, 5.0))


async def test_a_unix_socket(client_of, tmp_path: Path):
    async with HttpServer(echo) as tcp:

        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await tcp._connected(reader, writer)

        server = await asyncio.start_unix_server(forward, tmp_path / "x.sock")
        client = client_of(f"unix:{tmp_path}/x.sock")
        assert await client.post("/x", b"{}", DEADLINE) == b"{}"
        server.close()
    assert tcp.requests[0].headers["host"] == "localhost"


async def test_a_missing_unix_socket(client_of, tmp_path: Path):
    with pytest.raises(EngineUnreachable) as caught:
        await client_of(f"unix:{tmp_path}/none.sock").post("/x", b"{}", DEADLINE)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("url", ["http://host", "https://host:8000/v1", "http://[::1]:80", "http://user:pass@host"])
def test_addresses(url: str):
    assert is_http_url(url)


@pytest.mark.parametrize("url", ["", "host:8000", "ftp://host", "http://", "http://host:0", "http://host:99999", "/x"])
def test_what_is_no_address(url: str):
    assert not is_http_url(url)
