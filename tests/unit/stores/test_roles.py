"""What a start refuses of a server, its roles and its addresses, and in which words."""

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from aiservice.app import prepare
from aiservice.core.errors import StartRefused
from aiservice.core.settings import ServerSettings, Settings, StoreSettings
from aiservice.stores import roles
from aiservice.stores.migrate import is_current, revision_of, upgrade
from aiservice.stores.roles import GRANTS
from aiservice.stores.tables import metadata
from tests.servers.postgres_server import APP, OWNER, PASSWORDS, PostgresServer, Urls

stores = pytest.mark.stores


def settings_with(url: str, tmp_path: Path, *, environment: str = "test", **urls: str) -> Settings:
    server = ServerSettings(environment=environment, data_dir=tmp_path / "data")  # type: ignore[arg-type]
    return Settings(server=server, stores=StoreSettings(postgres_url=url, **urls))


def test_every_table_says_what_the_application_may_do_with_it():
    assert set(GRANTS) == set(metadata.tables)
    assert set(GRANTS["audit_log"]) == {"select", "insert"}


def test_the_embedded_default_has_nothing_to_check():
    assert roles.faults(Settings()) == []


@stores
def test_a_role_without_powers_is_fit(postgres_urls: Urls, tmp_path: Path):
    assert roles.faults(settings_with(postgres_urls.app, tmp_path)) == []
    assert roles.faults(settings_with(postgres_urls.owner, tmp_path)) == []


@stores
@pytest.mark.parametrize("environment", ["production", "test"])
def test_a_superuser_is_refused_before_anything_is_made(postgres_urls: Urls, tmp_path: Path, environment: str):
    settings = settings_with(postgres_urls.superuser, tmp_path, environment=environment)

    with pytest.raises(StartRefused, match=r"superuser has SUPERUSER.*NOSUPERUSER NOBYPASSRLS"):
        prepare(settings)

    assert revision_of(settings) is None


@stores
def test_a_role_that_bypasses_row_level_security_is_refused(
    postgres_server: PostgresServer, postgres_urls: Urls, tmp_path: Path
):
    postgres_server.sql("create role ai_bypass login bypassrls password 'kept-by-the-tests-3'")
    try:
        url = postgres_urls.app.replace(f"{APP}:{PASSWORDS[APP]}", "ai_bypass:kept-by-the-tests-3")
        with pytest.raises(StartRefused, match="ai_bypass has BYPASSRLS"):
            roles.check(settings_with(url, tmp_path))
        # Also where only the standby is read with it.
        with pytest.raises(StartRefused, match="ai_bypass has BYPASSRLS"):
            roles.check(settings_with(postgres_urls.app, tmp_path, postgres_replica_url=url))
    finally:
        postgres_server.sql("drop role ai_bypass")


@stores
def test_in_development_a_superuser_is_warned_of(postgres_urls: Urls, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    settings = settings_with(postgres_urls.superuser, tmp_path, environment="development")

    with caplog.at_level(logging.WARNING, "aiservice"):
        prepare(settings)

    assert "superuser has SUPERUSER" in caplog.text
    assert is_current(settings)


@stores
def test_an_old_server_is_refused(postgres_server: PostgresServer, postgres_urls: Urls, tmp_path: Path):
    """A server of this version that says it is an older one."""
    lie = (
        "create schema lies; create function lies.current_setting(text) returns text language sql as "
        "$$ select case $1 when 'server_version_num' then '140012' else pg_catalog.current_setting($1) end $$; "
        f"grant usage on schema lies to {APP}; "
        f'alter role {APP} in database "{postgres_urls.database}" set search_path = lies, pg_catalog, public'
    )
    postgres_server.sql(lie, database=postgres_urls.database)

    with pytest.raises(StartRefused, match="PostgreSQL 14 is too old; the service takes 15 or newer"):
        roles.check(settings_with(postgres_urls.app, tmp_path))


@stores
def test_a_database_of_another_encoding_is_refused(postgres_server: PostgresServer, tmp_path: Path):
    postgres_server.sql(f"create database narrow owner {OWNER} template template0 encoding 'LATIN1' locale 'C'")
    try:
        with pytest.raises(StartRefused, match="encoding LATIN1"):
            roles.check(settings_with(postgres_server.url(APP, "narrow"), tmp_path))
    finally:
        postgres_server.drop_database("narrow")


def test_a_server_that_is_not_there_is_said_in_one_sentence(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"postgresql://ai_app:very-secret@127.0.0.1:{port}/service?sslmode=disable"

    for ask in (prepare, is_current, revision_of, upgrade):
        with pytest.raises(StartRefused) as caught:
            ask(settings_with(url, tmp_path))
        assert caught.value.public.startswith(f"PostgreSQL at 127.0.0.1:{port}/service cannot be reached (")
        assert caught.value.public.endswith("); start it, or correct POSTGRES_URL.")
        assert "secret" not in caught.value.public
        assert "\n" not in caught.value.public


def test_the_setting_at_fault_is_the_owner_s_where_that_is_the_one(tmp_path: Path):
    other = "postgresql://ai_owner:very-secret@127.0.0.1:1/service"
    settings = settings_with("postgresql://u:p@127.0.0.1:2/x", tmp_path, postgres_owner_url=other)

    with pytest.raises(StartRefused, match=r"127\.0\.0\.1:1/service cannot be reached .* correct POSTGRES_OWNER_URL"):
        upgrade(settings)


@pytest.mark.parametrize("url", ["postgresql://u:p@127.0.0.1:port/x", "postgresql://u:very/secret@127.0.0.1/x"])
def test_an_address_that_is_none_is_refused_without_its_password(tmp_path: Path, url: str):
    with pytest.raises(StartRefused, match="POSTGRES_URL cannot be read; it takes postgresql://") as caught:
        upgrade(settings_with(url, tmp_path))
    assert "secret" not in caught.value.public


@stores
def test_a_wrong_password_and_a_missing_database_are_told_apart(postgres_urls: Urls, tmp_path: Path):
    wrong = postgres_urls.app.replace(PASSWORDS[APP], "another-secret")
    with pytest.raises(StartRefused, match=r"does not let us in \(password authentication failed") as caught:
        roles.check(settings_with(wrong, tmp_path))
    assert "another-secret" not in caught.value.public

    with pytest.raises(StartRefused, match='database "nothing" does not exist; make it, or correct POSTGRES_URL'):
        roles.check(settings_with(postgres_urls.app.replace(postgres_urls.database, "nothing"), tmp_path))


@stores
def test_an_owner_who_may_not_make_tables_is_refused(postgres_urls: Urls, tmp_path: Path):
    with pytest.raises(StartRefused, match=r"\(POSTGRES_URL\) cannot be used: permission denied for schema public"):
        upgrade(settings_with(postgres_urls.app, tmp_path))


@stores
def test_the_command_ends_with_the_sentence(tmp_path: Path):
    environ = {**os.environ, "ENVIRONMENT": "test", "DATA_DIR": str(tmp_path / "data")}
    environ["POSTGRES_URL"] = "postgresql://ai_app:very-secret@127.0.0.1:1/service"

    done = subprocess.run(
        [sys.executable, "-m", "aiservice", "migrate"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert "PostgreSQL at 127.0.0.1:1/service cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stdout + done.stderr
