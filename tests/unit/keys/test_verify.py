"""Admission: what is let in, for how long it is remembered, and what happens when the store is away."""

import asyncio
import time
from hashlib import sha256

import pytest

from aiservice.core.errors import KeyRefused, NotAllowed, StoreUnavailable, TooManyFailures
from aiservice.core.settings import KeySettings, LimitSettings
from aiservice.keys import ADMIN_CALLER, LOCAL_CALLER, Keys
from aiservice.keys.pepper import Peppers
from aiservice.keys.secret import make
from aiservice.keys.verify import Verifier
from aiservice.stores.bell import SilentBell

IP = "192.0.2.7"
ADMIN_KEY = "the-operator-s-key-of-32-characters"


async def refused(keys: Keys, text: str, *, ip: str = IP) -> KeyRefused:
    with pytest.raises(KeyRefused) as caught:
        await keys.verify(text, ip=ip)
    return caught.value


async def test_a_good_key_gives_its_caller(keys, add):
    text, key = await add(models=("a:1b",), quota_requests_per_hour=7, tokens_per_hour=8, concurrency=9)

    caller = await keys.verify(text, ip=IP)

    assert (caller.key_id, caller.logical_id, caller.tenant_id) == (key.id, key.logical_id, "acme")
    assert (caller.user_id, caller.tier, caller.models) == ("ann", "pro", ("a:1b",))
    assert (caller.quota_requests_per_hour, caller.tokens_per_hour, caller.concurrency) == (7, 8, 9)
    assert caller.scopes == {"generate", "keys:write"}
    assert not caller.is_admin


async def test_every_bad_key_has_the_same_answer(keys, store, add, clock):
    text, _ = await add()
    revoked, revoked_key = await add()
    await store.revoke(revoked_key.id, now_us=clock.now_us())
    expired, _ = await add(expires_at_us=clock.now_us())
    wrong = make()

    answers = [await refused(keys, bad) for bad in ("", "nonsense", text[:-1], wrong, revoked, expired)]

    assert {(answer.public, answer.status, answer.param) for answer in answers} == {(KeyRefused.title, 401, None)}
    assert all(wrong[17:] not in str(answer) for answer in answers)


async def test_the_right_kid_with_another_secret_is_refused(keys, store, row_of):
    mine, theirs = make(), make()
    await store.add(row_of(theirs, kid=mine.split("_")[1]))

    await refused(keys, mine)


@pytest.mark.parametrize("text", ["\ud800", "vpn_\ud800", "é" * 66, "x" * 1_000_000, "\0"])
async def test_text_that_is_no_key_is_refused(keys, text: str):
    assert keys.cached(text, ip=IP) is None
    await refused(keys, text)


async def test_a_published_key_is_refused_for_ever(store, add, clock):
    text, _ = await add()
    other, _ = await add()
    denied = {sha256(text.encode()).hexdigest()}
    peppers = Peppers(b"p" * 32)
    verifier = Verifier(store, KeySettings(), peppers=peppers, clock=clock, bell=SilentBell(), denied=denied)

    with pytest.raises(KeyRefused):
        await verifier.verify(text, ip=IP)
    assert await verifier.check(text, ip=IP) is None
    assert (await verifier.verify(other, ip=IP)).tenant_id == "acme"


async def test_a_cached_key_needs_no_wait_and_no_store(keys, store, add):
    text, _ = await add()
    assert keys.cached(text, ip=IP) is None

    caller = await keys.verify(text, ip=IP)

    assert keys.cached(text, ip=IP) is caller
    assert await keys.verify(text, ip=IP) is caller
    assert store.reads == 1


async def test_a_key_is_read_again_after_30_s_give_or_take_a_fifth(keys, store, add, clock):
    texts = [(await add())[0] for _ in range(60)]
    for text in texts:
        await keys.verify(text, ip=IP)

    clock.advance_s(23.9)
    assert all(keys.cached(text, ip=IP) for text in texts)
    clock.advance_s(6.1)
    left = sum(keys.cached(text, ip=IP) is not None for text in texts)
    assert 0 < left < 60
    clock.advance_s(6.1)
    assert not any(keys.cached(text, ip=IP) for text in texts)


