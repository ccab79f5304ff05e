"""What may be read from the cache and what may be kept in it."""

import pytest
from msgspec.structs import replace

from aiservice.cache import CachePolicy, Claim, ResponseCache
from aiservice.cache.memory import MemoryCache
from aiservice.core.clock import ManualClock
from aiservice.core.errors import InvalidRequest
from aiservice.core.settings import CacheSettings
from aiservice.core.types import Chunk, Completion, FinishReason, Generation, Message, Tokens

GENERATION = Generation("m", (Message("user", "hello"),), 0.7, 500)
ANSWER = Completion("smollm2:135m", "llamacpp", (Chunk("Hi.", "stop", Tokens(3, 2)),))


def saying(text: str) -> Completion:
    return Completion(ANSWER.model, ANSWER.engine, (Chunk(text, "stop", Tokens(3, 2)),))


def ended(reason: FinishReason) -> Completion:
    return Completion(ANSWER.model, ANSWER.engine, (Chunk("Hi.", reason, Tokens(3, 2)),))


ANY = CachePolicy()


def make(ttl_s: int = 3_600, clock: ManualClock | None = None) -> ResponseCache:
    settings = CacheSettings(ttl_s=ttl_s)
    return ResponseCache(settings, MemoryCache(settings, clock or ManualClock()))


def key_of(cache: ResponseCache, generation: Generation = GENERATION, tenant_id: str = "acme"):
    return cache.key(generation, tenant_id=tenant_id, model="smollm2:135m", model_digest="sha256:abc")


async def test_what_was_kept_is_found_by_the_same_request_of_the_same_tenant() -> None:
    cache = make()
    await cache.keep(key_of(cache), ANSWER)
    entry = await cache.look_up(key_of(cache, replace(GENERATION, stream=True)), ANY)
    assert entry is not None
    assert (entry.completion, entry.hit_count) == (ANSWER, 1)
    assert await cache.look_up(key_of(cache, tenant_id="other"), ANY) is None
    assert cache.failures == 0


async def test_a_policy_that_may_not_read_finds_nothing_and_counts_nothing() -> None:
    cache = make()
    await cache.keep(key_of(cache), ANSWER)
    assert await cache.look_up(key_of(cache), CachePolicy(may_read=False)) is None
    stats = await cache.stats()
    assert (stats.entries, stats.hits, stats.misses) == (1, 0, 0)


async def test_max_age_is_handed_on() -> None:
    clock = ManualClock()
    cache = make(clock=clock)
    await cache.keep(key_of(cache), ANSWER)
    clock.advance_s(11)
    assert await cache.look_up(key_of(cache), CachePolicy(max_age_s=10)) is None
    assert await cache.look_up(key_of(cache), CachePolicy(max_age_s=11)) is not None


@pytest.mark.parametrize(("reason", "is_kept"), [("stop", True), ("length", True), ("content_filter", False)])
async def test_only_answers_that_ended_by_themselves_are_kept(reason: FinishReason, is_kept: bool) -> None:
    cache = make()
    await cache.keep(key_of(cache), ended(reason))
    assert ((await cache.look_up(key_of(cache), ANY)) is not None) == is_kept


async def test_an_empty_answer_is_not_kept() -> None:
    cache = make()
    await cache.keep(key_of(cache), saying(""))
    assert await cache.look_up(key_of(cache), ANY) is None


async def test_a_lifetime_of_nothing_switches_the_cache_off() -> None:
    cache = make(ttl_s=0)
    await cache.keep(key_of(cache), ANSWER)
    assert await cache.look_up(key_of(cache), ANY) is None
    assert await cache.stats() == await make().stats()


def test_a_cache_that_is_off_makes_every_request_a_bypass() -> None:
    off = make(ttl_s=0)
    assert off.policy(None) == CachePolicy(may_read=False, may_write=False)
    assert off.policy("only-if-cached").only_if_cached
    with pytest.raises(InvalidRequest):
        off.policy("max-age=x")


def test_a_cache_that_is_on_reads_the_header() -> None:
    assert make().policy("no-cache") == CachePolicy(may_read=False)


async def test_clearing_says_how_many_there_were() -> None:
    cache = make()
    await cache.keep(key_of(cache), ANSWER)
    await cache.keep(key_of(cache, tenant_id="other"), ANSWER)
    assert await cache.clear(tenant_id="acme") == 1
    assert await cache.clear() == 1
    await cache.aclose()


async def test_a_leader_keeps_its_answer_and_a_follower_finds_it() -> None:
    cache = make()
    key = key_of(cache)
    assert (await cache.claim(key, "one", ANY)).is_leader
    assert not await cache.renew(key, "one")
    assert await cache.claim(key, "two", ANY) == Claim(False)
    assert await cache.renew(key, "one")
    await cache.keep(key, ANSWER, "one")
    claim = await cache.claim(key, "two", ANY)
    assert claim.entry is not None
    await cache.joined(key, 2)
    (facts,) = await cache.entries(10)
    assert (facts.digest, facts.hit_count) == (key.digest, 3)


async def test_a_lease_that_is_given_up_is_the_next_ones() -> None:
    cache = make()
    await cache.claim(key_of(cache), "one", ANY)
    await cache.release(key_of(cache), "one")
    assert (await cache.claim(key_of(cache), "two", ANY)).is_leader


@pytest.mark.parametrize("answer", [saying(""), ended("content_filter")])
async def test_an_answer_that_is_not_kept_gives_up_its_lease(answer: Completion) -> None:
    cache = make()
    await cache.claim(key_of(cache), "one", ANY)
    await cache.keep(key_of(cache), answer, "two")
    assert await cache.claim(key_of(cache), "three", ANY) == Claim(False), "someone else's stays"
    await cache.keep(key_of(cache), answer, "one")
    assert (await cache.claim(key_of(cache), "three", ANY)).is_leader


async def test_the_age_that_is_asked_for_counts_for_a_claim_too() -> None:
    clock = ManualClock()
    cache = make(clock=clock)
    await cache.keep(key_of(cache), ANSWER)
    clock.advance_s(11)
    assert (await cache.claim(key_of(cache), "one", CachePolicy(max_age_s=11))).entry is not None
    assert (await cache.claim(key_of(cache), "one", CachePolicy(max_age_s=10))).is_leader
