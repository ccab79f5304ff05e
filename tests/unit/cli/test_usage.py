import asyncio

import pytest

from aiservice.app import open_usage, prepare
from aiservice.core.clock import SystemClock
from aiservice.core.ids import uuid7
from aiservice.core.settings import load
from aiservice.usage import UsageRecord
from tests.unit.cli.commands import run


@pytest.fixture
def data_dir(tmp_path):
    """Two tenants, three requests."""
    settings = load({"ENVIRONMENT": "test", "DATA_DIR": str(tmp_path)})
    prepare(settings)
    asyncio.run(insert(settings))
    return tmp_path


async def insert(settings) -> None:
    rows = [record("acme", "m1", 10), record("acme", "m2", 20), record("globex", "m1", 1_000)]
    async with open_usage(settings) as usage:
        await usage.insert(rows)


def record(tenant: str, model: str, tokens: int) -> UsageRecord:
    now_us = SystemClock().now_us()
    return UsageRecord(
        id=uuid7(now_us),
        api_key_id=uuid7(now_us),
        tenant_id=tenant,
        user_id=None,
        endpoint="/ai/generate",
        model_used=model,
        prompt_tokens=tokens,
        completion_tokens=2 * tokens,
        tokens_saved=0,
        response_cached=False,
        response_time_ms=50,
        status_code=200,
        error_message=None,
        created_at_us=now_us,
    )


def test_a_tenant_by_model(data_dir):
    shown = run("usage", "--tenant", "acme", "--by", "model", data_dir=data_dir).stdout

    rows = [line.split() for line in shown.splitlines()]
    assert ["m1", "1", "0", "10", "20", "50"] in rows
    assert ["m2", "1", "0", "20", "40", "50"] in rows
    assert "All tenants, all time: 3 requests (200: 3), 3,090 tokens" in shown


def test_a_tenant_by_day(data_dir):
    shown = run("usage", "--tenant", "acme", data_dir=data_dir).stdout

    assert [line.split()[1:] for line in shown.splitlines() if line.strip().startswith("20")] == [
        ["2", "0", "30", "60", "50"]
    ]


def test_a_tenant_without_usage(data_dir):
    shown = run("usage", "--tenant", "nobody", data_dir=data_dir)

    assert shown.exit_code == 0
    assert "Tenant nobody, last 30 days:" in shown.stdout
