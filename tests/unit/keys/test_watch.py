"""Revocations seen from elsewhere, and when keys were used."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import pytest

from aiservice.core.clock import SystemClock
from aiservice.core.errors import KeyRefused, StoreUnavailable
from aiservice.core.settings import KeySettings, LimitSettings
from aiservice.keys import ADMIN_CALLER, KeyRequest, Keys
from aiservice.keys.secret import make
from aiservice.keys.sql import SqlKeyStore
from aiservice.stores.databases import open_main
from aiservice.stores.migrate import upgrade
from tests.settings import embedded_in
from tests.unit.stores.belfry import Belfry

IP = "192.0.2.7"
ASKED = KeyRequest(tenant_id="acme", user_id=None, name="a key")


async def eventually_refused(keys: Keys, text: str, *, within_s: float) -> float:
    started = time.monotonic()
    while time.monotonic() - started < within_s:
        try:
            await keys.verify(text, ip=IP)
        except KeyRefused:
            return time.monotonic() - started
        await asyncio.sleep(0.01)
    pytest.fail(f"still admitted after {within_s} s")


@pytest.fixture
async def pair(tmp_path: Path):
    """Two processes' worth of keys over one database."""
    upgrade(embedded_in(tmp_path))
    engines = [open_main(embedded_in(tmp_path)), open_main(embedded_in(tmp_path))]
    both = [
        Keys(SqlKeyStore(engine), KeySettings(), LimitSettings(), pepper=b"p" * 32, clock=SystemClock())
        for engine in engines
    ]
    watches = [asyncio.create_task(keys.watch()) for keys in both]
    yield both
    for watch in watches:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch
    for engine in engines:
        await engine.dispose()


async def test_a_key_revoked_by_one_is_refused_by_the_other_within_a_second(pair):
    one, other = pair
    new = await one.create(ASKED, by=ADMIN_CALLER)
    caller = await other.verify(new.secret, ip=IP)
    assert not other.is_revoked(caller)

    await one.revoke(new.key.id, by=ADMIN_CALLER)

    with pytest.raises(KeyRefused):
        await one.verify(new.secret, ip=IP)
    assert one.is_revoked(caller)
    assert await eventually_refused(other, new.secret, within_s=1.0) < 1.0
    await asyncio.sleep(0.05)
    assert other.is_revoked(caller)


async def test_a_key_rotated_by_one_ends_on_the_other(pair):
    one, other = pair
    old = await one.create(ASKED, by=ADMIN_CALLER)
    caller = await other.verify(old.secret, ip=IP)

    new = await one.rotate(old.key.id, by=ADMIN_CALLER)

    assert (await other.verify(new.secret, ip=IP)).logical_id == caller.logical_id
    await eventually_refused(other, old.secret, within_s=1.0)


async def test_a_poll_drops_bad_keys_too(keys, store, row_of):
    """A key that was asked for before it was there is good as soon as its event is seen."""
    text = make()
    with pytest.raises(KeyRefused):
        await keys.verify(text, ip=IP)
    await store.add(row_of(text))
    with pytest.raises(KeyRefused):
        await keys.verify(text, ip=IP)

    await keys.poll()

    assert await keys.verify(text, ip=IP)


async def test_what_was_read_before_an_event_is_not_kept(keys, store, add, clock):
    """The row is on its way while the key is revoked and the event seen: the stale row must not enter the cache."""
    text, key = await add()
    await keys.poll()
    store.gate.clear()
    asking = asyncio.create_task(keys.verify(text, ip=IP))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await store.revoke(key.id, now_us=clock.now_us())
    polling = asyncio.create_task(keys.poll())
    await asyncio.sleep(0)
    store.gate.set()
    await polling

    with pytest.raises(KeyRefused):
        await asking
    assert keys.cached(text, ip=IP) is None


async def test_an_event_is_taken_in_once(keys, store, add, clock):
    """It is read again and again for half a minute, and must not drive out what was read since."""
    text, _ = await add()
    await keys.poll()
    await keys.verify(text, ip=IP)

    for _ in range(5):
        await keys.poll()

    assert keys.cached(text, ip=IP)
    assert store.reads == 1