async def test_expiry_ends_a_cached_key(keys, add, clock):
    text, _ = await add(expires_at_us=clock.now_us() + 5_000_000)
    await keys.verify(text, ip=IP)

    clock.advance_s(4.9)
    assert keys.cached(text, ip=IP)
    clock.advance_s(0.1)
    assert keys.cached(text, ip=IP) is None
    await refused(keys, text)


async def test_a_bad_key_is_remembered_for_5_s(keys, store, clock):
    text = make()
    for _ in range(3):
        await refused(keys, text)
    assert store.reads == 1

    clock.advance_s(5)
    await refused(keys, text)
    assert store.reads == 2


async def test_garbage_never_drives_out_a_good_key(keys, add):
    text, _ = await add()
    await keys.verify(text, ip=IP)

    for number in range(1_000):
        await refused(keys, make(), ip=f"10.0.{number % 250}.{number // 250}")

    assert keys.cached(text, ip=IP)


async def test_many_who_wait_for_one_key_read_it_once(keys, store, add):
    text, _ = await add()
    store.gate.clear()
    waiting = [asyncio.create_task(keys.verify(text, ip=IP)) for _ in range(20)]
    await asyncio.sleep(0)
    # The first to ask leaves; the others still get their answer.
    waiting[0].cancel()
    await asyncio.sleep(0)
    store.gate.set()

    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert isinstance(results[0], asyncio.CancelledError)
    assert {caller.tenant_id for caller in results[1:]} == {"acme"}
    assert store.reads == 1


async def test_bcrypt_never_runs_in_a_request(keys, add):
    """100 first looks at good and 100 at unknown keys; one bcrypt would cost 64 ms each."""
    texts = [(await add())[0] for _ in range(100)]
    started = time.process_time()

    for number, text in enumerate(texts):
        await keys.verify(text, ip=IP)
        await refused(keys, make(), ip=f"10.0.0.{number}")

    assert time.process_time() - started < 1.0


async def test_addresses_not_on_the_list_are_not_allowed(keys, add):
    text, _ = await add(allowed_ips=("192.0.2.0/24", "2001:db8::/32"))

    for good in ("192.0.2.7", "::ffff:192.0.2.9", "2001:db8::1"):
        assert await keys.verify(text, ip=good)
        assert keys.cached(text, ip=good)
    for bad in ("192.0.3.7", "2001:db9::1", "", "nonsense"):
        assert keys.cached(text, ip=bad) is None
        with pytest.raises(NotAllowed, match="this address"):
            await keys.verify(text, ip=bad)


async def test_a_source_with_ten_bad_keys_is_held_off(keys, add):
    text, _ = await add()
    for _ in range(10):
        await refused(keys, make())

    with pytest.raises(TooManyFailures) as caught:
        await keys.verify(text, ip=IP)

    assert caught.value.retry_after_s == 60
    assert await keys.verify(text, ip="192.0.2.8")


async def test_a_known_key_works_on_from_a_source_that_is_held_off(keys, add, clock):
    text, _ = await add()
    await keys.verify(text, ip=IP)
    for _ in range(10):
        await refused(keys, "nonsense")

    assert keys.cached(text, ip=IP)
    clock.advance_s(40)
    assert await keys.verify(text, ip=IP)


async def test_a_source_of_ipv6_is_a_64(keys):
    for number in range(10):
        await refused(keys, make(), ip=f"2001:db8:1:2::{number}")

    with pytest.raises(TooManyFailures):
        await keys.verify(make(), ip="2001:db8:1:2:ffff::1")
    await refused(keys, make(), ip="2001:db8:1:3::1")


async def test_failures_never_lock_a_kid_out(keys, add):
    text, key = await add()
    for number in range(50):
        guess = make()
        await refused(keys, f"vpn_{key.kid}_{guess[17:]}", ip=f"10.0.0.{number}")

    assert await keys.verify(text, ip=IP)


async def test_known_keys_outlive_the_store_by_a_minute(keys, store, add, clock):
    text, _ = await add()
    unknown, _ = await add()
    await keys.verify(text, ip=IP)
    store.is_down = True
    clock.advance_s(37)
    assert keys.cached(text, ip=IP) is None

    assert await keys.verify(text, ip=IP)
    with pytest.raises(StoreUnavailable):
        await keys.verify(unknown, ip=IP)
    for _ in range(29):
        assert keys.cached(text, ip=IP)
        clock.advance_s(1)
        assert await keys.verify(text, ip=IP)
    clock.advance_s(60)

    with pytest.raises(StoreUnavailable) as caught:
        await keys.verify(text, ip=IP)
    assert caught.value.retry_after_s == 1
    store.is_down = False
    assert await keys.verify(text, ip=IP)
    assert await keys.verify(unknown, ip=IP)


