"""A PostgreSQL database of an owner and an application, at whatever revision a test wants it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from aiservice.core.settings import Settings
from aiservice.stores.databases import open_main, open_owner
from tests.servers.fixtures import settings_of
from tests.servers.postgres_server import PostgresServer, Urls

Sql = Callable[[str], list[list[str]]]


@pytest.fixture
def new_settings(postgres_urls: Urls, tmp_path: Path) -> Settings:
    """Settings on an empty database."""
    return settings_of(postgres_urls, tmp_path / "data")


@pytest.fixture
def sql(postgres_server: PostgresServer, request: pytest.FixtureRequest) -> Sql:
    """Says a statement as a superuser, for whom row level security does not count; gives rows of texts."""
    name = "new_settings" if "new_settings" in request.fixturenames else "postgres_settings"
    settings: Settings = request.getfixturevalue(name)
    database = (settings.stores.postgres_url or "").rpartition("/")[2]

    def sql(statement: str) -> list[list[str]]:
        return [line.split("|") for line in postgres_server.sql(statement, database=database).splitlines()]

    return sql


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def engine(postgres_settings: Settings, stack: AsyncExitStack) -> AsyncEngine:
    """As a worker has it."""
    engine = open_main(postgres_settings)
    stack.push_async_callback(engine.dispose)
    return engine


@pytest.fixture
async def owner(postgres_settings: Settings, stack: AsyncExitStack) -> AsyncEngine:
    engine = open_owner(postgres_settings)
    stack.push_async_callback(engine.dispose)
    return engine