async def test_a_key_that_is_seen_to_be_revoked_is_refused_without_a_question(keys, store, add, clock):
    text, key = await add()
    await keys.verify(text, ip=IP)
    await store.revoke(key.id, now_us=clock.now_us())
    await keys.poll()
    store.is_down = True

    with pytest.raises(KeyRefused):
        await keys.verify(text, ip=IP)
    assert store.reads == 1


async def test_a_thousand_revocations_are_one_question(keys, store, add, clock):
    made = [await add() for _ in range(1_000)]
    callers = [await keys.verify(text, ip=IP) for text, _ in made]
    for _, key in made:
        await store.revoke(key.id, now_us=clock.now_us())
    reads, began_s = store.reads, time.monotonic()
    await keys.poll()

    assert time.monotonic() - began_s < 0.5
    assert all(keys.is_revoked(caller) for caller in callers)
    assert not any(keys.cached(text, ip=IP) for text, _ in made)
    assert store.reads == reads


async def test_events_during_an_outage_are_seen_after_it(keys, store, add, clock):
    text, key = await add()
    await keys.poll()
    caller = await keys.verify(text, ip=IP)
    store.is_down = True
    with pytest.raises(StoreUnavailable):
        await keys.poll()
    await store.revoke(key.id, now_us=clock.now_us())
    clock.advance_s(20)
    store.is_down = False

    await keys.poll()

    assert keys.is_revoked(caller)
    assert keys.cached(text, ip=IP) is None


async def test_a_lower_seq_that_comes_late_is_seen(keys, store, add, clock):
    """As PostgreSQL may show it: seq 2 before seq 1."""
    text, key = await add()
    await keys.poll()
    caller = await keys.verify(text, ip=IP)
    await store.revoke(key.id, now_us=clock.now_us())
    store.uncommitted_seq = await store.last_event_seq()
    await add()
    await keys.poll()
    assert not keys.is_revoked(caller)

    store.uncommitted_seq = None
    await keys.poll()

    assert keys.is_revoked(caller)


async def test_the_watch_goes_on_after_a_failure(keys, store, add, clock):
    text, key = await add()
    caller = await keys.verify(text, ip=IP)
    store.is_down = True
    watch = asyncio.create_task(keys.watch())
    await asyncio.sleep(0.05)
    store.is_down = False
    await store.revoke(key.id, now_us=clock.now_us())

    await asyncio.sleep(0.4)

    assert not watch.done()
    assert keys.is_revoked(caller)
    watch.cancel()


async def test_a_cancelled_watch_ends_its_query_first(keys, store, add):
    await add()
    store.poll_gate.clear()
    watch = asyncio.create_task(keys.watch())
    await asyncio.sleep(0.01)
    watch.cancel()
    await asyncio.sleep(0.01)
    assert not watch.done()

    store.poll_gate.set()

    with pytest.raises(asyncio.CancelledError):
        await watch


async def test_uses_are_written_in_batches_with_their_own_time(keys, store, add, clock):
    text, key = await add()
    used_us = clock.now_us()
    await keys.verify(text, ip=IP)
    clock.advance_s(10)
    assert keys.cached(text, ip=IP)
    clock.advance_s(10)
    assert (await store.by_id(key.id)).last_used_at_us is None

    await keys.flush()

    assert (await store.by_id(key.id)).last_used_at_us == used_us + 10_000_000


async def test_the_end_of_the_watch_writes_the_last_uses(keys, store, add, clock):
    text, key = await add()
    watch = asyncio.create_task(keys.watch())
    await asyncio.sleep(0)
    await keys.verify(text, ip=IP)

    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch

    assert (await store.by_id(key.id)).last_used_at_us == clock.now_us()