async def test_an_outage_lasts_a_minute_at_most_for_whoever_comes(keys, store, add, clock):
    """A key that was still fresh when the store went away gets no more than the others."""
    text, _ = await add()
    store.is_down = True
    with pytest.raises(StoreUnavailable):
        await keys.verify(make(), ip=IP)
    store.is_down = False
    await keys.verify(text, ip=IP)
    store.is_down = True
    with pytest.raises(StoreUnavailable):
        await keys.verify(make(), ip=IP)

    clock.advance_s(59)
    assert await keys.verify(text, ip=IP)
    clock.advance_s(1)
    with pytest.raises(StoreUnavailable):
        await keys.verify(text, ip=IP)


async def known(keys: Keys, add, clock, count: int) -> list[str]:
    """Keys that were admitted so long ago that they are to be read again."""
    texts = [(await add())[0] for _ in range(count)]
    for text in texts:
        await keys.verify(text, ip=IP)
    clock.advance_s(37)
    return texts


async def test_a_store_that_hangs_holds_up_the_first_of_the_known_keys_alone(keys, store, add, clock):
    """And that one for a moment only: one question is asked, the others go on as they are known."""
    texts = await known(keys, add, clock, 50)
    reads = store.reads
    store.gate.clear()
    began_s = time.monotonic()

    assert await keys.verify(texts[0], ip=IP)
    waited_s = time.monotonic() - began_s
    assert 0.09 < waited_s < 1

    for _ in range(3):
        for text in texts:
            assert await keys.verify(text, ip=IP)
        clock.advance_s(1.5)
    assert store.reads == reads + 1
    assert time.monotonic() - began_s - waited_s < 1
    store.gate.set()


async def test_a_late_answer_renews_the_key_for_those_who_come_next(keys, store, add, clock):
    (text,) = await known(keys, add, clock, 1)
    store.gate.clear()
    await keys.verify(text, ip=IP)
    reads = store.reads
    store.gate.set()
    await asyncio.sleep(0.01)

    clock.advance_s(20)
    assert keys.cached(text, ip=IP)
    assert store.reads == reads


async def test_a_late_answer_that_the_key_is_bad_counts(keys, store, add, clock):
    text, key = await add()
    await keys.verify(text, ip=IP)
    clock.advance_s(37)
    await store.revoke(key.id, now_us=clock.now_us())
    store.gate.clear()
    assert await keys.verify(text, ip=IP)
    store.gate.set()
    await asyncio.sleep(0.01)

    assert keys.cached(text, ip=IP) is None
    await refused(keys, text)


async def test_a_key_revoked_while_its_renewal_hangs_is_not_let_in(keys, store, add, clock):
    """The event arrives between the question and the end of patience: what was known must not come back."""
    text, key = await add()
    await keys.verify(text, ip=IP)
    clock.advance_s(37)
    await keys.poll()
    store.gate.clear()
    asking = asyncio.create_task(keys.verify(text, ip=IP))
    await asyncio.sleep(0.01)
    await store.revoke(key.id, now_us=clock.now_us())
    polling = asyncio.create_task(keys.poll())
    await asyncio.sleep(0.15)
    assert keys.cached(text, ip=IP) is None
    store.gate.set()
    await polling

    with pytest.raises(KeyRefused):
        await asking


async def test_while_the_store_is_known_to_be_away_known_keys_do_not_ask_it(keys, store, add, clock):
    texts = await known(keys, add, clock, 20)
    store.is_down = True
    with pytest.raises(StoreUnavailable):
        await keys.verify(make(), ip=IP)
    reads = store.reads

    for _ in range(5):
        for text in texts:
            assert await keys.verify(text, ip=IP)
        clock.advance_s(1.5)
    assert store.reads == reads

    store.is_down = False
    await keys.poll()
    for text in texts:
        assert await keys.verify(text, ip=IP)
    assert store.reads == reads + 20


