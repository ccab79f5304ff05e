"""The policy of limits: a caller's facts become buckets, a refusal becomes a sentence."""

from dataclasses import dataclass, replace

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.errors import FieldInvalid, LimitExceeded
from aiservice.core.settings import LimitSettings
from aiservice.limits import Bucket, Cost, Limits, Slots, Take, TakeRefused
from aiservice.limits.memory import MemoryLimiter
from aiservice.limits.service import LIMIT_MAX


@dataclass(frozen=True, slots=True)
class Facts:
    logical_id: str = "k1"
    tenant_id: str = "acme"
    tier: str = "free"
    quota_requests_per_hour: int | None = None
    tokens_per_hour: int | None = None
    concurrency: int | None = None


SETTINGS = LimitSettings(
    default_rate_limit=3, default_rate_window_s=60, rate_limit_pro=1_000, rate_limit_enterprise=10_000
)


def make(settings: LimitSettings = SETTINGS, clock: ManualClock | None = None) -> Limits:
    return Limits(settings, MemoryLimiter(clock or ManualClock()))


@pytest.mark.parametrize(
    ("facts", "limit", "period_s"),
    [
        (Facts(), 3, 60),
        (Facts(tier="pro"), 1_000, 3_600),
        (Facts(tier="enterprise"), 10_000, 3_600),
        (Facts(tier="free", quota_requests_per_hour=7), 7, 3_600),
        (Facts(tier="pro", quota_requests_per_hour=10**18), LIMIT_MAX, 3_600),
    ],
)
def test_a_tier_or_an_own_quota_decides_the_bucket(facts: Facts, limit: int, period_s: int) -> None:
    take = make().take_for("r", facts)
    bucket = Bucket("requests:key:k1", "acme", burst=limit, rate=limit, period_s=period_s)
    assert take == Take("r", (Cost(bucket, 1),), ())


def test_tokens_and_slots_are_taken_where_they_are_limited() -> None:
    take = make().take_for("r", Facts(tokens_per_hour=500, concurrency=2), tokens_estimate=120)
    tokens = Bucket("tokens:key:k1", "acme", burst=500, rate=500, period_s=3_600)
    assert take.costs[1:] == (Cost(tokens, 120),)
    assert take.slots == (Slots("slots:key:k1", "acme", 2),)


def test_a_token_limit_too_large_to_be_exact_is_as_large_as_can_be() -> None:
    take = make().take_for("r", Facts(tokens_per_hour=10**18), tokens_estimate=1)
    assert take.costs[1].bucket.burst == LIMIT_MAX


def test_an_estimate_above_the_whole_limit_is_said_to_be_too_large() -> None:
    limits = make()
    facts = Facts(tokens_per_hour=500)
    assert limits.take_for("r", facts, tokens_estimate=500).costs[1].amount == 500
    with pytest.raises(FieldInvalid, match=r"501 tokens .* 500; lower max_tokens") as caught:
        limits.take_for("r", facts, tokens_estimate=501)
    assert caught.value.param == "max_tokens"


@pytest.mark.parametrize(
    ("limit", "burst", "rate"), [(100, 10, 90), (19, 1, 18), (2, 1, 1), (1, 1, 1), (10_000, 1_000, 9_000)]
)
def test_strict_burst_and_refill_together_are_the_limit(limit: int, burst: int, rate: int) -> None:
    strict = make(SETTINGS.model_copy(update={"is_strict": True}))
    bucket = strict.take_for("r", Facts(quota_requests_per_hour=limit)).costs[0].bucket
    assert (bucket.burst, bucket.rate, bucket.period_s) == (burst, rate, 3_600)


def test_strict_tokens_keep_half_for_one_request() -> None:
    strict = make(SETTINGS.model_copy(update={"is_strict": True}))
    bucket = strict.take_for("r", Facts(tokens_per_hour=1_001)).costs[1].bucket
    assert (bucket.burst, bucket.rate) == (500, 501)


def test_buckets_are_made_once_per_subject_and_anew_when_its_facts_change() -> None:
    limits = make()
    first = limits.take_for("r1", Facts())
    assert limits.take_for("r2", Facts()).costs is first.costs
    raised = limits.take_for("r3", Facts(quota_requests_per_hour=9))
    assert raised.costs[0].bucket.burst == 9
    assert limits.take_for("r4", Facts(logical_id="k2")).costs[0].bucket.id == "requests:key:k2"


def test_remembered_subjects_are_bounded() -> None:
    limits = Limits(SETTINGS, MemoryLimiter(ManualClock()), plans_max=2)
    oldest = limits.take_for("r", Facts(logical_id="oldest")).costs
    younger = limits.take_for("r", Facts(logical_id="younger")).costs
    limits.take_for("r", Facts(logical_id="youngest"))
    assert limits.take_for("r", Facts(logical_id="younger")).costs is younger
    assert limits.take_for("r", Facts(logical_id="oldest")).costs is not oldest


