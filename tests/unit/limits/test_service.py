"""The policy of limits: a caller's facts become buckets, a refusal becomes a sentence."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.errors import FieldInvalid, LimitExceeded, StoreUnavailable
from aiservice.core.settings import LimitSettings
from aiservice.limits import Allowance, Bucket, Cost, Limits, Rule, Take, TakeRefused
from aiservice.limits.memory import MemoryLimiter, MemoryRuleStore
from tests.unit.limits.facts import SETTINGS, Facts


def make(settings: LimitSettings = SETTINGS, clock: ManualClock | None = None) -> Limits:
    clock = clock or ManualClock()
    return Limits(settings, MemoryLimiter(clock), MemoryRuleStore(clock))


class Away(MemoryRuleStore):
    """A store of rules that cannot be read."""

    def __init__(self) -> None:
        super().__init__(ManualClock())

    async def find(self, tenant_id: str, user_id: str | None) -> Sequence[Rule]:
        raise StoreUnavailable


async def test_an_estimate_above_the_whole_limit_is_said_to_be_too_large() -> None:
    limits = make()
    facts = Facts(tokens_per_hour=500)
    assert (await limits.take_for("r", facts, tokens_estimate=500)).costs[1].amount == 500
    with pytest.raises(FieldInvalid, match=r"501 tokens .* 500; lower max_tokens") as caught:
        await limits.take_for("r", facts, tokens_estimate=501)
    assert caught.value.param == "max_tokens"


async def test_the_smallest_of_several_token_limits_says_that_an_estimate_is_too_large() -> None:
    limits = make()
    await limits.set_rule(Rule("acme", tokens_per_hour=300))
    facts = Facts(tokens_per_hour=500)
    with pytest.raises(FieldInvalid, match=r"301 tokens and the token limit of this tenant is 300; lower max_tokens"):
        await limits.take_for("r", facts, tokens_estimate=301)
    assert len((await limits.take_for("r", facts, tokens_estimate=300)).costs) == 3


async def test_key_user_and_tenant_are_taken_in_one_take() -> None:
    limits = make()
    await limits.set_rule(Rule("acme", requests_per_hour=50, tokens_per_hour=900, concurrency=4))
    await limits.set_rule(Rule("acme", "ann", requests_per_hour=20, tokens_per_hour=600, concurrency=2))
    take = await limits.take_for("r", Facts(tokens_per_hour=500, concurrency=1), tokens_estimate=100)
    assert [(cost.bucket.id, cost.amount) for cost in take.costs] == [
        ("requests:key:k1", 1),
        ("requests:user:ann", 1),
        ("requests:tenant:acme", 1),
        ("tokens:key:k1", 100),
        ("tokens:user:ann", 100),
        ("tokens:tenant:acme", 100),
    ]
    assert [slots.id for slots in take.slots] == ["slots:key:k1", "slots:user:ann", "slots:tenant:acme"]


async def test_a_settlement_corrects_the_tokens_of_key_user_and_tenant() -> None:
    limits = make()
    await limits.set_rule(Rule("acme", tokens_per_hour=900))
    await limits.set_rule(Rule("acme", "ann", tokens_per_hour=600))
    facts = Facts(tokens_per_hour=500)
    take = await limits.take_for("r", facts, tokens_estimate=400)
    await limits.take(take)
    await limits.settle(take, tokens=70)
    assert [one.remaining for one in (await limits.peek(facts)).standings] == [2, 430, 530, 830]
    await limits.refund(take)
    assert [one.remaining for one in (await limits.peek(facts)).standings] == [2, 430, 530, 830]


@pytest.mark.parametrize("limit", [1, 2, 7, 20, 100])
async def test_strict_admits_no_more_than_the_limit_in_any_hour(limit: int) -> None:
    clock = ManualClock()
    limits = make(SETTINGS.model_copy(update={"is_strict": True}), clock)
    facts, admitted = Facts(quota_requests_per_hour=limit), list[int]()
    for number in range(1_500):
        try:
            await limits.take(await limits.take_for(str(number), facts))
            admitted.append(clock.now_us())
        except TakeRefused:
            clock.advance_s(7)
    most = max(sum(start <= at < start + 3_600_000_000 for at in admitted) for start in admitted)
    assert 1 <= most <= limit
    assert len(admitted) >= limit, "and the refill is given"


async def test_all_keys_of_a_user_and_all_users_of_a_tenant_share() -> None:
    limits = make()
    await limits.set_rule(Rule("acme", requests_per_hour=3))
    await limits.set_rule(Rule("acme", "ann", requests_per_hour=2))
    for key in ("k1", "k2"):
        await limits.take(await limits.take_for(f"r{key}", Facts(logical_id=key)))
    with pytest.raises(TakeRefused, match="request limit of this user is used up"):
        await limits.take(await limits.take_for("r3", Facts(logical_id="k3")))
    await limits.take(await limits.take_for("r4", Facts(logical_id="k4", user_id="bob")))
    with pytest.raises(TakeRefused, match="request limit of this tenant is used up"):
        await limits.take(await limits.take_for("r5", Facts(logical_id="k5", user_id=None)))
    await limits.take(await limits.take_for("r6", Facts(logical_id="k6", tenant_id="other")))


async def test_busy_slots_of_a_tenant_say_so() -> None:
    limits = make()
    await limits.set_rule(Rule("acme", concurrency=1))
    await limits.take(await limits.take_for("1", Facts()))
    with pytest.raises(TakeRefused, match="As many requests of this tenant are running"):
        await limits.take(await limits.take_for("2", Facts(logical_id="k2")))


async def test_a_used_up_limit_names_its_owner_and_the_wait() -> None:
    limits = make()
    for number in range(3):
        decision = await limits.take(await limits.take_for(str(number), Facts()))
        assert decision.standings[0].remaining == 2 - number
    with pytest.raises(LimitExceeded) as caught:
        await limits.take(await limits.take_for("4", Facts()))
    assert caught.value.public == "The request limit of this key is used up; try again in 20 s."
    assert caught.value.retry_after_s == 20
    assert isinstance(caught.value, TakeRefused)


async def test_a_used_up_token_limit_says_so() -> None:
    limits = make()
    facts = Facts(tokens_per_hour=100)
    await limits.take(await limits.take_for("1", facts, tokens_estimate=90))
    with pytest.raises(LimitExceeded, match=r"The token limit of this key is used up; try again in 720 s\."):
        await limits.take(await limits.take_for("2", facts, tokens_estimate=30))


async def test_busy_slots_say_so() -> None:
    limits = make()
    facts = Facts(concurrency=1)
    await limits.take(await limits.take_for("1", facts))
    with pytest.raises(LimitExceeded, match="As many requests of this key are running") as caught:
        await limits.take(await limits.take_for("2", facts))
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
    assert caught.value.retry_after_s is None


async def test_a_refund_gives_the_request_back() -> None:
    limits = make()
    take = await limits.take_for("r", Facts())
    await limits.take(take)
    await limits.refund(take)
    assert (await limits.peek(Facts())).standings[0].remaining == 3


async def test_a_settlement_corrects_tokens_frees_slots_and_keeps_the_request() -> None:
    limits = make()
    facts = Facts(tokens_per_hour=100, concurrency=1)
    take = await limits.take_for("r", facts, tokens_estimate=90)
    await limits.take(take)
    await limits.settle(take, tokens=30)
    requests, tokens = (await limits.peek(facts)).standings
    assert (requests.remaining, tokens.remaining) == (2, 70)
    await limits.take(await limits.take_for("r2", facts, tokens_estimate=70))


async def test_a_settlement_of_slots_alone_frees_them() -> None:
    limits = make()
    facts = Facts(concurrency=1)
    take = await limits.take_for("r", facts)
    await limits.take(take)
    await limits.settle(take, tokens=30)
    await limits.take(await limits.take_for("r2", facts))


async def test_a_plain_request_has_nothing_to_settle() -> None:
    limits = make()
    take = await limits.take_for("r", Facts())
    await limits.take(take)
    await limits.settle(take, tokens=10_000)
    assert (await limits.peek(Facts())).standings[0].remaining == 2


async def test_renewed_slots_outlive_their_lease() -> None:
    clock = ManualClock()
    limits = make(clock=clock)
    facts = Facts(concurrency=1)
    take = await limits.take_for("r", facts)
    await limits.take(take)
    clock.advance_s(20)
    await limits.renew(take)
    clock.advance_s(20)
    with pytest.raises(TakeRefused):
        await limits.take(await limits.take_for("r2", facts))
    await limits.aclose()


async def test_usage_is_the_bucket_that_speaks_in_the_headers() -> None:
    clock = ManualClock(1_750_000_000_000_000)
    limits = make(clock=clock)
    await limits.take(await limits.take_for("r", Facts()))
    standing, allowances = await limits.usage(Facts())
    assert (standing.limit, standing.remaining, standing.reset_at_s) == (3, 2, 1_750_000_020)
    assert allowances == [Allowance("requests", "key", 3, 1, 2, 1_750_000_020)]


@pytest.mark.parametrize(("user", "tenant", "speaks"), [(50, 40, 3), (2, 40, 2), (50, 1, 1), (3, 3, 3)])
async def test_the_tightest_bucket_speaks_in_usage_and_headers_alike(user: int, tenant: int, speaks: int) -> None:
    limits = make()
    await limits.set_rule(Rule("acme", "ann", requests_per_hour=user))
    await limits.set_rule(Rule("acme", requests_per_hour=tenant))
    decision = await limits.take(await limits.take_for("r", Facts()))
    found = dict(limits.headers(decision))
    standing, allowances = await limits.usage(Facts())
    assert (found[b"x-ratelimit-limit"], standing.limit) == (b"%d" % speaks, speaks)
    assert (found[b"x-ratelimit-remaining"], standing.remaining) == (b"%d" % (speaks - 1), speaks - 1)
    assert found[b"x-ratelimit-reset"] == b"%d" % standing.reset_at_s
    assert dict(limits.anthropic_headers(decision))[b"anthropic-ratelimit-requests-limit"] == b"%d" % speaks
    assert [(one.of, one.max, one.used) for one in allowances] == [
        ("key", 3, 1),
        ("user", user, 1),
        ("tenant", tenant, 1),
    ]


async def test_usage_shows_every_limit() -> None:
    clock = ManualClock(1_750_000_000_000_000)
    limits = make(clock=clock)
    await limits.set_rule(Rule("acme", tokens_per_hour=3_600, concurrency=5))
    facts = Facts(concurrency=2)
    take = await limits.take_for("r", facts, tokens_estimate=10)
    await limits.take(take)
    assert (await limits.usage(facts))[1] == [
        Allowance("requests", "key", 3, 1, 2, 1_750_000_020),
        Allowance("tokens", "tenant", 3_600, 10, 3_590, 1_750_000_010),
        Allowance("concurrency", "key", 2, 1, 1, None),
        Allowance("concurrency", "tenant", 5, 1, 4, None),
    ]


async def test_more_may_run_than_a_lowered_limit() -> None:
    limits = make()
    for number in range(3):
        await limits.take(await limits.take_for(str(number), Facts(concurrency=3)))
    assert (await limits.usage(Facts(concurrency=1)))[1][1] == Allowance("concurrency", "key", 1, 3, 0, None)


async def test_rules_are_listed() -> None:
    limits = make()
    ann, acme = await limits.set_rule(Rule("acme", "ann", concurrency=1)), await limits.set_rule(Rule("acme"))
    assert await limits.rules(tenant_id="acme", after=None, limit=9) == [acme, ann]
    assert await limits.rules(tenant_id=None, after=("acme", None), limit=9) == [ann]


async def test_a_subject_whose_rules_cannot_be_read_is_not_unlimited() -> None:
    limits = Limits(SETTINGS, MemoryLimiter(ManualClock()), Away())
    with pytest.raises(StoreUnavailable):
        await limits.take_for("r", Facts())
    with pytest.raises(StoreUnavailable):
        await limits.peek(Facts())
    with pytest.raises(StoreUnavailable):
        await limits.usage(Facts())


async def test_a_changed_quota_keeps_what_was_used() -> None:
    limits = make()
    facts = Facts(quota_requests_per_hour=10)
    for number in range(10):
        await limits.take(await limits.take_for(str(number), facts))
    with pytest.raises(TakeRefused):
        await limits.take(await limits.take_for("r", replace(facts, quota_requests_per_hour=20)))
