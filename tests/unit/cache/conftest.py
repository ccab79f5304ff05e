"""The workers of a test, stopped at its end."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.cache.workers import Workers


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[Workers]:
    workers = Workers(tmp_path)
    yield workers
    await workers.stop()
