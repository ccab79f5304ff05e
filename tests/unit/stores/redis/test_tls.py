"""Encrypted connections: whom we believe, and whom we show ourselves to."""

import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from aiservice.core.errors import StoreUnavailable
from aiservice.stores.redis.cluster import SLOTS
from tests.servers.scripted_redis import HOST, Command, ScriptedRedis
from tests.unit.stores.redis.waiting import Connect, until

pytestmark = pytest.mark.stores


class Certificates:
    """Those of a server for `names`, of its clients, and where the files are that addresses name."""

    def __init__(self, folder: Path, *names: str) -> None:
        authority = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(self.server)
        authority.configure_trust(self.server)
        self.authority = folder / "ca.pem"
        self.client = folder / "client.pem"
        self.key = folder / "client.key"
        authority.cert_pem.write_to_path(self.authority)
        client = authority.issue_cert("client")
        client.private_key_pem.write_to_path(self.key)
        for pem in client.cert_chain_pems:
            pem.write_to_path(self.client, append=True)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path, HOST)


@pytest.fixture
def server(certificates: Certificates) -> Iterator[ScriptedRedis]:
    with ScriptedRedis(lambda command: command[-1], tls=certificates.server) as scripted:
        yield scripted


def url_of(server: ScriptedRedis, **parameters: object) -> str:
    return f"rediss://{HOST}:{server.port}?" + "&".join(f"{name}={value}" for name, value in parameters.items())


async def refusal(connect: Connect, url: str) -> str:
    redis = await connect(url)
    with pytest.raises(StoreUnavailable) as raised:
        await redis.call("GET", "a", key="a")
    assert not redis.is_up
    return str(raised.value.detail)


async def test_calls_and_messages_are_encrypted(server: ScriptedRedis, connect: Connect, certificates: Certificates):
    redis = await connect(url_of(server, ssl_ca_certs=certificates.authority), timeout_s=1.0)
    told: list[str] = []
    redis.subscribe("ai:keys", told.append, lambda: told.append("gap"))

    assert await redis.call("GET", b"x" * 300_000, key="a") == b"x" * 300_000
    await until(lambda: told == ["gap"])
    server.publish("ai:keys", "kid")
    await until(lambda: told == ["gap", "kid"])


async def test_a_server_of_an_unknown_authority_is_refused(server: ScriptedRedis, connect: Connect):
    assert "CERTIFICATE_VERIFY_FAILED" in await refusal(connect, f"rediss://{HOST}:{server.port}")
    assert server.greetings == []


async def test_a_server_of_another_name_is_refused_unless_names_do_not_count(tmp_path: Path, connect: Connect):
    certificates = Certificates(tmp_path, "redis.example")
    with ScriptedRedis(lambda command: command[-1], tls=certificates.server) as server:
        assert "CERTIFICATE_VERIFY_FAILED" in await refusal(
            connect, url_of(server, ssl_ca_certs=certificates.authority)
        )
        redis = await connect(url_of(server, ssl_ca_certs=certificates.authority, ssl_check_hostname="false"))

        assert await redis.call("GET", "a", key="a") == b"a"


async def test_a_server_may_want_a_certificate(server: ScriptedRedis, connect: Connect, certificates: Certificates):
    certificates.server.verify_mode = ssl.CERT_REQUIRED
    ours = {"ssl_certfile": certificates.client, "ssl_keyfile": certificates.key}

    await refusal(connect, url_of(server, ssl_ca_certs=certificates.authority))
    redis = await connect(url_of(server, ssl_ca_certs=certificates.authority, **ours))

    assert await redis.call("GET", "a", key="a") == b"a"


async def test_a_server_without_tls_is_refused(connect: Connect, certificates: Certificates):
    with ScriptedRedis() as plain:
        said = await refusal(connect, url_of(plain, ssl_ca_certs=certificates.authority))

    assert HOST in said


async def test_a_client_without_tls_is_refused(server: ScriptedRedis, connect: Connect):
    assert HOST in await refusal(connect, server.url)


async def test_a_cluster_is_asked_for_its_nodes_encrypted_too(
    server: ScriptedRedis, connect: Connect, certificates: Certificates
):
    with ExitStack() as stack:
        other = stack.enter_context(ScriptedRedis(tls=certificates.server))
        half = SLOTS // 2

        def answer(command: Command) -> object:
            slots = [
                [0, half - 1, [HOST.encode(), server.port, b"1"]],
                [half, SLOTS - 1, [HOST.encode(), other.port, b"2"]],
            ]
            return slots if command[0] == b"CLUSTER" else command[-1]

        server.answer = other.answer = answer
        redis = await connect(url_of(server, ssl_ca_certs=certificates.authority).replace("rediss", "rediss+cluster"))
        await until(lambda: redis.is_up)

        assert [await redis.call("GET", key, key=key) for key in ("a", "b")] == [b"a", b"b"]
