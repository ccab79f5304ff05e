"""Every `KeyStore`: the same cases over memory and over the main database."""

from dataclasses import replace
from pathlib import Path

import pytest

from aiservice.core.errors import KeyUnknown, StoreUnavailable
from aiservice.core.ids import uuid7
from aiservice.keys import ApiKey, KeyStore
from aiservice.keys.memory import MemoryKeyStore
from aiservice.keys.sql import SqlKeyStore
from aiservice.stores.databases import open_main
from tests.conformance.databases import DATABASES, FAULTS, EngineOn, broken

NOW_US = 1_750_000_000_000_000
YEAR_US = 365 * 86_400_000_000


@pytest.fixture(params=["memory", *DATABASES])
async def store(request: pytest.FixtureRequest, engine_on: EngineOn) -> KeyStore:
    return MemoryKeyStore() if request.param == "memory" else SqlKeyStore(await engine_on(request.param))


def key_of(number: int, *, tenant_id: str = "acme") -> ApiKey:
    """Keys in the order of their numbers, a millisecond apart."""
    made_us = NOW_US + number * 1_000
    key_id = uuid7(made_us)
    return ApiKey(
        id=key_id,
        logical_id=key_id,
        kid=f"kid{number:09d}",
        tenant_id=tenant_id,
        user_id="ann" if number % 2 else None,
        name=f"key {number} ä",
        key_hash="$2b$10$" + "a" * 53,
        key_mac=bytes([number]) * 32,
        mac_version=1,
        tier="pro",
        scopes=("generate", "keys:write"),
        models=("a:1b", "b"),
        allowed_ips=("192.0.2.0/24",),
        quota_requests_per_hour=50,
        tokens_per_hour=None,
        concurrency=3,
        is_active=True,
        created_at_us=made_us,
        expires_at_us=made_us + YEAR_US,
    )


async def test_a_key_comes_back_as_it_went_in(store: KeyStore):
    key = key_of(1)

    await store.add(key)

    assert await store.by_kid(key.kid) == key
    assert await store.by_id(key.id) == key


async def test_an_unknown_key_is_none(store: KeyStore):
    await store.add(key_of(1))

    assert await store.by_kid("kid000000002") is None
    assert await store.by_id(key_of(2).id) is None


async def test_a_new_key_is_an_event(store: KeyStore):
    assert await store.last_event_seq() == 0

    await store.add(key_of(1))

    (event,) = await store.events_after(0, since_us=NOW_US)
    assert (event.kid, event.created_at_us) == ("kid000000001", NOW_US + 1_000)
    assert await store.last_event_seq() == event.seq


async def test_pages_are_newest_first_and_follow_the_cursor(store: KeyStore):
    keys = [key_of(number) for number in range(5)]
    for key in keys:
        await store.add(key)

    first = await store.page(tenant_id=None, cursor=None, limit=2)
    second = await store.page(tenant_id=None, cursor=first[-1].id, limit=2)
    last = await store.page(tenant_id=None, cursor=second[-1].id, limit=2)

    assert [*first, *second, *last] == keys[::-1]


async def test_a_page_shows_one_tenant_only(store: KeyStore):
    for number in range(4):
        await store.add(key_of(number, tenant_id="acme" if number % 2 else "other"))

    found = await store.page(tenant_id="acme", cursor=None, limit=10)

    assert [key.kid for key in found] == ["kid000000003", "kid000000001"]


async def test_revocation_switches_off_and_tells(store: KeyStore):
    key = key_of(1)
    await store.add(key)
    seq = await store.last_event_seq()

    assert await store.revoke(key.id, now_us=NOW_US + 5_000_000)

    assert await store.by_id(key.id) == replace(key, is_active=False)
    (event,) = await store.events_after(seq, since_us=NOW_US + 4_000_000)
    assert (event.kid, event.created_at_us) == (key.kid, NOW_US + 5_000_000)
    assert (event.key_id, event.ends_at_us) == (key.id, 0)


async def test_a_key_is_revoked_once(store: KeyStore):
    key = key_of(1)
    await store.add(key)
    await store.revoke(key.id, now_us=NOW_US)
    seq = await store.last_event_seq()

    assert not await store.revoke(key.id, now_us=NOW_US)
    assert not await store.revoke(key_of(2).id, now_us=NOW_US)
    assert await store.last_event_seq() == seq


