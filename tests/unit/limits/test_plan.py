"""A caller's facts and the operator's rules become buckets and slots."""

from dataclasses import replace

import pytest

from aiservice.core.settings import LimitSettings
from aiservice.limits import Bucket, Cost, Rule, Slots, Take
from aiservice.limits.plan import LIMIT_MAX, Plan, plan_of
from tests.unit.limits.facts import SETTINGS, Facts

STRICT = SETTINGS.model_copy(update={"is_strict": True})


def plan(facts: Facts, *rules: Rule, settings: LimitSettings = SETTINGS) -> Plan:
    return plan_of(settings, facts, rules)


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
    bucket = Bucket("requests:key:k1", "acme", burst=limit, rate=limit, period_s=period_s)
    made = plan(facts)
    assert (made.requests, made.tokens, made.slots) == ((bucket,), (), ())
    assert made.take("r", tokens=99) == Take("r", (Cost(bucket, 1),), ())


def test_tokens_and_slots_are_taken_where_they_are_limited() -> None:
    made = plan(Facts(tokens_per_hour=500, concurrency=2))
    tokens = Bucket("tokens:key:k1", "acme", burst=500, rate=500, period_s=3_600)
    take = made.take("r", tokens=120)
    assert take.costs[1:] == (Cost(tokens, 120),)
    assert take.slots == (Slots("slots:key:k1", "acme", 2),)
    assert made.buckets == (take.costs[0].bucket, tokens)


def test_limits_too_large_to_be_exact_are_as_large_as_can_be() -> None:
    made = plan(Facts(tokens_per_hour=10**18), Rule("acme", requests_per_hour=10**18))
    assert [bucket.burst for bucket in made.buckets] == [3, LIMIT_MAX, LIMIT_MAX]


def test_rules_of_user_and_tenant_come_after_the_keys_own_limits() -> None:
    ann = Rule("acme", "ann", requests_per_hour=20, concurrency=2)
    acme = Rule("acme", requests_per_hour=50, tokens_per_hour=900)
    made = plan(Facts(), ann, acme)
    assert [(bucket.id, bucket.burst, bucket.rate, bucket.period_s) for bucket in made.buckets] == [
        ("requests:key:k1", 3, 3, 60),
        ("requests:user:ann", 20, 20, 3_600),
        ("requests:tenant:acme", 50, 50, 3_600),
        ("tokens:tenant:acme", 900, 900, 3_600),
    ]
    assert made.slots == (Slots("slots:user:ann", "acme", 2),)
    assert {bucket.tenant_id for bucket in made.buckets} == {"acme"}


def test_a_rule_without_limits_adds_nothing() -> None:
    assert plan(Facts(), Rule("acme", "ann"), Rule("acme")).take("r", tokens=1) == plan(Facts()).take("r", tokens=1)


@pytest.mark.parametrize(
    ("limit", "burst", "rate"), [(100, 10, 90), (19, 1, 18), (2, 1, 1), (1, 1, 1), (10_000, 1_000, 9_000)]
)
def test_strict_burst_and_refill_together_are_the_limit(limit: int, burst: int, rate: int) -> None:
    made = plan(Facts(quota_requests_per_hour=limit), Rule("acme", requests_per_hour=limit), settings=STRICT)
    assert [(one.burst, one.rate, one.period_s) for one in made.requests] == [(burst, rate, 3_600)] * 2


@pytest.mark.parametrize(("limit", "burst", "rate"), [(1_001, 500, 501), (2, 1, 1), (1, 1, 1)])
def test_strict_tokens_keep_half_for_one_request(limit: int, burst: int, rate: int) -> None:
    made = plan(Facts(tokens_per_hour=limit), Rule("acme", "ann", tokens_per_hour=limit), settings=STRICT)
    assert [(one.burst, one.rate) for one in made.tokens] == [(burst, rate)] * 2


def test_a_plan_is_for_every_subject_with_the_same_facts() -> None:
    facts = Facts()
    made = plan(facts)
    assert made.is_for(facts)
    assert made.is_for(replace(facts))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logical_id", "k2"),
        ("tenant_id", "other"),
        ("user_id", None),
        ("tier", "pro"),
        ("quota_requests_per_hour", 3),
        ("tokens_per_hour", 3),
        ("concurrency", 3),
    ],
)
def test_a_plan_is_not_for_a_subject_of_which_one_fact_differs(name: str, value: str | int | None) -> None:
    assert not plan(Facts()).is_for(replace(Facts(), **{name: value}))
