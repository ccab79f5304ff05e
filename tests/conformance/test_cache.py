"""What every response cache does. A new backend is one more row in `caches.CACHES`."""

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from aiservice.cache import Cache, CacheKey, Claim
from aiservice.cache.lease import LAST_CALL_US, LOST_AFTER_US
from aiservice.cache.model import LEASE_S, WANTED_S
from aiservice.cache.payload import OVERHEAD_BYTES, written
from aiservice.core.clock import ManualClock
from aiservice.core.settings import CacheSettings
from aiservice.core.types import Chunk, Completion, Tokens
from tests.conformance.caches import ALL, TIDY, Extreme, Opener, params

SETTINGS = CacheSettings(ttl_s=1_000, bytes_max=1_048_576, entry_bytes_max=300_000)
ANSWER = Completion("smollm2:135m", "llamacpp", (Chunk("Docker is … 😀\0\n", "stop", Tokens(34, 100)),))


def saying(text: str) -> Completion:
    return Completion(ANSWER.model, ANSWER.engine, (Chunk(text, "stop", Tokens(34, 100)),))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def source() -> random.Random:
    return Extreme(is_most=False)


@pytest.fixture
def opener(request: pytest.FixtureRequest, tmp_path: Path, stack: AsyncExitStack) -> Opener:
    return Opener(request, tmp_path, stack)


@pytest.fixture(params=ALL)
async def cache(
    request: pytest.FixtureRequest, opener: Opener, clock: ManualClock, source: random.Random
) -> AsyncIterator[Cache]:
    (cache,) = await opener.open(request.param, SETTINGS, clock, source=source)
    yield cache
    assert cache.failures == 0


only_tidy = pytest.mark.parametrize("cache", params(TIDY), indirect=True)


def key(name: str, tenant_id: str = "acme", model: str = "m") -> CacheKey:
    return CacheKey(f"{name:_>64}", tenant_id, model)


def answer_of(size: int) -> Completion:
    """An answer that counts exactly so many bytes."""
    empty = len(written(saying(""))) + OVERHEAD_BYTES
    return saying("x" * (size - empty))


async def has(cache: Cache, name: str) -> bool:
    return await cache.get(key(name)) is not None


async def test_an_answer_comes_back_as_it_was(cache: Cache, clock: ManualClock) -> None:
    await cache.put(key("a"), ANSWER)
    clock.advance_s(5)
    entry = await cache.get(key("a"))
    assert entry is not None
    assert entry.completion == ANSWER
    assert entry.created_at_us == clock.now_us() - 5_000_000
    assert await cache.get(key("b")) is None


async def test_every_clearing_begins_another_era(cache: Cache) -> None:
    eras = [cache.era]
    for scope in ({}, {"tenant_id": "acme"}, {"model": "m"}):
        await cache.clear(**scope)
        eras.append(cache.era)
    await cache.put(key("a"), ANSWER)
    assert cache.era == eras[-1]
    assert len(set(eras)) == 4


async def test_hits_are_counted_per_entry_and_all_together(cache: Cache) -> None:
    await cache.put(key("a"), ANSWER)
    counts = [entry.hit_count for _ in range(3) if (entry := await cache.get(key("a")))]
    assert counts == [1, 2, 3]
    await cache.get(key("b"))
    stats = await cache.stats()
    assert (stats.entries, stats.hits, stats.misses) == (1, 3, 1)
    after = await cache.get(key("a"))
    assert after is not None
    assert after.hit_count == 4


@pytest.mark.parametrize(("source", "lifetime_s"), [(Extreme(is_most=False), 900), (Extreme(is_most=True), 1_100)])
async def test_an_entry_lives_for_the_ttl_give_or_take_a_tenth(
    cache: Cache, clock: ManualClock, lifetime_s: int
) -> None:
    await cache.put(key("a"), ANSWER)
    entry = await cache.get(key("a"))
    assert entry is not None
    assert entry.expires_at_us - entry.created_at_us == lifetime_s * 1_000_000
    clock.set_us(entry.expires_at_us - 1)
    assert await has(cache, "a")
    clock.set_us(entry.expires_at_us)
    assert not await has(cache, "a")
    assert (await cache.stats()).entries == 0


