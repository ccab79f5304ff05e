"""Every UsageStore gives the same answers.

`LONG=1` does 100,000 random operations a backend.
"""

import json
import os
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from msgspec.structs import asdict, replace
from sqlalchemy.ext.asyncio import AsyncEngine

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable, Unexpected
from aiservice.core.ids import uuid7
from aiservice.stores.databases import open_main, open_owner, transaction
from aiservice.stores.tables import ai_usage_logs, ai_usage_rollups, ai_usage_totals, usage_dead_letters
from aiservice.usage.memory import MemoryUsageStore
from aiservice.usage.model import NUMBER_MAX, GroupBy, UsageGroup, UsageRecord, UsageTotals
from aiservice.usage.port import UsageStore
from aiservice.usage.sql import SqlUsageStore
from tests.conformance.databases import DATABASES, FAULTS, EngineOn, SettingsOn, broken

NOON_US = 1_769_860_800_000_000  # 2026-01-31 12:00 UTC
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
KEY_A = "01977a2b-0000-7000-8000-00000000000a"
KEY_B = "01977a2b-0000-7000-8000-00000000000b"
OPERATIONS = 100_000 if os.environ.get("LONG") else 400
# After so many the store is emptied, so that the model has little to count.
EPISODE = 500


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


@dataclass
class Backend:
    """A store, the same one as an operator's command opens it, how to look at its dead letters as (JSON of the row,
    reason), and how to empty it."""

    store: UsageStore
    operator: UsageStore
    letters: Callable[[], Awaitable[list[tuple[str, str]]]]
    clear: Callable[[], Awaitable[None]]


def memory_backend() -> Backend:
    store = MemoryUsageStore()

    async def letters() -> list[tuple[str, str]]:
        return [(json.dumps(asdict(r)), reason) for r, reason in store.dead_letters.values()]

    async def clear() -> None:
        store.dead_letters.clear()
        store._rows.clear()

    return Backend(store, store, letters, clear)


def sql_backend(engine: AsyncEngine, owner: AsyncEngine) -> Backend:
    async def letters() -> list[tuple[str, str]]:
        async with transaction(owner, purpose="ledger") as connection:
            found = await connection.execute(sa.select(usage_dead_letters.c.record, usage_dead_letters.c.reason))
            return [(json.dumps(record), reason) for record, reason in found]

    async def clear() -> None:
        async with transaction(owner, purpose="ledger") as connection:
            for table in (ai_usage_logs, ai_usage_rollups, ai_usage_totals, usage_dead_letters):
                await connection.execute(table.delete())

    return Backend(SqlUsageStore(engine, ManualClock()), SqlUsageStore(owner, ManualClock()), letters, clear)


@pytest.fixture(params=["memory", *DATABASES])
async def backend(
    request: pytest.FixtureRequest, settings_on: SettingsOn, engine_on: EngineOn, stack: AsyncExitStack
) -> Backend:
    if request.param == "memory":
        return memory_backend()
    engine = await engine_on(request.param)
    # SQLite knows no roles, and its writers would wait for each other's connections.
    owner = engine if request.param == "sqlite" else open_owner(settings_on(request.param))
    stack.push_async_callback(owner.dispose)
    return sql_backend(engine, owner)


@pytest.fixture
def store(backend: Backend) -> UsageStore:
    return backend.store


@pytest.fixture
def operator(backend: Backend) -> UsageStore:
    """Whoever may change what is written once."""
    return backend.operator


async def everything(store: UsageStore, tenant_id: str = "one") -> list[UsageRecord]:
    return list(await store.page(tenant_id=tenant_id, api_key_id=None, cursor=None, limit=1_000))


async def test_rows_come_back_as_they_went_in(store):
    rows = [
        row(),
        row(NOON_US + 1_000, user_id="u", model_used=None, error_message="engines.failed", status_code=502),
        row(NOON_US + 2_001, response_cached=True, tokens_saved=9, prompt_tokens=NUMBER_MAX, cost_nano=0),
    ]

    assert await store.insert(rows) == 3

    assert await everything(store) == rows[::-1]
    assert all(type(found.response_cached) is bool for found in await everything(store))
    assert [found.total_tokens for found in await everything(store)] == [NUMBER_MAX + 4, 7, 7]


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


