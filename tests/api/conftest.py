"""A whole service in this process, over SQLite files of its own and the scripted engine."""

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

    def client(self, key: str | None = None, **options: Any) -> Client:
        return Client(self.app, key=key, **options)

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        return await self.client().request(method, path, body=body, headers={"x-admin-key": ADMIN_KEY})

    async def new_key(self, **facts: Any) -> dict[str, Any]:
        wanted = {"tenant_id": "acme", "user_id": "ann", "name": "test"} | facts
        created = await self.admin("POST", "/auth/create-key", wanted)
        assert created.status == 201, created.body
        answer: dict[str, Any] = created.json
        return answer

    async def with_key(self, **facts: Any) -> Client:
        return self.client((await self.new_key(**facts))["api_key"])


Start = Callable[..., Any]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return ENVIRON | {"DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
async def service(environ: dict[str, str]) -> AsyncIterator[Service]:
    settings = load(environ)
    prepare(settings)
    clock = ManualClock()
    async with running(create_app(settings, clock)) as app:
        yield Service(app, settings, clock)


@pytest.fixture
async def client(service: Service) -> Client:
    """A client with a key of the free tier."""
    return await service.with_key()