async def test_an_older_entry_than_was_asked_for_is_a_miss_and_stays(cache: Cache, clock: ManualClock) -> None:
    await cache.put(key("a"), ANSWER)
    assert await cache.get(key("a"), max_age_s=0) is not None
    clock.advance_s(10)
    assert await cache.get(key("a"), max_age_s=10) is not None
    clock.advance_s(0.000001)
    assert await cache.get(key("a"), max_age_s=10) is None
    assert await cache.get(key("a"), max_age_s=11) is not None


async def test_a_newer_answer_replaces_the_older(cache: Cache, clock: ManualClock) -> None:
    await cache.put(key("a"), ANSWER)
    await cache.get(key("a"))
    clock.advance_s(500)
    await cache.put(key("a"), saying("new"))
    clock.advance_s(500)
    entry = await cache.get(key("a"))
    assert entry is not None
    assert (entry.completion.choices[0].text, entry.hit_count) == ("new", 1)
    assert (await cache.stats()).entries == 1


async def test_an_answer_above_the_entry_bound_is_not_kept(cache: Cache) -> None:
    bound = SETTINGS.entry_bytes_max + OVERHEAD_BYTES
    await cache.put(key("a"), answer_of(bound))
    await cache.put(key("b"), answer_of(bound + 1))
    assert await has(cache, "a")
    assert not await has(cache, "b")
    assert (await cache.stats()).bytes == bound


@only_tidy
async def test_all_entries_together_stay_within_the_bound_and_the_least_used_leave(
    cache: Cache, clock: ManualClock
) -> None:
    quarter = SETTINGS.bytes_max // 4
    for name in "abcd":
        await cache.put(key(name), answer_of(quarter))
        clock.advance_s(1)
    assert (await cache.stats()).bytes == SETTINGS.bytes_max
    for name in "ac":
        assert await has(cache, name)
        clock.advance_s(1)
    await cache.put(key("e"), answer_of(quarter))
    assert (await cache.stats()).entries == 4, "one left for one that came"
    clock.advance_s(1)
    await cache.put(key("f"), answer_of(quarter - 100))
    stats = await cache.stats()
    assert (stats.entries, stats.bytes) == (4, SETTINGS.bytes_max - 100)
    assert [await has(cache, name) for name in "abcdef"] == [True, False, True, False, True, True]


@only_tidy
async def test_what_is_expired_makes_room_before_what_is_used(cache: Cache, clock: ManualClock) -> None:
    quarter = SETTINGS.bytes_max // 4
    for name in "abcd":
        await cache.put(key(name), answer_of(quarter))
        clock.advance_s(300)
    for name in "ab":
        await has(cache, name)
    await cache.put(key("e"), answer_of(quarter))
    assert [await has(cache, name) for name in "abcde"] == [False, False, True, True, True]
    assert (await cache.stats()).bytes == 3 * quarter


@only_tidy
async def test_replacing_an_entry_needs_no_other_to_leave(cache: Cache, clock: ManualClock) -> None:
    quarter = SETTINGS.bytes_max // 4
    for name in "abcd":
        await cache.put(key(name), answer_of(quarter))
        clock.advance_s(1)
    await cache.put(key("d"), answer_of(quarter))
    assert [await has(cache, name) for name in "abcd"] == [True] * 4


PLACES = [("a", "acme", "m"), ("b", "acme", "n"), ("c", "other", "m"), ("d", "other", "n")]


@pytest.mark.parametrize(
    ("tenant_id", "model", "left"),
    [
        (None, None, []),
        ("acme", None, ["c", "d"]),
        (None, "m", ["b", "d"]),
        ("acme", "m", ["b", "c", "d"]),
        ("nobody", None, ["a", "b", "c", "d"]),
        (None, "none", ["a", "b", "c", "d"]),
        ("acme", "none", ["a", "b", "c", "d"]),
    ],
)
async def test_clearing_takes_what_it_names_and_no_more(
    cache: Cache, tenant_id: str | None, model: str | None, left: list[str]
) -> None:
    for name, owner, of in PLACES:
        await cache.put(key(name, owner, of), ANSWER)
    assert await cache.clear(tenant_id=tenant_id, model=model) == 4 - len(left)
    found = [name for name, owner, of in PLACES if await cache.get(key(name, owner, of)) is not None]
    assert found == left
    assert (await cache.stats()).entries == len(left)
    assert await cache.clear(tenant_id=tenant_id, model=model) == 0, "what is gone is not counted again"


