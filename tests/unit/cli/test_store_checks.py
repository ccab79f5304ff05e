"""What `aiservice doctor` says of PostgreSQL and Redis, and commands over them."""

import re
from pathlib import Path

import pytest

from aiservice.cli.finding import State
from aiservice.cli.store_checks import check_database, check_redis, check_replica
from aiservice.core.settings import Settings, load
from aiservice.stores.migrate import HEAD, downgrade
from tests.servers.postgres_server import PostgresServer, Urls
from tests.servers.redis_server import RedisCluster, RedisServer
from tests.unit.cli.commands import run

NOBODY = "127.0.0.1:9"


def settings_for(data_dir: Path, **environ: str) -> Settings:
    return load({"ENVIRONMENT": "test", "DATA_DIR": str(data_dir), **environ})


def on(urls: Urls) -> dict[str, str]:
    return {"POSTGRES_URL": urls.app, "POSTGRES_OWNER_URL": urls.owner}


def test_without_servers_nothing_is_asked(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    for check in (check_database, check_replica, check_redis):
        assert check(settings).state is State.OK


@pytest.mark.parametrize("url", [f"redis://:hidden@{NOBODY}/0", f"redis+cluster://:hidden@{NOBODY}"])
def test_a_redis_that_is_not_there(tmp_path: Path, url: str) -> None:
    found = check_redis(settings_for(tmp_path, REDIS_URL=url))

    assert found.state is State.MISSING
    assert found.found.startswith("The Redis for limits does not answer")
    assert found.mend
    assert "hidden" not in found.found


def test_a_database_and_a_replica_that_are_not_there(tmp_path: Path) -> None:
    url = f"postgresql://user:hidden@{NOBODY}/db"
    settings = settings_for(tmp_path, POSTGRES_URL=url, POSTGRES_REPLICA_URL=url)

    found = check_database(settings)
    assert found.state is State.MISSING
    assert "cannot be reached" in found.found
    # The service reads the database itself meanwhile.
    assert check_replica(settings).state is State.OPTIONAL
    assert "hidden" not in found.found + check_replica(settings).found


@pytest.mark.stores
def test_a_database_of_each_form(postgres_settings: Settings) -> None:
    found = check_database(postgres_settings)
    assert (found.state, found.found.partition(" as ")[2]) == (State.OK, f"ai_app, at revision {HEAD}")
    assert found.found.startswith("PostgreSQL 1")

    downgrade(postgres_settings, "0003")
    found = check_database(postgres_settings)
    assert (found.state, found.mend) == (State.MISSING, "aiservice migrate")

    downgrade(postgres_settings)
    assert check_database(postgres_settings).found.endswith("none yet; the first start makes it")


@pytest.mark.stores
def test_a_role_that_sees_everything(postgres_urls: Urls, tmp_path: Path) -> None:
    wrong = {"POSTGRES_URL": postgres_urls.superuser}

    found = check_database(settings_for(tmp_path, **wrong))
    assert (found.state, "SUPERUSER" in found.found) == (State.MISSING, True)
    developing = settings_for(tmp_path, **wrong, ENVIRONMENT="development")
    assert check_database(developing).state is State.OPTIONAL


@pytest.mark.stores
def test_a_replica_and_what_is_none(postgres_server: PostgresServer, postgres_urls: Urls, tmp_path: Path) -> None:
    found = check_replica(settings_for(tmp_path, **on(postgres_urls), POSTGRES_REPLICA_URL=postgres_urls.app))
    assert (found.state, "no standby" in found.found) == (State.OPTIONAL, True)

    with postgres_server.replica() as standby:
        url = standby.urls(postgres_urls.database).app
        found = check_replica(settings_for(tmp_path, **on(postgres_urls), POSTGRES_REPLICA_URL=url))
        assert (found.state, found.found.endswith("as ai_app")) == (State.OK, True)


@pytest.mark.stores
def test_a_redis_for_limits_must_not_drop_keys(redis_binary: Path, tmp_path: Path) -> None:
    with RedisServer.start(redis_binary) as redis:
        settings = settings_for(tmp_path, REDIS_URL=redis.url)
        found = check_redis(settings)
        assert (found.state, found.found.endswith("for the cache")) == (State.OK, True)

        redis.call("config", "set", "maxmemory-policy", "allkeys-lfu")
        assert check_redis(settings).state is State.OK, "without a maxmemory nothing is dropped"
        redis.call("config", "set", "maxmemory", "100mb")
        found = check_redis(settings)
        assert (found.state, "allkeys-lfu" in found.found) == (State.MISSING, True)
        assert "REDIS_CACHE_URL" in found.mend


@pytest.mark.stores
def test_a_cluster(redis_cluster: RedisCluster, tmp_path: Path) -> None:
    assert check_redis(settings_for(tmp_path, REDIS_URL=redis_cluster.url)).state is State.OK


@pytest.mark.stores
def test_commands_work_over_postgresql(postgres_urls: Urls, redis_url: str, tmp_path: Path) -> None:
    """All that open the database: migrate, keys, usage, reconcile, doctor."""
    stores = {**on(postgres_urls), "REDIS_URL": redis_url, "PORT": "0"}

    def ran(*words: str) -> str:
        done = run(*words, data_dir=tmp_path, **stores)
        assert done.exit_code == 0, (words, done.output, done.exception)
        return done.stdout

    assert run("migrate", "--check", data_dir=tmp_path, **stores).exit_code == 1
    nothing = run("usage", "reconcile", data_dir=tmp_path, **stores)
    assert (nothing.exit_code, "database of POSTGRES_URL" in nothing.stderr) == (2, True)
    assert f"now at {HEAD}" in ran("migrate")
    assert "nothing to do" in ran("migrate")
    ran("migrate", "--check")
    key = ran("keys", "create", "--tenant", "acme", "--name", "laptop").strip()
    assert key.startswith("vpn_")
    assert "laptop" in ran("keys", "list", "--tenant", "acme")
    assert run("keys", "audit", "--known", "-", data_dir=tmp_path, stdin=key, **stores).exit_code == 0
    (key_id,) = re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", ran("keys", "list"))
    ran("keys", "rotate", key_id, "--overlap", "60")
    ran("keys", "revoke", key_id)
    assert "revoked" in ran("keys", "list")
    assert "0 requests" in ran("usage")
    assert "agrees with itself" in ran("usage", "reconcile")
    assert "agrees with itself" in ran("usage", "reconcile", "--repair")
    assert "Everything that is required is there." in ran("doctor")
    assert not (tmp_path / "main.db").exists()