async def test_an_unknown_key_waits_two_seconds_for_a_store_that_hangs(keys, store, add):
    text, _ = await add()
    store.gate.clear()
    began_s = time.monotonic()
    answers = await asyncio.gather(*(keys.verify(text, ip=IP) for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 5
    assert 1.9 < time.monotonic() - began_s < 3
    assert store.reads == 1
    store.gate.set()
    await asyncio.sleep(0.01)

    assert await keys.verify(text, ip=IP)


async def test_a_minute_counts_from_the_question_that_had_no_answer(keys, store, add, clock):
    """A store that hangs is found out late; what was known must not live the longer for it."""
    text, _ = await add()
    await keys.verify(text, ip=IP)
    store.gate.clear()
    asking = asyncio.create_task(keys.verify(make(), ip=IP))
    await asyncio.sleep(0.01)
    clock.advance_s(5)
    store.is_down = True
    store.gate.set()
    with pytest.raises(StoreUnavailable):
        await asking

    clock.advance_s(54)
    assert await keys.verify(text, ip=IP)
    clock.advance_s(1)
    with pytest.raises(StoreUnavailable):
        await keys.verify(text, ip=IP)


async def test_a_key_found_bad_is_not_let_in_by_an_outage(keys, store, add, clock):
    """Its row went without an event, as after a restored backup."""
    text, key = await add()
    await keys.verify(text, ip=IP)
    clock.advance_s(37)
    store.remove(key)
    await refused(keys, text)
    clock.advance_s(6)
    store.is_down = True

    with pytest.raises(StoreUnavailable):
        await keys.verify(text, ip=IP)


async def test_a_key_that_expires_during_an_outage_is_not_let_in(keys, store, add, clock):
    text, _ = await add(expires_at_us=clock.now_us() + 40_000_000)
    await keys.verify(text, ip=IP)
    store.is_down = True

    clock.advance_s(39)
    assert await keys.verify(text, ip=IP)
    clock.advance_s(1)
    with pytest.raises(StoreUnavailable):
        await keys.verify(text, ip=IP)


async def test_the_admin_key_is_the_operator(keys, add):
    plain, _ = await add()
    stored, _ = await add(scopes=("admin",))

    assert await keys.verify_admin(ADMIN_KEY, ip=IP) is ADMIN_CALLER
    assert (await keys.verify_admin(stored, ip=IP)).is_admin
    assert (await keys.verify_admin(stored, ip=IP)).is_admin
    with pytest.raises(NotAllowed):
        await keys.verify_admin(plain, ip=IP)
    for bad in (ADMIN_KEY[:-1], ADMIN_KEY + "x", "", make(is_admin=True)):
        with pytest.raises(KeyRefused):
            await keys.verify_admin(bad, ip=IP)


async def test_the_admin_key_opens_no_other_door(keys):
    await refused(keys, ADMIN_KEY)


async def test_without_an_admin_key_nobody_is_the_operator(store, clock):
    keys = Keys(store, KeySettings(), LimitSettings(), pepper=b"p" * 32, clock=clock)

    for text in ("", "None", ADMIN_KEY):
        with pytest.raises(KeyRefused):
            await keys.verify_admin(text, ip=IP)


async def test_guesses_at_the_admin_key_are_held_off(keys):
    for number in range(10):
        with pytest.raises(KeyRefused):
            await keys.verify_admin(f"guess {number}", ip=IP)

    with pytest.raises(TooManyFailures):
        await keys.verify_admin(ADMIN_KEY, ip=IP)


async def test_check_says_who_and_not_why(keys, store, add, clock):
    text, key = await add(allowed_ips=("10.0.0.0/8",))

    caller = await keys.check(text, ip=IP)
    assert caller is not None
    assert caller.key_id == key.id
    assert await keys.check(make(), ip=IP) is None
    assert await keys.check("nonsense", ip=IP) is None


async def test_checks_are_limited_by_source(keys, add):
    text, _ = await add()
    for _ in range(30):
        assert await keys.check(text, ip=IP)

    with pytest.raises(TooManyFailures) as caught:
        await keys.check(text, ip=IP)

    assert caught.value.retry_after_s == 60
    assert await keys.check(text, ip="192.0.2.8")
    assert await keys.verify(text, ip=IP)


async def test_the_built_in_caller_is_not_the_operator():
    assert LOCAL_CALLER.is_local
    assert not LOCAL_CALLER.is_admin
    assert ADMIN_CALLER.is_admin
    assert not ADMIN_CALLER.is_local