async def test_expired_entries_are_not_counted_as_cleared(cache: Cache, clock: ManualClock) -> None:
    await cache.put(key("a"), ANSWER)
    clock.advance_s(600)
    await cache.put(key("b"), ANSWER)
    clock.advance_s(600)
    assert await cache.clear() == 1


async def test_what_is_put_after_a_clearing_is_kept(cache: Cache) -> None:
    for _ in range(3):
        await cache.put(key("a"), ANSWER)
        assert await has(cache, "a")
        assert await cache.clear(tenant_id="acme") == 1
        assert not await has(cache, "a")


async def test_a_clock_that_goes_back_does_no_harm(cache: Cache, clock: ManualClock) -> None:
    await cache.put(key("a"), ANSWER)
    clock.advance_s(-86_400)
    assert await cache.get(key("a"), max_age_s=0) is not None
    await cache.put(key("b"), ANSWER)
    clock.advance_s(950)
    assert await has(cache, "a")
    assert not await has(cache, "b")


async def test_a_clock_that_leaps_forward_expires_everything(cache: Cache, clock: ManualClock) -> None:
    await cache.put(key("a"), ANSWER)
    clock.advance_s(10 * 365 * 86_400)
    assert not await has(cache, "a")
    await cache.put(key("a"), ANSWER)
    assert await has(cache, "a")


async def test_the_first_to_claim_leads_and_the_others_wait_for_its_answer(cache: Cache) -> None:
    assert await cache.get(key("a")) is None
    assert await cache.claim(key("a"), "one") == Claim(True)
    assert await cache.get(key("a")) is None
    assert await cache.claim(key("a"), "two") == Claim(False)
    assert await cache.claim(key("b"), "two") == Claim(True), "another request has a lease of its own"
    await cache.put(key("a"), ANSWER, lease_id="one")
    claim = await cache.claim(key("a"), "two")
    assert claim.entry is not None
    assert (claim.is_leader, claim.entry.completion) == (False, ANSWER)
    stats = await cache.stats()
    assert (stats.hits, stats.misses) == (1, 1), "the follower's miss became a hit"


async def test_a_claim_again_is_still_the_leaders(cache: Cache, clock: ManualClock) -> None:
    for _ in range(3):
        assert await cache.claim(key("a"), "one") == Claim(True)
        clock.advance_s(LEASE_S - 0.5)
    assert await cache.claim(key("a"), "two") == Claim(False)


async def test_an_answer_ends_the_lease_even_if_it_is_too_large_to_keep(cache: Cache) -> None:
    await cache.claim(key("a"), "one")
    await cache.put(key("a"), answer_of(SETTINGS.entry_bytes_max + OVERHEAD_BYTES + 1), lease_id="one")
    assert await cache.claim(key("a"), "two") == Claim(True)


async def test_a_released_lease_is_the_next_ones_and_someone_elses_stays(cache: Cache) -> None:
    await cache.claim(key("a"), "one")
    await cache.release(key("a"), "two")
    assert await cache.claim(key("a"), "two") == Claim(False)
    await cache.release(key("a"), "one")
    assert await cache.claim(key("a"), "two") == Claim(True)


async def test_a_lease_lapses_and_is_taken_over(cache: Cache, clock: ManualClock) -> None:
    await cache.claim(key("a"), "one")
    clock.advance_s(LEASE_S - 0.000001)
    assert await cache.claim(key("a"), "two") == Claim(False)
    clock.advance_s(0.000001)
    assert await cache.claim(key("a"), "two") == Claim(True)
    assert not await cache.renew(key("a"), "one"), "it is another's"
    await cache.put(key("a"), ANSWER, lease_id="one")
    assert not await has(cache, "a"), "who lost the lease keeps nothing"
    await cache.put(key("a"), ANSWER, lease_id="two")
    assert await has(cache, "a")


async def test_a_renewed_lease_lives_on(cache: Cache, clock: ManualClock) -> None:
    await cache.claim(key("a"), "one")
    for _ in range(5):
        clock.advance_s(LEASE_S - 1)
        await cache.renew(key("a"), "one")
        assert await cache.claim(key("a"), "two") == Claim(False)
    clock.advance_s(LEASE_S)
    assert await cache.claim(key("a"), "two") == Claim(True)


async def test_a_lapsed_lease_that_nobody_took_is_still_the_leaders(cache: Cache, clock: ManualClock) -> None:
    await cache.claim(key("a"), "one")
    clock.advance_s(LEASE_S + 30)
    assert not await cache.renew(key("a"), "one")
    assert await cache.claim(key("a"), "two") == Claim(False)
    clock.advance_s(LEASE_S + 30)
    await cache.put(key("a"), ANSWER, lease_id="one")
    assert await has(cache, "a")


