"""What the conformance tests run over: scripted engines, llama.cpp with a real model, a migrated main database."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from aiservice.core.settings import Settings
from aiservice.engines import Engine, EngineSpec
from aiservice.engines.llamacpp import SMOLLM2_NAME, embedded_model_path
from aiservice.engines.openai_compat import OpenAICompatEngine
from aiservice.stores.databases import MAIN_FILE, open_main
from aiservice.stores.migrate import upgrade
from tests.conformance.databases import DATABASES, EngineOn, SettingsOn
from tests.conformance.engines import (
    REAL,
    SCRIPTED,
    SERVER,
    LlamaCppServer,
    Subject,
    embedded_engine,
    scripted_subject,
)
from tests.settings import embedded_in


@pytest.fixture(scope="session")
def llamacpp_server() -> Iterator[LlamaCppServer]:
    model = embedded_model_path("smollm2")
    assert model is not None, "the model's package is not installed"
    with tempfile.TemporaryDirectory(prefix="ai") as folder:
        socket = f"{folder}/llamacpp.sock"
        command = [sys.executable, str(SERVER), str(model), socket]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield LlamaCppServer(process.stdout.readline().strip(), socket)
            finally:
                process.kill()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture(params=SCRIPTED)
async def scripted(request: pytest.FixtureRequest, stack: AsyncExitStack) -> Subject:
    return await scripted_subject(request.param, stack)


@pytest.fixture(params=[*SCRIPTED, *REAL])
async def subject(request: pytest.FixtureRequest, stack: AsyncExitStack) -> Subject:
    if request.param in SCRIPTED:
        return await scripted_subject(request.param, stack)
    server = request.getfixturevalue("llamacpp_server")
    if request.param == "llamacpp":
        engine: Engine = embedded_engine(server.socket)
    else:
        engine = OpenAICompatEngine(EngineSpec("openai", "openai_compat", server.url))
    stack.push_async_callback(engine.aclose)
    names = dict.fromkeys(("ordinary", "long", "slow", "slow_first", "slow_between", "schema", "tools"), SMOLLM2_NAME)
    # As the registry does at the start: the engine learns what kind of server it has.
    await engine.models()
    limits = {"first_token_s": 0.001, "between_tokens_s": 0.0005, "total_s": 0.15}
    # A slot is freed at the next token, and a token may take long while all cores are at work on other tests.
    return Subject(engine, server.count_active, **names, **limits, patience_s=1.0, slot_free_s=1.0)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A main database as a first start leaves it: it is copied, for migrating takes longer than most tests."""
    folder = tmp_path_factory.mktemp("migrated")
    upgrade(embedded_in(folder))
    return folder / MAIN_FILE


@pytest.fixture
def settings_on(request: pytest.FixtureRequest, tmp_path: Path) -> SettingsOn:
    """The settings of a fresh migrated database of a kind; asked twice, of the same one."""

    def settings_on(kind: str) -> Settings:
        if kind == "postgresql":
            found: Settings = request.getfixturevalue("postgres_settings")
            return found
        if not (tmp_path / MAIN_FILE).exists():
            shutil.copy(request.getfixturevalue("migrated"), tmp_path / MAIN_FILE)
        return embedded_in(tmp_path)

    return settings_on


@pytest.fixture
async def engine_on(settings_on: SettingsOn, stack: AsyncExitStack) -> EngineOn:
    """Opens a fresh migrated database of a kind, as workers do."""

    async def engine_on(kind: str) -> AsyncEngine:
        engine = open_main(settings_on(kind))
        stack.push_async_callback(engine.dispose)
        return engine

    return engine_on


@pytest.fixture(params=DATABASES)
def database_settings(request: pytest.FixtureRequest, settings_on: SettingsOn) -> Settings:
    return settings_on(request.param)


@pytest.fixture
async def database(database_settings: Settings, stack: AsyncExitStack) -> AsyncEngine:
    engine = open_main(database_settings)
    stack.push_async_callback(engine.dispose)
    return engine
