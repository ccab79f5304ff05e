"""TLS to PostgreSQL, as the address asks for it."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
import trustme

from aiservice.core.errors import StartRefused, StoreUnavailable
from aiservice.core.settings import Settings, StoreSettings
from aiservice.stores import roles
from aiservice.stores.databases import open_main, transaction
from tests.servers.binaries import PostgresBinaries
from tests.servers.postgres_server import APP, PostgresServer

pytestmark = pytest.mark.stores

IS_ENCRYPTED = sa.text("select ssl from pg_stat_ssl where pid = pg_backend_pid()")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(postgres: PostgresBinaries, postgres_template: Path, authority: trustme.CA) -> Iterator[PostgresServer]:
    """With a certificate for 127.0.0.1."""
    with PostgresServer.start(postgres, template=postgres_template) as server:
        certificate, key = server.data / "server.crt", server.data / "server.key"
        issued = authority.issue_cert("127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        for path in (certificate, key):
            os.chown(path, server.data.stat().st_uid, server.data.stat().st_gid)
        server.set("ssl", "on")
        yield server


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "trusted.pem"
    authority.cert_pem.write_to_path(path)
    return path


async def is_encrypted(url: str, stack: AsyncExitStack) -> bool:
    engine = open_main(Settings(stores=StoreSettings(postgres_url=url)))
    stack.push_async_callback(engine.dispose)
    async with transaction(engine, purpose="keys") as connection:
        return bool((await connection.execute(IS_ENCRYPTED)).scalar_one())


@pytest.mark.parametrize(("mode", "encrypted"), [("disable", False), ("prefer", True), ("require", True), (None, True)])
async def test_the_line_is_encrypted_as_the_address_says(
    server: PostgresServer, stack: AsyncExitStack, mode: str | None, encrypted: bool
):
    query = "" if mode is None else f"?sslmode={mode}"

    assert await is_encrypted(server.url(APP) + query, stack) == encrypted


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
async def test_a_server_that_the_authority_knows_is_trusted(
    server: PostgresServer, stack: AsyncExitStack, trusted: Path, mode: str
):
    assert await is_encrypted(f"{server.url(APP)}?sslmode={mode}&sslrootcert={trusted}", stack)


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
async def test_a_server_that_it_does_not_know_is_not(
    server: PostgresServer, stack: AsyncExitStack, tmp_path: Path, mode: str
):
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    url = f"{server.url(APP)}?sslmode={mode}&sslrootcert={other}"

    with pytest.raises(StoreUnavailable, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
        await is_encrypted(url, stack)
    with pytest.raises(StartRefused, match="certificate verify failed"):
        await asyncio.to_thread(roles.check, Settings(stores=StoreSettings(postgres_url=url)))


async def test_a_server_of_another_name_is_not_trusted(server: PostgresServer, stack: AsyncExitStack, trusted: Path):
    url = server.url(APP).replace("127.0.0.1", "localhost")
    with pytest.raises(StoreUnavailable, match="localhost"):
        await is_encrypted(f"{url}?sslmode=verify-full&sslrootcert={trusted}", stack)

    assert await is_encrypted(f"{url}?sslmode=verify-ca&sslrootcert={trusted}", stack)


async def test_a_file_of_authorities_that_is_not_there_is_named(server: PostgresServer, tmp_path: Path):
    url = f"{server.url(APP)}?sslmode=verify-full&sslrootcert={tmp_path / 'nothing.pem'}"

    with pytest.raises(StartRefused, match="POSTGRES_URL names a file that is not there: a certificate"):
        roles.check(Settings(stores=StoreSettings(postgres_url=url)))