@only_tidy
async def test_a_lease_that_lapsed_long_ago_is_swept_by_the_next(cache: Cache, clock: ManualClock) -> None:
    await cache.claim(key("a"), "one")
    clock.advance_s(LEASE_S + LOST_AFTER_US / 1_000_000)
    await cache.claim(key("b"), "two")
    await cache.put(key("a"), ANSWER, lease_id="one")
    assert not await has(cache, "a")


async def test_the_leader_hears_whether_anyone_waits(cache: Cache, clock: ManualClock) -> None:
    await cache.claim(key("a"), "one")
    assert not await cache.renew(key("a"), "one")
    await cache.claim(key("a"), "two")
    assert await cache.renew(key("a"), "one")
    for _ in range(20):
        clock.advance_s(0.25)
        await cache.claim(key("a"), "two")
        assert await cache.renew(key("a"), "one"), "who keeps asking is known to wait"
    clock.advance_s(WANTED_S)
    await cache.renew(key("a"), "one")
    clock.advance_s(0.5)
    assert not await cache.renew(key("a"), "one"), "who no longer asks is not waited for"


async def test_one_who_no_longer_waits_is_forgotten_soon_and_who_still_waits_is_not(
    cache: Cache, clock: ManualClock
) -> None:
    await cache.claim(key("a"), "one")
    await cache.claim(key("a"), "two")
    await cache.claim(key("a"), "three")
    await cache.release(key("a"), "two")
    clock.advance_s(LAST_CALL_US / 1_000_000)
    assert await cache.renew(key("a"), "one"), "three has time to ask again"
    assert await cache.claim(key("a"), "three") == Claim(False)
    clock.advance_s(1)
    assert await cache.renew(key("a"), "one")
    await cache.release(key("a"), "three")
    clock.advance_s(LAST_CALL_US / 1_000_000 + 0.000001)
    assert not await cache.renew(key("a"), "one")
    assert await cache.claim(key("a"), "four") == Claim(False), "the lease is still one's"


async def test_giving_up_late_makes_no_mark_newer(cache: Cache, clock: ManualClock) -> None:
    await cache.claim(key("a"), "one")
    await cache.claim(key("a"), "two")
    clock.advance_s(WANTED_S - 0.1)
    await cache.release(key("a"), "two")
    clock.advance_s(0.2)
    assert not await cache.renew(key("a"), "one")


async def test_giving_up_leaves_a_lease_that_nobody_waits_for_as_it_is(cache: Cache) -> None:
    await cache.release(key("a"), "two")
    await cache.claim(key("a"), "one")
    await cache.release(key("a"), "two")
    assert not await cache.renew(key("a"), "one")


async def test_a_lease_of_a_clock_that_went_back_is_cut(cache: Cache, clock: ManualClock) -> None:
    await cache.claim(key("a"), "one")
    await cache.claim(key("a"), "two")
    clock.advance_s(-3_600)
    assert await cache.claim(key("a"), "two") == Claim(False)
    clock.advance_s(LEASE_S)
    assert await cache.claim(key("a"), "two") == Claim(True)


async def test_a_lease_that_was_renewed_before_the_clock_went_back_is_cut_also_for_one_who_keeps_asking(
    cache: Cache, clock: ManualClock
) -> None:
    await cache.claim(key("a"), "one")
    await cache.claim(key("a"), "two")
    clock.advance_s(0.4)
    await cache.renew(key("a"), "one")
    clock.advance_s(-0.3)
    assert await cache.claim(key("a"), "two") == Claim(False)
    clock.advance_s(LEASE_S)
    assert await cache.claim(key("a"), "two") == Claim(True)


async def test_who_asks_after_the_clock_went_back_is_known_to_wait_from_then(cache: Cache, clock: ManualClock) -> None:
    await cache.claim(key("a"), "one")
    clock.advance_s(1)
    await cache.claim(key("a"), "two")
    clock.advance_s(-0.8)
    await cache.claim(key("a"), "two")
    clock.advance_s(WANTED_S + 0.1)
    assert not await cache.renew(key("a"), "one")


