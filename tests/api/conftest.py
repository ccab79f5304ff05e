"""A whole service in this process, over SQLite files of its own and the scripted engine."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aiservice.app import create_app, prepare
from aiservice.core.clock import ManualClock
from aiservice.core.settings import Settings, load
from tests.api.asgi_client import Client, running

ADMIN_KEY = "an admin key of more than thirty-two characters"
ENVIRON = {
    "ENVIRONMENT": "test",
    "ADMIN_KEY": ADMIN_KEY,
    "EMBEDDED_MODEL": "off",
    "OLLAMA_URL": "",
    "DEFAULT_MODEL": "echo",
    "USAGE_BATCH_INTERVAL_MS": "10",
}


@dataclass
class Service:
    """The application, its settings and its clock."""

    app: Any
    settings: Settings
    clock: ManualClock
    ready_key: dict[str, Any] | None = None

    def client(self, key: str | None = None, **options: Any) -> Client:
        return Client(self.app, key=key, **options)

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        return await self.client().request(method, path, body=body, headers={"x-admin-key": ADMIN_KEY})

    async def new_key(self, **facts: Any) -> dict[str, Any]:
        """A key of the free tier with these facts; the first one without any is there already."""
        if self.ready_key is not None and not facts:
            ready_key, self.ready_key = self.ready_key, None
            return ready_key
        wanted = {"tenant_id": "acme", "user_id": "ann", "name": "test"} | facts
        created = await self.admin("POST", "/auth/create-key", wanted)
        assert created.status == 201, created.body
        answer: dict[str, Any] = created.json
        return answer

    async def with_key(self, **facts: Any) -> Client:
        return self.client((await self.new_key(**facts))["api_key"])


Start = Callable[..., Any]


@dataclass(frozen=True)
class Template:
    """A folder as a first start leaves it, with one key: it is copied, for making both takes longer than most tests."""

    data_dir: Path
    key: dict[str, Any]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    data_dir = tmp_path_factory.mktemp("template") / "data"
    settings = load(ENVIRON | {"DATA_DIR": str(data_dir)})
    prepare(settings)
    return Template(data_dir, asyncio.run(_first_key(settings)))


async def _first_key(settings: Settings) -> dict[str, Any]:
    clock = ManualClock()
    async with running(create_app(settings, clock)) as app:
        return await Service(app, settings, clock).new_key()


@pytest.fixture
def environ(tmp_path: Path, template: Template) -> dict[str, str]:
    shutil.copytree(template.data_dir, tmp_path / "data")
    return ENVIRON | {"DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
async def service(environ: dict[str, str], template: Template) -> AsyncIterator[Service]:
    settings = load(environ)
    prepare(settings)
    clock = ManualClock()
    async with running(create_app(settings, clock)) as app:
        yield Service(app, settings, clock, template.key)


@pytest.fixture
async def client(service: Service) -> Client:
    """A client with a key of the free tier."""
    return await service.with_key()
