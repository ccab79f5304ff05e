"""Every UsageStore gives the same answers."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable, Unexpected
from aiservice.core.ids import uuid7
from aiservice.stores.databases import main_url, open_main
from aiservice.stores.tables import metadata, usage_dead_letters
from aiservice.usage.memory import MemoryUsageStore
from aiservice.usage.model import UsageGroup, UsageRecord
from aiservice.usage.port import UsageStore
from aiservice.usage.sql import SqlUsageStore

NOON_US = 1_769_860_800_000_000  # 2026-01-31 12:00 UTC
DAY_US = 86_400_000_000
KEY_A = "01977a2b-0000-7000-8000-00000000000a"
KEY_B = "01977a2b-0000-7000-8000-00000000000b"
Letters = Callable[[], list[tuple[str, str]]]


def row(at_us: int = NOON_US, **fields: object) -> UsageRecord:
    record = UsageRecord(
        id=uuid7(at_us),
        api_key_id=KEY_A,
        tenant_id="one",
        user_id=None,
        endpoint="/ai/generate",
        model_used="m",
        prompt_tokens=3,
        completion_tokens=4,
        tokens_saved=0,
        response_cached=False,
        response_time_ms=10,
        status_code=200,
        error_message=None,
        created_at_us=at_us,
        cost_nano=7,
    )
    return replace(record, **fields)


def create_tables(data_dir: Path) -> sa.Engine:
    engine = sa.create_engine(main_url(data_dir))
    metadata.create_all(engine)
    return engine


@pytest.fixture(params=["memory", "sql-sqlite"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[UsageStore, Letters]]:
    """A store, and how to look at its dead letters as (JSON of the row, reason)."""
    if request.param == "memory":
        memory = MemoryUsageStore()
        yield memory, lambda: [(json.dumps(asdict(r)), reason) for r, reason in memory.dead_letters.values()]
        return
    plain = create_tables(tmp_path)
    engine = open_main(tmp_path)

    def letters() -> list[tuple[str, str]]:
        with plain.begin() as connection:
            found = connection.execute(sa.select(usage_dead_letters.c.record, usage_dead_letters.c.reason))
            return [(json.dumps(record), reason) for record, reason in found]

    yield SqlUsageStore(engine, ManualClock()), letters
    await engine.dispose()
    plain.dispose()


@pytest.fixture
def store(backend: tuple[UsageStore, Letters]) -> UsageStore:
    return backend[0]


async def everything(store: UsageStore, tenant_id: str = "one") -> list[UsageRecord]:
    return list(await store.page(tenant_id=tenant_id, api_key_id=None, cursor=None, limit=1_000))


async def test_rows_come_back_as_they_went_in(store):
    rows = [
        row(),
        row(NOON_US + 1_000, user_id="u", model_used=None, error_message="engines.failed", status_code=502),
        row(NOON_US + 2_001, response_cached=True, tokens_saved=9, prompt_tokens=2**62, cost_nano=0),
    ]

    assert await store.insert(rows) == 3

    assert await everything(store) == rows[::-1]
    assert all(type(found.response_cached) is bool for found in await everything(store))


async def test_rows_that_are_there_are_skipped_and_not_counted(store):
    first, second, third = row(), row(NOON_US + 1_000), row(NOON_US + 2_000)
    await store.insert([first, second])

    assert await store.insert([first, second]) == 0
    assert await store.insert([replace(first, status_code=500), third, third]) == 1
    assert await everything(store) == [third, second, first]


async def test_no_rows_are_no_rows(store):
    assert await everything(store) == []
    assert (await store.totals()).requests == 0
    assert (await store.totals()).by_status == {}


async def test_pages_go_down_the_ids(store):
    rows = [row(NOON_US + n * 1_000) for n in range(7)]
    await store.insert(rows)
    pages, cursor = [], None
    while page := await store.page(tenant_id="one", api_key_id=None, cursor=cursor, limit=3):
        pages.append([found.id for found in page])
        cursor = page[-1].id

    assert [len(page) for page in pages] == [3, 3, 1]
    assert [id for page in pages for id in page] == [r.id for r in reversed(rows)]


async def test_tenants_and_keys_are_apart(store):
    mine, other_key, other_tenant = row(), row(api_key_id=KEY_B), row(tenant_id="two")
    await store.insert([mine, other_key, other_tenant])
    span = {"from_us": 0, "to_us": 2 * NOON_US}

    assert {r.id for r in await everything(store)} == {mine.id, other_key.id}
    assert await store.page(tenant_id="one", api_key_id=KEY_B, cursor=None, limit=9) == [other_key]
    assert await store.page(tenant_id="two", api_key_id=KEY_B, cursor=None, limit=9) == []
    groups = await store.series(tenant_id="one", api_key_id=None, group_by="key", **span)
    assert [(group.key, group.requests) for group in groups] == [(KEY_A, 1), (KEY_B, 1)]
    groups = await store.series(tenant_id="one", api_key_id=KEY_A, group_by="endpoint", **span)
    assert [(group.key, group.requests) for group in groups] == [("/ai/generate", 1)]


async def test_series_by_day_are_in_utc_and_half_open(store):
    midnight_us = NOON_US + DAY_US // 2
    await store.insert([row(midnight_us - 1), row(midnight_us, response_cached=True), row(midnight_us + DAY_US)])

    groups = await store.series(
        tenant_id="one", api_key_id=None, from_us=midnight_us - 1, to_us=midnight_us + DAY_US, group_by="day"
    )

    assert list(groups) == [
        UsageGroup("2026-01-31", 1, 3, 4, 0, 7, 10),
        UsageGroup("2026-02-01", 1, 3, 4, 1, 7, 10),
    ]


async def test_series_by_model_sum_up(store):
    await store.insert([row(model_used="b"), row(model_used=None), row(model_used="b"), row(model_used="a")])

    groups = await store.series(tenant_id="one", api_key_id=None, from_us=0, to_us=2 * NOON_US, group_by="model")

    assert list(groups) == [
        UsageGroup("", 1, 3, 4, 0, 7, 10),
        UsageGroup("a", 1, 3, 4, 0, 7, 10),
        UsageGroup("b", 2, 6, 8, 0, 14, 20),
    ]


async def test_totals_are_over_all_tenants(store):
    await store.insert(
        [row(), row(tenant_id="two", status_code=429), row(response_cached=True, tokens_saved=5), row(status_code=502)]
    )

    totals = await store.totals()

    assert (totals.requests, totals.cached, totals.prompt_tokens, totals.completion_tokens) == (4, 1, 12, 16)
    assert (totals.tokens_saved, totals.response_time_ms_total) == (5, 40)
    assert totals.by_status == {200: 2, 429: 1, 502: 1}


async def test_a_dead_letter_is_written_once(backend):
    store, letters = backend
    record = row(error_message="\ud800 \0")

    await store.bury(record, "r" * 600)
    await store.bury(record, "again")

    [(text, reason)] = letters()
    assert json.loads(text)["id"] == record.id
    assert json.loads(text)["error_message"] == "\ud800 \0"
    assert reason == "r" * 500


@pytest.mark.parametrize("fields", [{"prompt_tokens": 1 << 70}, {"endpoint": "\ud800"}, {"status_code": None}])
async def test_sql_refuses_a_row_that_does_not_fit_and_the_whole_batch_with_it(tmp_path, fields):
    create_tables(tmp_path).dispose()
    engine = open_main(tmp_path)
    store = SqlUsageStore(engine, ManualClock())

    with pytest.raises(Unexpected) as caught:
        await store.insert([row(), row(**fields)])

    assert caught.value.detail
    assert await everything(store) == []
    await engine.dispose()


async def test_sql_without_its_database_is_unavailable(tmp_path):
    engine = open_main(tmp_path)
    store = SqlUsageStore(engine, ManualClock())
    span = {"from_us": 0, "to_us": 1}

    for call in (
        store.insert([row()]),
        store.bury(row(), "why"),
        store.page(tenant_id="one", api_key_id=None, cursor=None, limit=1),
        store.series(tenant_id="one", api_key_id=None, group_by="day", **span),
        store.totals(),
    ):
        with pytest.raises(StoreUnavailable):
            await call
    await engine.dispose()