async def test_a_mark_of_a_clock_that_went_back_does_not_last(cache: Cache, clock: ManualClock) -> None:
    await cache.claim(key("a"), "one")
    await cache.claim(key("a"), "two")
    clock.advance_s(-3_600)
    assert await cache.renew(key("a"), "one")
    clock.advance_s(WANTED_S + 0.000001)
    assert not await cache.renew(key("a"), "one")


async def test_an_entry_too_old_for_the_caller_is_made_again(cache: Cache, clock: ManualClock) -> None:
    await cache.put(key("a"), ANSWER)
    clock.advance_s(10)
    assert (await cache.claim(key("a"), "one", max_age_s=10)).entry is not None
    assert await cache.claim(key("a"), "one", max_age_s=9) == Claim(True)
    assert await cache.claim(key("a"), "two", max_age_s=9) == Claim(False)
    assert (await cache.claim(key("a"), "three")).entry is not None
    await cache.put(key("a"), saying("new"), lease_id="one")
    claim = await cache.claim(key("a"), "two", max_age_s=9)
    assert claim.entry is not None
    assert claim.entry.completion.choices[0].text == "new"


async def test_an_answer_that_was_asked_for_anew_replaces_and_leaves_the_lease(cache: Cache) -> None:
    await cache.claim(key("a"), "one")
    await cache.put(key("a"), saying("anew"))
    claim = await cache.claim(key("a"), "two")
    assert claim.entry is not None
    assert claim.entry.completion.choices[0].text == "anew"
    await cache.put(key("a"), saying("leader's"), lease_id="one")
    entry = await cache.get(key("a"))
    assert entry is not None
    assert entry.completion.choices[0].text == "leader's"


@pytest.mark.parametrize(
    ("tenant_id", "model", "is_within"),
    [
        (None, None, True),
        ("acme", None, True),
        (None, "m", True),
        ("acme", "m", True),
        ("x", None, False),
        ("acme", "x", False),
    ],
)
async def test_an_answer_begun_before_a_clearing_of_its_scope_is_not_kept(
    cache: Cache, tenant_id: str | None, model: str | None, is_within: bool
) -> None:
    await cache.claim(key("a"), "one")
    await cache.clear(tenant_id=tenant_id, model=model)
    assert await cache.claim(key("a"), "two") == Claim(is_within), "the next leads at once"
    await cache.put(key("a"), ANSWER, lease_id="one")
    assert await has(cache, "a") is not is_within
    await cache.put(key("a"), ANSWER, lease_id="two")
    assert await has(cache, "a")


async def test_requests_that_joined_a_flight_are_hits_of_its_entry(cache: Cache) -> None:
    for _ in range(4):
        await cache.get(key("a"))
    await cache.claim(key("a"), "one")
    await cache.put(key("a"), ANSWER, lease_id="one")
    await cache.joined(key("a"), 3)
    stats = await cache.stats()
    assert (stats.hits, stats.misses, stats.hit_rate) == (3, 1, 0.75)
    entry = await cache.get(key("a"))
    assert entry is not None
    assert entry.hit_count == 4
    await cache.joined(key("a"), 2)
    entry = await cache.get(key("a"))
    assert entry is not None
    assert entry.hit_count == 7
    await cache.joined(key("gone"), 1)
    assert (await cache.stats()).hits == 8, "an answer that was not kept has hits all the same"


async def test_entries_are_listed_with_the_most_used_first(cache: Cache, clock: ManualClock) -> None:
    for name, hits in (("a", 1), ("b", 3), ("c", 0), ("d", 2)):
        await cache.put(key(name, f"tenant of {name}", f"model of {name}"), ANSWER)
        for _ in range(hits):
            await cache.get(key(name, f"tenant of {name}", f"model of {name}"))
    most = await cache.entries(2)
    assert [(facts.digest, facts.hit_count, facts.hit_rate) for facts in most] == [
        (key("b").digest, 3, 0.75),
        (key("d").digest, 2, 2 / 3),
    ]
    assert (most[0].tenant_id, most[0].model) == ("tenant of b", "model of b")
    assert most[0].bytes == len(written(ANSWER)) + OVERHEAD_BYTES
    assert (most[0].created_at_us, most[0].expires_at_us) == (clock.now_us(), clock.now_us() + 900_000_000)
    await cache.clear(tenant_id="tenant of b")
    assert [facts.hit_count for facts in await cache.entries(10)] == [2, 1, 0]
    clock.advance_s(900)
    assert await cache.entries(10) == []