@pytest.mark.parametrize("group_by", ["day", "model", "endpoint", "key"])
@pytest.mark.parametrize("api_key_id", [None, KEY_A])
async def test_series_of_ragged_hours_are_the_sums_of_their_rows(store, group_by, api_key_id):
    """Bounds in the middle of hours, on them, within one hour and the wrong way round."""
    chance = random.Random(3)
    model = Model()
    rows = [random_row(chance, "one") for _ in range(120)]
    model.insert(rows)
    await store.insert(rows)
    moments = [NOON_US, NOON_US + HOUR_US - 1, NOON_US + HOUR_US, *(r.created_at_us for r in chance.sample(rows, 6))]
    for from_us in moments:
        for to_us in moments:
            span = {"api_key_id": api_key_id, "from_us": from_us, "to_us": to_us, "group_by": group_by}
            assert list(await store.series(tenant_id="one", **span)) == model.series(tenant_id="one", **span)


async def test_a_number_that_no_sum_could_hold_is_refused(store):
    with pytest.raises(Unexpected, match="above"):
        await store.insert([row(), row(cost_nano=NUMBER_MAX + 1)])

    await store.insert([row(cost_nano=NUMBER_MAX), row(cost_nano=NUMBER_MAX)])

    groups = await store.series(tenant_id="one", api_key_id=None, from_us=0, to_us=2 * NOON_US, group_by="day")
    assert [(group.requests, group.cost_nano) for group in groups] == [(2, 2 * NUMBER_MAX)]


async def test_absent_are_the_ids_with_neither_row_nor_letter(store):
    kept, buried, missing = row(), row(), row()
    await store.insert([kept])
    await store.bury(buried, "why")

    assert await store.absent([missing.id, kept.id, buried.id]) == [missing.id]
    assert await store.absent([]) == []
    assert not store.has_replica
    assert await store.unreplicated([missing.id]) == []


async def test_a_letter_becomes_a_row_once(store, operator):
    fits, there, odd = row(), row(), row(prompt_tokens=NUMBER_MAX + 1)
    await store.insert([there])
    for record in (fits, there, odd):
        await store.bury(record, f"refused {record.prompt_tokens}")

    letters = await store.letters(after_id=0, limit=2)
    letters = [*letters, *await store.letters(after_id=letters[-1].id, limit=9)]
    assert [letter.row() for letter in letters] == [fits, there, odd]
    assert [letter.reason for letter in letters] == ["refused 3", "refused 3", f"refused {NUMBER_MAX + 1}"]
    await operator.revive(letters[0])
    await operator.revive(letters[1])
    with pytest.raises(Unexpected):
        await operator.revive(letters[2])

    assert [letter.id for letter in await store.letters(after_id=0, limit=9)] == [letters[2].id]
    assert {r.id for r in await everything(store)} == {fits.id, there.id}
    assert (await store.totals()).requests == 2
    assert list(await store.differences(0)) == []


async def test_a_letter_that_is_no_row_stays(store, operator):
    await store.bury(row(status_code="two hundred"), "why")
    [letter] = await store.letters(after_id=0, limit=9)

    with pytest.raises(Unexpected, match="str"):
        await operator.revive(letter)

    assert await store.letters(after_id=0, limit=9) == [letter]


async def test_sums_agree_with_rows_before_and_after_they_are_made_anew(store, operator):
    rows = [random_row(random.Random(5), "one") for _ in range(50)]
    await store.insert(rows)
    before = await store.totals()

    assert list(await store.differences(0)) == []
    await operator.recompute(0)
    await operator.recompute(NOON_US)
    assert list(await store.differences(0)) == []
    assert await store.totals() == before