async def test_a_used_up_limit_names_its_owner_and_the_wait() -> None:
    limits = make()
    for number in range(3):
        decision = await limits.take(limits.take_for(str(number), Facts()))
        assert decision.standings[0].remaining == 2 - number
    with pytest.raises(LimitExceeded) as caught:
        await limits.take(limits.take_for("4", Facts()))
    assert caught.value.public == "The request limit of this key is used up; try again in 20 s."
    assert caught.value.retry_after_s == 20
    assert isinstance(caught.value, TakeRefused)
    assert (b"retry-after", b"20") in limits.headers(caught.value.decision)


async def test_a_used_up_token_limit_says_so() -> None:
    limits = make()
    facts = Facts(tokens_per_hour=100)
    await limits.take(limits.take_for("1", facts, tokens_estimate=90))
    with pytest.raises(LimitExceeded, match=r"The token limit of this key is used up; try again in 720 s\."):
        await limits.take(limits.take_for("2", facts, tokens_estimate=30))


async def test_busy_slots_say_so() -> None:
    limits = make()
    facts = Facts(concurrency=1)
    await limits.take(limits.take_for("1", facts))
    with pytest.raises(LimitExceeded, match="As many requests of this key are running") as caught:
        await limits.take(limits.take_for("2", facts))
    assert caught.value.retry_after_s == 1


@pytest.mark.parametrize(("owner", "words"), [("user", "this user"), ("tenant", "this tenant"), ("x", "this caller")])
async def test_a_limit_of_a_user_or_tenant_is_named(owner: str, words: str) -> None:
    limits = make()
    take = Take("r", (Cost(Bucket(f"requests:{owner}:b", "acme", burst=1, rate=1, period_s=60), 1),))
    await limits.take(take)
    with pytest.raises(LimitExceeded, match=f"The request limit of {words} is used up; try again in 60 s"):
        await limits.take(take)


async def test_a_cost_that_never_fits_is_refused_without_a_wait() -> None:
    limits = make()
    take = Take("r", (Cost(Bucket("tokens:user:b", "acme", burst=1, rate=1, period_s=60), 2),))
    with pytest.raises(TakeRefused, match="more than the whole tokens limit of this user") as caught:
        await limits.take(take)
    assert b"retry-after" not in dict(limits.headers(caught.value.decision))


async def test_a_refund_gives_the_request_back() -> None:
    limits = make()
    take = limits.take_for("r", Facts())
    await limits.take(take)
    await limits.refund(take)
    assert (await limits.standing(Facts())).remaining == 3


async def test_a_settlement_corrects_tokens_frees_slots_and_keeps_the_request() -> None:
    limits = make()
    facts = Facts(tokens_per_hour=100, concurrency=1)
    take = limits.take_for("r", facts, tokens_estimate=90)
    await limits.take(take)
    await limits.settle(take, tokens=30)
    requests, tokens = (await limits.peek(facts)).standings
    assert (requests.remaining, tokens.remaining) == (2, 70)
    await limits.take(limits.take_for("r2", facts, tokens_estimate=70))


async def test_a_settlement_of_slots_alone_frees_them() -> None:
    limits = make()
    facts = Facts(concurrency=1)
    take = limits.take_for("r", facts)
    await limits.take(take)
    await limits.settle(take, tokens=30)
    await limits.take(limits.take_for("r2", facts))


async def test_a_plain_request_has_nothing_to_settle() -> None:
    limits = make()
    take = limits.take_for("r", Facts())
    await limits.take(take)
    await limits.settle(take, tokens=10_000)
    assert (await limits.standing(Facts())).remaining == 2


async def test_renewed_slots_outlive_their_lease() -> None:
    clock = ManualClock()
    limits = make(clock=clock)
    facts = Facts(concurrency=1)
    take = limits.take_for("r", facts)
    await limits.take(take)
    clock.advance_s(20)
    await limits.renew(take)
    clock.advance_s(20)
    with pytest.raises(TakeRefused):
        await limits.take(limits.take_for("r2", facts))
    await limits.aclose()


async def test_the_standing_is_what_usage_shows() -> None:
    clock = ManualClock(1_750_000_000_000_000)
    limits = make(clock=clock)
    await limits.take(limits.take_for("r", Facts()))
    standing = await limits.standing(Facts())
    assert (standing.limit, standing.remaining, standing.reset_at_s) == (3, 2, 1_750_000_020)


async def test_a_changed_quota_keeps_what_was_used() -> None:
    limits = make()
    facts = Facts(quota_requests_per_hour=10)
    for number in range(10):
        await limits.take(limits.take_for(str(number), facts))
    with pytest.raises(TakeRefused):
        await limits.take(limits.take_for("r", replace(facts, quota_requests_per_hour=20)))
