"""The workers of a test, stopped at its end: over one file, or over one Redis."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.unit.cache.shared import Sharing
from tests.unit.cache.workers import Workers


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Workers]:
    workers = Workers(tmp_path)
    yield workers
    await workers.stop()


@pytest.fixture
async def sharing(redis_url: str) -> AsyncIterator[Sharing]:
    async with AsyncExitStack() as stack:
        yield Sharing(redis_url, stack)
