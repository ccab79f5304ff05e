"""`aiservice usage` and `aiservice usage reconcile` over a database and a spool of their own."""

import asyncio
import os
import sqlite3
from contextlib import closing

import pytest

from aiservice.app import SPOOL_FOLDER, open_usage, prepare
from aiservice.core.clock import SystemClock
from aiservice.core.ids import uuid7
from aiservice.core.settings import load
from aiservice.usage import Spool, SpoolShape, UsageRecord, UsageStart, folders
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


def execute(data_dir, *statements: str) -> None:
    with closing(sqlite3.connect(data_dir / "main.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def open_spool(data_dir) -> Spool:
    return Spool(data_dir / SPOOL_FOLDER, clock=SystemClock(), shape=SpoolShape(reserve_bytes=4_096))


def bury(data_dir, *records: UsageRecord) -> None:
    async def work() -> None:
        async with open_usage(load({"ENVIRONMENT": "test", "DATA_DIR": str(data_dir)})) as usage:
            for one in records:
                await usage.bury(one, "it does not fit")

    asyncio.run(work())


def test_reconcile_says_that_all_agrees(data_dir):
    shown = run("usage", "reconcile", data_dir=data_dir)

    assert shown.exit_code == 0
    assert shown.stdout == "The ledger agrees with itself; records waiting in spools: 0, requests running: 0.\n"


def test_reconcile_of_a_folder_without_a_ledger_is_refused(tmp_path):
    shown = run("usage", "reconcile", data_dir=tmp_path / "mistyped")

    assert shown.exit_code == 2
    assert "There is no ledger in DATA_DIR" in shown.stderr
    assert not (tmp_path / "mistyped").exists()


def test_reconcile_while_a_worker_runs(data_dir):
    spool = open_spool(data_dir)
    one = record("acme", "m1", 5)
    spool.append_start(UsageStart(one.id, one.api_key_id, "acme", None, "/ai/generate", "m1", 5, one.created_at_us))
    spool.append_end(record("acme", "m1", 5))

    shown = run("usage", "reconcile", "--days", "2", data_dir=data_dir)

    assert shown.exit_code == 0
    assert [spool.worker_id, "alive", "1", "1", "1", "none"] in [line.split() for line in shown.stdout.splitlines()]
    assert "records waiting in spools: 1, requests running: 1." in shown.stdout


def test_reconcile_says_what_differs_and_ends_with_1(data_dir):
    execute(
        data_dir,
        "update ai_usage_rollups set requests = 5, prompt_tokens = 9 where tenant_id = 'globex'",
        "delete from ai_usage_totals",
    )
    bury(data_dir, record("acme", "m1", 5))
    spool = open_spool(data_dir)
    folders.set_aside(spool.current.path, spool.root)
    os.close(spool._lock)

    shown = run("usage", "reconcile", data_dir=data_dir)

    assert shown.exit_code == 1
    [rollup] = [line for line in shown.stdout.splitlines() if line.startswith(" ai_usage_rollups")]
    assert "globex" in rollup
    assert rollup.rstrip().endswith("requests -4, prompt_tokens +991")
    assert "it does not fit" in shown.stdout
    assert f"{spool.worker_id}-0000000001.spool" in shown.stdout
    assert "The ledger differs: sums 2, faults in spools 0, damaged files set aside 1, dead letters 1;" in shown.stdout


def test_reconcile_repairs_sums_and_letters(data_dir):
    execute(data_dir, "delete from ai_usage_rollups", "update ai_usage_totals set requests = 7")
    bury(data_dir, record("acme", "m3", 5))

    shown = run("usage", "reconcile", "--repair", data_dir=data_dir)

    assert shown.exit_code == 0
    assert "Sums made right: 4; dead letters that became rows: 1, refused again: 0." in shown.stdout
    assert "The ledger agrees with itself" in shown.stdout
    assert "All tenants, all time: 4 requests" in run("usage", data_dir=data_dir).stdout


def test_a_letter_that_is_refused_again_stays(data_dir):
    bury(data_dir, record("acme", "m3", 2**60))

    shown = run("usage", "reconcile", "--repair", data_dir=data_dir)

    assert shown.exit_code == 1
    assert "dead letters that became rows: 0, refused again: 1." in shown.stdout
