"""What the statements read, and that sums are of the rows that were new."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from aiservice.core.clock import ManualClock
from aiservice.core.ids import uuid7
from aiservice.stores.databases import MAIN_FILE, main_url, open_main
from aiservice.stores.tables import metadata
from aiservice.usage.forms import ROWS_AT_ONCE
from aiservice.usage.sql import SqlUsageStore
from aiservice.usage.sums import HOUR_US
from tests.settings import embedded_in

NOON_US = 1_769_860_800_000_000
SPAN = {"tenant_id": "tenant-1", "from_us": NOON_US, "to_us": NOON_US + 3 * HOUR_US}


@pytest.fixture
async def engine(tmp_path):
    plain = sa.create_engine(main_url(tmp_path))
    metadata.create_all(plain)
    plain.dispose()
    engine = open_main(embedded_in(tmp_path))
    yield engine
    await engine.dispose()


@pytest.fixture
def store(engine) -> SqlUsageStore:
    return SqlUsageStore(engine, ManualClock())


@pytest.fixture
def said(engine) -> list[tuple[str, tuple[object, ...]]]:
    """The statements and their values, as the driver got them."""
    found: list[tuple[str, tuple[object, ...]]] = []

    @sa.event.listens_for(engine.sync_engine, "before_cursor_execute")
    def note(_connection, _cursor, statement, values, *_rest):
        found.append((statement, values))

    return found


def steps(data_dir: Path, statement: str, values: tuple[object, ...]) -> int:
    """How many steps SQLite's machine takes for a statement: the same number for the same work."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    with closing(sqlite3.connect(data_dir / MAIN_FILE)) as connection:
        connection.set_progress_handler(step, 1)
        connection.execute(statement, values).fetchall()
    return count


@pytest.mark.parametrize("api_key_id", [None, "01977a2b-0000-7000-8000-000000000001"])
@pytest.mark.parametrize("group_by", ["day", "model", "endpoint", "key"])
async def test_a_series_of_whole_hours_and_the_totals_take_the_same_steps_for_any_number_of_rows(
    tmp_path, store, said, make_record, api_key_id, group_by
):
    counts = []
    for rows in (30, 3_000):
        await store.insert([make_record(created_at_us=NOON_US + n % 3 * HOUR_US) for n in range(rows)])
        said.clear()
        [group] = await store.series(api_key_id=api_key_id, group_by=group_by, **SPAN)
        total = await store.totals()
        counts.append([steps(tmp_path, *each) for each in said])

    assert group.requests == total.requests == 3_030
    assert counts[0] == counts[1]
    assert len(counts[0]) == 2


@pytest.mark.parametrize("api_key_id", [None, "01977a2b-0000-7000-8000-000000000001"])
async def test_ragged_hours_read_their_own_rows_alone(tmp_path, store, said, make_record, api_key_id):
    span = SPAN | {"from_us": NOON_US + 1, "to_us": NOON_US + 3 * HOUR_US - 1}
    counts = []
    for _ in range(2):
        at_us = [NOON_US + HOUR_US + n * 1_000 for n in range(3_000)] if counts else [NOON_US, NOON_US + 2 * HOUR_US]
        await store.insert([make_record(created_at_us=us) for us in at_us])
        said.clear()
        await store.series(api_key_id=api_key_id, group_by="day", **span)
        counts.append(steps(tmp_path, *said[0]))

    # The hour between got its rollup with the rows.
    assert counts[1] - counts[0] < 100


async def test_of_a_batch_that_is_partly_there_the_new_rows_alone_are_summed(store, make_record):
    rows = [make_record() for _ in range(ROWS_AT_ONCE + 20)]
    assert await store.insert(rows[::2]) == len(rows) // 2

    assert await store.insert([*rows, *rows[:7]]) == len(rows) // 2

    assert (await store.totals()).requests == len(rows)
    assert await store.differences(0) == []


async def test_many_sums_at_once(store, make_record):
    rows = [make_record(created_at_us=NOON_US + n * HOUR_US, id=uuid7(n)) for n in range(ROWS_AT_ONCE * 2 + 1)]

    await store.insert(rows)

    assert await store.differences(0) == []


async def test_a_sum_that_was_changed_is_found_and_made_right(tmp_path, store, make_record):
    await store.insert([make_record(created_at_us=NOON_US + n * HOUR_US) for n in range(3)])
    with closing(sqlite3.connect(tmp_path / MAIN_FILE)) as connection, connection:
        connection.execute("update ai_usage_rollups set prompt_tokens = 30 where hour = ?", (NOON_US,))
        connection.execute("delete from ai_usage_rollups where hour = ?", (NOON_US + HOUR_US,))
        connection.execute("update ai_usage_totals set requests = 4")

    first, second, total = await store.differences(NOON_US + 5)

    assert (first.table, first.hour_us, first.delta) == ("ai_usage_rollups", NOON_US, {"prompt_tokens": 4})
    assert (first.tenant_id, first.endpoint, first.model, first.status_code) == (
        "tenant-1",
        "/ai/generate",
        "smollm2:135m",
        200,
    )
    assert (second.hour_us, second.delta["requests"]) == (NOON_US + HOUR_US, 1)
    assert (total.table, total.status_code, total.delta["requests"]) == ("ai_usage_totals", 200, -2)
    await store.recompute(NOON_US + HOUR_US)
    assert [one.hour_us for one in await store.differences(0)] == [NOON_US]
    await store.recompute(NOON_US)
    assert await store.differences(0) == []
    assert (await store.totals()).requests == 3