async def test_uses_survive_an_outage(keys, store, add, clock):
    text, key = await add()
    await keys.verify(text, ip=IP)
    store.is_down = True
    with pytest.raises(StoreUnavailable):
        await keys.flush()
    store.is_down = False

    await keys.flush()

    assert (await store.by_id(key.id)).last_used_at_us == clock.now_us()


async def test_a_check_is_no_use(keys, store, add):
    text, key = await add()
    await keys.check(text, ip=IP)

    await keys.flush()

    assert (await store.by_id(key.id)).last_used_at_us is None


@pytest.fixture
async def belled(store, clock):
    """Two processes' worth of keys that poll once a minute, and the bell between them."""
    bell = Belfry()
    both = [
        Keys(store, KeySettings(), LimitSettings(), pepper=b"p" * 32, clock=clock, bell=bell) for _ in ("here", "there")
    ]
    watches = [asyncio.create_task(keys.watch(60)) for keys in both]
    await polled(store, 2)
    yield (*both, bell)
    for watch in watches:
        watch.cancel()
    await asyncio.gather(*watches, return_exceptions=True)


async def polled(store, count: int) -> None:
    async with asyncio.timeout(5):
        while store.polls < count:
            await asyncio.sleep(0.005)


async def test_every_change_is_rung_and_heard_without_a_poll_being_due(belled, store):
    one, other, bell = belled
    new = await one.create(ASKED, by=ADMIN_CALLER)
    await polled(store, 4)
    caller = await other.verify(new.secret, ip=IP)

    newer = await one.rotate(new.key.id, 60, by=ADMIN_CALLER)
    await polled(store, 6)
    assert other.cached(new.secret, ip=IP) is None
    assert await other.verify(newer.secret, ip=IP)

    await one.revoke(new.key.id, by=ADMIN_CALLER)
    await polled(store, 8)
    assert await eventually_refused(other, new.secret, within_s=1.0) < 1.0
    assert other.is_revoked(caller)
    assert bell.rung == ["ai:keys"] * 3


async def test_a_key_that_was_asked_for_too_early_is_good_with_the_ring(belled, store, row_of):
    _, other, bell = belled
    text = make()
    with pytest.raises(KeyRefused):
        await other.verify(text, ip=IP)
    await store.add(row_of(text))
    bell.ring("ai:keys")
    await polled(store, 4)

    assert await other.verify(text, ip=IP)


async def test_a_flood_of_rings_does_not_flood_the_store(belled, store):
    _, _, bell = belled
    began_s = time.monotonic()
    before = store.polls
    while time.monotonic() - began_s < 0.4:
        bell.ring("ai:keys")
        await asyncio.sleep(0)
    # Two processes, one poll each 50 ms.
    assert store.polls - before <= 2 * (0.4 / 0.05 + 2)


async def test_the_clocks_of_instances_may_differ_by_twenty_seconds(keys, store, add, clock):
    """Written by one whose clock is behind, and committed after a higher seq was seen."""
    text, key = await add()
    await keys.poll()
    caller = await keys.verify(text, ip=IP)
    clock.advance_s(60)
    await keys.poll()
    await store.revoke(key.id, now_us=clock.now_us() - 20_000_000)
    store.uncommitted_seq = await store.last_event_seq()
    await add()
    await keys.poll()
    clock.advance_s(5)
    store.uncommitted_seq = None
    await keys.poll()

    assert keys.is_revoked(caller)


async def test_keys_may_be_admitted_while_some_are_known_and_the_outage_is_young(keys, store, add, clock):
    assert keys.may_admit
    text, _ = await add()
    await keys.verify(text, ip=IP)
    store.is_down = True
    with pytest.raises(StoreUnavailable):
        await keys.verify(make(), ip=IP)
    clock.advance_s(59)
    assert keys.may_admit
    clock.advance_s(1)
    assert not keys.may_admit
    store.is_down = False
    await keys.poll()
    assert keys.may_admit


async def test_where_no_key_is_known_none_may_be_admitted_in_an_outage(keys, store):
    store.is_down = True
    with pytest.raises(StoreUnavailable):
        await keys.verify(make(), ip=IP)
    assert not keys.may_admit