async def test_rotation_pulls_the_expiry_in_and_tells_of_both(store: KeyStore):
    old, new = key_of(1), key_of(2)
    await store.add(old)
    seq = await store.last_event_seq()

    await store.add(new, retire_id=old.id, retire_at_us=NOW_US + 60_000_000)

    assert await store.by_id(old.id) == replace(old, expires_at_us=NOW_US + 60_000_000)
    assert await store.by_id(new.id) == new
    events = await store.events_after(seq, since_us=NOW_US + YEAR_US)
    assert {event.kid for event in events} == {old.kid, new.kid}


async def test_rotation_never_puts_an_expiry_off(store: KeyStore):
    old = key_of(1)
    await store.add(old)

    await store.add(key_of(2), retire_id=old.id, retire_at_us=old.expires_at_us + 1)

    assert await store.by_id(old.id) == old


async def test_a_revoked_key_has_no_successor(store: KeyStore):
    old, new = key_of(1), key_of(2)
    await store.add(old)
    await store.revoke(old.id, now_us=NOW_US)
    seq = await store.last_event_seq()

    with pytest.raises(KeyUnknown):
        await store.add(new, retire_id=old.id, retire_at_us=NOW_US)

    assert await store.by_id(new.id) is None
    assert await store.last_event_seq() == seq


async def test_events_come_by_seq_or_by_time(store: KeyStore):
    for number in range(4):
        await store.add(key_of(number))
    events = await store.events_after(0, since_us=0)
    late = NOW_US + YEAR_US

    assert [event.seq for event in events] == sorted({event.seq for event in events})
    assert await store.events_after(events[1].seq, since_us=late) == events[2:]
    assert await store.events_after(events[-1].seq, since_us=late) == []
    assert await store.events_after(events[-1].seq, since_us=NOW_US + 2_000) == events[2:]


async def test_an_event_tells_how_its_key_stands_now(store: KeyStore):
    old, new = key_of(1), key_of(2)
    await store.add(old)
    (made,) = await store.events_after(0, since_us=0)
    assert (made.key_id, made.ends_at_us) == (old.id, old.expires_at_us)

    await store.add(new, retire_id=old.id, retire_at_us=NOW_US + 60_000_000)
    stands = {(event.key_id, event.ends_at_us) for event in await store.events_after(0, since_us=0)}
    assert stands == {(old.id, NOW_US + 60_000_000), (new.id, new.expires_at_us)}

    await store.revoke(old.id, now_us=NOW_US)
    stands = {(event.key_id, event.ends_at_us) for event in await store.events_after(0, since_us=0)}
    assert stands == {(old.id, 0), (new.id, new.expires_at_us)}


async def test_touch_notes_the_latest_use(store: KeyStore):
    first, second = key_of(1), key_of(2)
    await store.add(first)
    await store.add(second)

    await store.touch([(first.id, NOW_US + 9), (second.id, NOW_US + 5), (key_of(3).id, NOW_US)])
    await store.touch([(first.id, NOW_US + 7), (second.id, NOW_US + 6)])
    await store.touch([])

    found = await store.page(tenant_id=None, cursor=None, limit=10)
    assert [key.last_used_at_us for key in found] == [NOW_US + 6, NOW_US + 9]


async def test_only_good_keys_are_counted(store: KeyStore):
    revoked, expired = key_of(1), replace(key_of(2), expires_at_us=NOW_US)
    for key in (revoked, expired, key_of(3), key_of(4)):
        await store.add(key)
    await store.revoke(revoked.id, now_us=NOW_US)

    assert await store.count_active(now_us=NOW_US) == 2


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_database_that_cannot_be_used_is_unavailable(tmp_path: Path, fault: str):
    engine = open_main(broken(fault, tmp_path))
    store = SqlKeyStore(engine)
    calls = [
        store.add(key_of(1)),
        store.by_kid("kid000000001"),
        store.by_id(key_of(1).id),
        store.page(tenant_id=None, cursor=None, limit=1),
        store.revoke(key_of(1).id, now_us=NOW_US),
        store.events_after(0, since_us=0),
        store.last_event_seq(),
        store.touch([(key_of(1).id, NOW_US)]),
        store.count_active(now_us=NOW_US),
    ]

    for call in calls:
        with pytest.raises(StoreUnavailable):
            await call
    await engine.dispose()
