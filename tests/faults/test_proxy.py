"""The proxy that spoils lines does what it says, on open connections and on new ones."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.faults.proxy import Proxy, Way, proxying

pytestmark = pytest.mark.faults

PATIENCE_S = 0.15


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """A server that sends back what it gets; the port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionResetError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, port: int) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, data: bytes, *, within_s: float = 5) -> tuple[bytes, float]:
        """What comes back, and after how long."""
        began_s = time.monotonic()
        self.writer.write(data)
        async with asyncio.timeout(within_s):
            answer = await self.reader.readexactly(len(data))
        return answer, time.monotonic() - began_s

    async def is_silent(self, data: bytes) -> bool:
        try:
            await self.ask(data, within_s=PATIENCE_S)
        except TimeoutError:
            return True
        return False


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with echoing() as port, Proxy(port) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    client = await Client.to(proxy.port)
    await client.ask(b"hello")
    yield client
    client.writer.close()


async def test_a_clear_line_passes_everything_on(proxy: Proxy, client: Client) -> None:
    data = bytes(range(256)) * 20_000
    assert (await client.ask(data))[0] == data
    assert proxy.count_open == proxy.count_taken == 1


async def test_the_end_of_one_way_is_passed_on_after_its_bytes(proxy: Proxy, client: Client) -> None:
    await proxy.latency(0.05)
    client.writer.write(b"last words")
    client.writer.write_eof()
    assert await client.reader.read() == b"last words"


async def test_latency_counts_for_each_way(proxy: Proxy, client: Client) -> None:
    await proxy.latency(0.1)
    _, both_s = await client.ask(b"x")
    await proxy.latency(0.0)
    await proxy.latency(0.1, Way.TO_SERVER)
    _, one_s = await client.ask(b"x")
    await proxy.heal()
    _, none_s = await client.ask(b"x")
    assert both_s >= 0.2 > one_s >= 0.1 > none_s


async def test_latency_delays_bytes_without_holding_up_those_behind(proxy: Proxy, client: Client) -> None:
    await proxy.latency(0.1, Way.TO_SERVER)
    began_s = time.monotonic()
    for number in range(10):
        client.writer.write(b"%d" % number)
        await asyncio.sleep(0.01)
    assert await client.reader.readexactly(10) == b"0123456789"
    assert 0.1 <= time.monotonic() - began_s < 0.6


async def test_what_waits_goes_out_as_soon_as_the_line_is_healed(proxy: Proxy, client: Client) -> None:
    await proxy.latency(60)
    assert await client.is_silent(b"waits")
    await proxy.heal()
    assert await client.reader.readexactly(5) == b"waits"


async def test_slow_bytes_come_one_by_one(proxy: Proxy, client: Client) -> None:
    await proxy.slow_bytes(100, Way.TO_CLIENT)
    answer, took_s = await client.ask(b"x" * 30)
    assert answer == b"x" * 30
    assert took_s >= 0.25


@pytest.mark.parametrize("way", Way)
async def test_a_half_open_line_takes_bytes_and_loses_them(proxy: Proxy, client: Client, way: Way) -> None:
    await proxy.half_open(way)
    assert await client.is_silent(b"lost")
    newer = await Client.to(proxy.port)
    assert await newer.is_silent(b"lost")
    await proxy.heal()
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await client.ask(b"x")
    assert (await (await Client.to(proxy.port)).ask(b"again"))[0] == b"again"


async def test_a_half_open_line_harms_no_connection_that_was_silent(proxy: Proxy, client: Client) -> None:
    await proxy.half_open()
    await asyncio.sleep(0.02)
    await proxy.heal()
    assert (await client.ask(b"alive"))[0] == b"alive"


async def test_a_cut_ends_connections_and_refuses_new_ones_on_a_port_that_stays(proxy: Proxy, client: Client) -> None:
    port = proxy.port
    await proxy.cut()
    assert await client.reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await Client.to(port)
    assert proxy.count_open == 0
    await proxy.heal()
    assert proxy.port == port
    assert (await (await Client.to(port)).ask(b"back"))[0] == b"back"


async def test_a_reset_is_no_ordinary_end(proxy: Proxy, client: Client) -> None:
    await proxy.reset()
    with pytest.raises(ConnectionResetError):
        await client.reader.read()
    assert (await (await Client.to(proxy.port)).ask(b"next"))[0] == b"next"


async def test_a_server_that_is_away_resets_the_client() -> None:
    async with echoing() as port:
        pass
    async with Proxy(port) as proxy:
        client = await Client.to(proxy.port)
        with pytest.raises(ConnectionResetError):
            await client.reader.read()


async def test_in_a_process_of_its_own_it_obeys_the_same_words() -> None:
    async with echoing() as port, proxying(port) as proxy:
        client = await Client.to(proxy.port)
        await proxy.latency(0.1, Way.TO_SERVER)
        assert (await client.ask(b"x"))[1] >= 0.1
        await proxy.slow_bytes(100, Way.TO_CLIENT)
        assert (await client.ask(b"x" * 20))[1] >= 0.1
        await proxy.half_open()
        assert await client.is_silent(b"lost")
        await proxy.cut()
        with pytest.raises(ConnectionRefusedError):
            await Client.to(proxy.port)
        await proxy.heal()
        client = await Client.to(proxy.port)
        assert (await client.ask(b"x"))[0] == b"x"
        await proxy.reset()
        with pytest.raises(ConnectionResetError):
            await client.reader.read()
        assert await proxy.count_taken() == 2