class Model:
    """What a store is, in the fewest words."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], UsageRecord] = {}
        self.buried: dict[str, UsageRecord] = {}

    def insert(self, rows: Iterable[UsageRecord]) -> int:
        before = len(self.rows)
        for one in rows:
            self.rows.setdefault((one.id, one.created_at_us), one)
        return len(self.rows) - before

    def of(self, tenant_id: str, api_key_id: str | None) -> list[UsageRecord]:
        return [r for r in self.rows.values() if r.tenant_id == tenant_id and api_key_id in (None, r.api_key_id)]

    def page(self, tenant_id: str, api_key_id: str | None, cursor: str | None, limit: int) -> list[UsageRecord]:
        below = [r for r in self.of(tenant_id, api_key_id) if cursor is None or r.id < cursor]
        return sorted(below, key=lambda r: r.id, reverse=True)[:limit]

    def series(
        self, *, tenant_id: str, api_key_id: str | None, from_us: int, to_us: int, group_by: GroupBy
    ) -> list[UsageGroup]:
        keys: dict[str, Callable[[UsageRecord], str]] = {
            "day": lambda r: f"2026-{'01-31' if r.created_at_us < NOON_US + DAY_US // 2 else '02-01'}",
            "model": lambda r: r.model_used or "",
            "endpoint": lambda r: r.endpoint,
            "key": lambda r: r.api_key_id,
        }
        groups: dict[str, list[UsageRecord]] = {}
        for r in self.of(tenant_id, api_key_id):
            if from_us <= r.created_at_us < to_us:
                groups.setdefault(keys[group_by](r), []).append(r)
        return [group_of(key, groups[key]) for key in sorted(groups)]


def group_of(key: str, rows: Sequence[UsageRecord]) -> UsageGroup:
    names = ("prompt_tokens", "completion_tokens", "response_cached", "cost_nano", "response_time_ms")
    return UsageGroup(key, len(rows), *[sum(getattr(r, name) for r in rows) for name in names])


def totals_of(rows: Sequence[UsageRecord]) -> UsageTotals:
    names = ("response_cached", "prompt_tokens", "completion_tokens", "tokens_saved", "response_time_ms")
    statuses = [r.status_code for r in rows]
    sums = [sum(getattr(r, name) for r in rows) for name in names]
    return UsageTotals(len(rows), *sums, {status: statuses.count(status) for status in sorted(set(statuses))})


def random_row(chance: random.Random, tenant_id: str) -> UsageRecord:
    """Within two days, near the bounds of hours more often than not."""
    hour_us = NOON_US + chance.randrange(30) * HOUR_US
    at_us = hour_us + chance.choice((0, 1, HOUR_US - 1, chance.randrange(HOUR_US)))
    return row(
        at_us,
        tenant_id=tenant_id,
        api_key_id=chance.choice((KEY_A, KEY_B)),
        endpoint=chance.choice(("/ai/generate", "/v1/embeddings")),
        model_used=chance.choice((None, "", "a", "b")),
        prompt_tokens=chance.randrange(1_000),
        completion_tokens=chance.randrange(1_000),
        tokens_saved=chance.choice((0, 7)),
        response_cached=chance.random() < 0.3,
        response_time_ms=chance.randrange(5_000),
        status_code=chance.choice((200, 200, 429, 500, 502)),
        cost_nano=chance.randrange(10**12),
    )


async def operate(backend: Backend, model: Model, chance: random.Random) -> None:
    """One random operation on both, whose answers must be the same."""
    store = backend.store
    tenant_id, api_key_id = chance.choice(("one", "two")), chance.choice((None, KEY_A, KEY_B))
    known = list(model.rows.values())[-200:]
    match chance.choices(("insert", "page", "series", "totals", "bury", "revive", "absent"), (6, 2, 5, 1, 1, 1, 1))[0]:
        case "insert":
            rows = [random_row(chance, tenant_id) for _ in range(chance.randrange(6))]
            rows += [replace(r, status_code=418) for r in chance.choices(known, k=chance.randrange(4))] if known else []
            chance.shuffle(rows)
            assert await store.insert(rows) == model.insert(rows)
        case "page":
            cursor = chance.choice((None, chance.choice(known).id)) if known else None
            limit = chance.randrange(1, 20)
            page = await store.page(tenant_id=tenant_id, api_key_id=api_key_id, cursor=cursor, limit=limit)
            assert list(page) == model.page(tenant_id, api_key_id, cursor, limit)
        case "series":
            bounds = [NOON_US + chance.randrange(31 * 4) * HOUR_US // 4 + chance.randrange(2) for _ in range(2)]
            span = {"api_key_id": api_key_id, "from_us": min(bounds), "to_us": max(bounds)}
            span["group_by"] = chance.choice(("day", "model", "endpoint", "key"))
            assert list(await store.series(tenant_id=tenant_id, **span)) == model.series(tenant_id=tenant_id, **span)
        case "totals":
            assert await store.totals() == totals_of(list(model.rows.values()))
        case "bury":
            record = random_row(chance, tenant_id)
            model.buried[record.id] = record
            await store.bury(record, "why")
            await store.bury(record, "again")
        case "revive":
            for letter in await store.letters(after_id=0, limit=2):
                model.insert([model.buried.pop(letter.row().id)])
                await backend.operator.revive(letter)
        case "absent":
            missing = row().id
            kept = [chance.choice(known).id] if known else []
            assert await store.absent([*kept, missing, *list(model.buried)[:3]]) == [missing]


@pytest.mark.timeout(3_600)
async def test_random_operations_agree_with_an_exact_model(backend):
    store, model = backend.store, Model()
    for number in range(OPERATIONS):
        if number % EPISODE == 0:
            await backend.clear()
            model = Model()
        try:
            await operate(backend, model, random.Random(number))
        except AssertionError as error:
            raise AssertionError(f"operation {number} differs") from error
    assert {letter.row().id for letter in await store.letters(after_id=0, limit=10**6)} == model.buried.keys()
    assert list(await store.differences(0)) == []


async def test_totals_are_over_all_tenants(store):
    await store.insert(
        [row(), row(tenant_id="two", status_code=429), row(response_cached=True, tokens_saved=5), row(status_code=502)]
    )

    totals = await store.totals()

    assert (totals.requests, totals.cached, totals.prompt_tokens, totals.completion_tokens) == (4, 1, 12, 16)
    assert (totals.tokens_saved, totals.response_time_ms_total) == (5, 40)
    assert totals.by_status == {200: 2, 429: 1, 502: 1}


async def test_a_dead_letter_is_written_once(backend):
    store = backend.store
    record = row(error_message="\ud800 \0")

    await store.bury(record, "r" * 600)
    await store.bury(record, "again")

    [(text, reason)] = await backend.letters()
    assert json.loads(text)["id"] == record.id
    assert json.loads(text)["error_message"] == "\ud800 \0"
    assert reason == "r" * 500


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("fields", [{"prompt_tokens": 1 << 70}, {"endpoint": "\ud800"}, {"status_code": None}])
async def test_sql_refuses_a_row_that_does_not_fit_and_the_whole_batch_with_it(engine_on, kind, fields):
    store = SqlUsageStore(await engine_on(kind), ManualClock())

    with pytest.raises(Unexpected) as caught:
        await store.insert([row(), row(**fields)])

    assert caught.value.detail
    assert await everything(store) == []
    assert await store.insert([row()]) == 1


@pytest.mark.stores
@pytest.mark.parametrize("fields", [{"endpoint": "e" * 65}, {"error_message": "\0"}, {"status_code": 1 << 15}])
async def test_postgresql_refuses_what_its_columns_are_too_narrow_for(engine_on, fields):
    store = SqlUsageStore(await engine_on("postgresql"), ManualClock())

    with pytest.raises(Unexpected):
        await store.insert([row(), row(**fields)])

    assert await everything(store) == []


@pytest.mark.parametrize("fault", FAULTS)
async def test_sql_without_its_database_is_unavailable(tmp_path, fault):
    engine = open_main(broken(fault, tmp_path))
    store = SqlUsageStore(engine, ManualClock())
    span = {"from_us": 0, "to_us": 1}

    for call in (
        store.insert([row()]),
        store.bury(row(), "why"),
        store.page(tenant_id="one", api_key_id=None, cursor=None, limit=1),
        store.series(tenant_id="one", api_key_id=None, group_by="day", **span),
        store.totals(),
        store.absent([KEY_A]),
        store.differences(0),
        store.recompute(0),
        store.letters(after_id=0, limit=1),
    ):
        with pytest.raises(StoreUnavailable):
            await call
    await engine.dispose()
