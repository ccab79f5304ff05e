"""Every ResponseStore gives the same answers. A new backend is one more row of `store`."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.core.ids import uuid7
from aiservice.core.settings import Settings
from aiservice.gateway.responses import Ending, ResponseStore, StoredResponse
from aiservice.gateway.responses.memory import MemoryResponseStore
from aiservice.gateway.responses.port import LEASE_S
from aiservice.gateway.responses.sql import SqlResponseStore
from aiservice.stores.databases import open_main
from tests.conformance.databases import DATABASES, FAULTS, EngineOn, broken, refuse_updates

NOW_US = 1_750_000_000_000_000
TTL_S = 86_400
ENDING = Ending("completed", b'{"whole"}', b"chunks")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_US)


@pytest.fixture(params=["memory", *DATABASES])
async def store(request: pytest.FixtureRequest, engine_on: EngineOn, clock: ManualClock) -> ResponseStore:
    if request.param == "memory":
        return MemoryResponseStore(clock)
    return SqlResponseStore(await engine_on(request.param), clock)


def response_of(now_us: int = NOW_US, **facts) -> StoredResponse:
    made = StoredResponse(
        id=uuid7(now_us),
        tenant_id="acme",
        status="in_progress",
        is_background=True,
        body=b'{"queued"}',
        conversation=b"[]",
        chunks=b"",
        created_at_us=now_us,
        lease_until_us=now_us + LEASE_S * 1_000_000,
        expires_at_us=now_us + TTL_S * 1_000_000,
    )
    return replace(made, **facts)


async def added(store: ResponseStore, **facts) -> StoredResponse:
    response = response_of(**facts)
    await store.add(response)
    return response


async def test_a_response_is_found_as_it_was_added(store):
    response = await added(store, status="completed", is_background=False, body=bytes(range(256)))

    assert await store.find(response.name) == response


async def test_no_tenant_finds_or_changes_another_s(store):
    response = await added(store)
    foreign = ("other", response.id)

    assert await store.find(foreign) is None
    assert not await store.finish(foreign, ENDING)
    assert not await store.close(foreign, "cancelled")
    assert not await store.delete(foreign)
    assert await store.running([foreign]) == frozenset()
    assert await store.find(response.name) == response


async def test_one_id_may_stand_under_two_tenants(store):
    response = await added(store)
    other = replace(response, tenant_id="other", body=b"other")
    await store.add(other)

    assert await store.delete(response.name)
    assert await store.find(other.name) == other


async def test_a_running_one_is_finished_once(store):
    response = await added(store)

    assert await store.finish(response.name, ENDING)
    assert not await store.finish(response.name, replace(ENDING, status="failed"))
    assert not await store.close(response.name, "cancelled")
    expected = replace(response, status="completed", body=ENDING.body, chunks=ENDING.chunks)
    assert await store.find(response.name) == expected


async def test_one_that_was_closed_is_not_finished(store):
    response = await added(store)

    assert await store.close(response.name, "cancelled")
    assert not await store.finish(response.name, ENDING)
    assert await store.find(response.name) == replace(response, status="cancelled")


async def test_only_a_lapsed_one_is_closed_where_that_is_asked(store, clock):
    response = await added(store)
    clock.advance_s(LEASE_S - 0.000_001)
    assert not await store.close(response.name, "failed", lapsed_only=True)
    clock.advance_s(0.000_001)

    assert await store.close(response.name, "failed", lapsed_only=True)


async def test_a_sign_of_life_is_good_for_a_lease(store, clock):
    response, ended = await added(store), await added(store, status="failed")
    clock.advance_s(LEASE_S - 1)
    await store.renew([response.name, ended.name, ("acme", uuid7(NOW_US))])
    clock.advance_s(LEASE_S - 1)

    assert not await store.close(response.name, "failed", lapsed_only=True)
    assert await store.find(ended.name) == ended


async def test_those_that_run_are_told_from_those_that_do_not(store):
    running, finished, deleted = [await added(store) for _ in range(3)]
    await store.finish(finished.name, ENDING)
    await store.delete(deleted.name)

    assert await store.running([running.name, finished.name, deleted.name]) == {running.name}
    assert await store.running([]) == frozenset()


async def test_what_is_deleted_is_gone(store):
    response = await added(store)

    assert await store.delete(response.name)
    assert not await store.delete(response.name)
    assert await store.find(response.name) is None
    assert not await store.finish(response.name, ENDING)


async def test_what_has_expired_is_not_there(store, clock):
    response = await added(store)
    clock.advance_s(TTL_S - 0.000_001)
    assert await store.find(response.name) == response
    clock.advance_s(0.000_001)

    assert await store.find(response.name) is None
    assert not await store.finish(response.name, ENDING)
    assert not await store.close(response.name, "failed")
    assert await store.running([response.name]) == frozenset()
    assert not await store.delete(response.name)


async def test_what_has_expired_is_swept_in_steps(store, clock):
    for _ in range(5):
        await added(store)
    young = await added(store, expires_at_us=NOW_US + 2 * TTL_S * 1_000_000)
    clock.advance_s(TTL_S)

    assert [await store.sweep(rows_max=2) for _ in range(4)] == [2, 2, 1, 0]
    assert await store.find(young.name) == young


async def test_random_steps_agree_with_the_memory_twin(database: AsyncEngine, clock: ManualClock):
    source = random.Random(1)
    twins = (MemoryResponseStore(clock), SqlResponseStore(database, clock))
    names = [response_of().name for _ in range(3)]
    for step in range(300):
        name, kind = source.choice(names), source.randrange(9)
        if kind == 0:
            names[names.index(name)] = name = (await added_to_both(twins, clock)).name
        if kind == 1:
            clock.advance_s(source.choice((1, LEASE_S, TTL_S / 2)))
        answers = [await stepped(store, name, kind) for store in twins]
        assert answers[0] == answers[1], step


async def added_to_both(twins: tuple[ResponseStore, ...], clock: ManualClock) -> StoredResponse:
    response = response_of(clock.now_us())
    for store in twins:
        await store.add(response)
    return response


async def stepped(store: ResponseStore, name: tuple[str, str], kind: int) -> object:
    match kind:
        case 2:
            return await store.finish(name, ENDING)
        case 3:
            return await store.close(name, "failed", lapsed_only=True)
        case 4:
            return await store.close(name, "cancelled")
        case 5:
            return await store.renew([name])
        case 6:
            return await store.delete(name)
        case 7:
            return await store.running([name])
        case 8:
            return await store.sweep(rows_max=100)
        case _:
            return await store.find(name)


@pytest.mark.parametrize("fault", FAULTS)
async def test_sql_without_its_database_is_unavailable(tmp_path: Path, clock: ManualClock, fault: str):
    engine = open_main(broken(fault, tmp_path))
    store = SqlResponseStore(engine, clock)
    response = response_of()

    for call in (
        store.add(response),
        store.find(response.name),
        store.finish(response.name, ENDING),
        store.close(response.name, "failed"),
        store.running([response.name]),
        store.renew([response.name]),
        store.delete(response.name),
        store.sweep(rows_max=1),
    ):
        with pytest.raises(StoreUnavailable):
            await call
    await engine.dispose()


async def test_sql_that_is_out_of_reach_for_another_reason_is_unavailable_too(
    database: AsyncEngine, database_settings: Settings, clock: ManualClock
):
    """What the database itself refuses is not mistaken for a fault of the request."""
    await refuse_updates(database_settings, "ai_responses")
    store = SqlResponseStore(database, clock)
    response = await added(store)

    with pytest.raises(StoreUnavailable):
        await store.finish(response.name, ENDING)
