"""A process's share is never more than its part, and what it gave out of it is owed until the share has grown again."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.limits import Bucket, Cost, Slots, Take
from aiservice.limits.model import SPAN_MAX
from aiservice.limits.shares import REMEMBERED_S, Debts, Given, Shares

BUCKET = Bucket("requests:key:k", "acme", burst=120, rate=120, period_s=3_600)
SHARE = Shares(12).bucket(BUCKET)
REFILL_S = 360


@given(
    burst=st.integers(1, 10**9),
    rate=st.integers(1, 10**9),
    period_s=st.integers(1, 4_000_000),
    count=st.integers(1, 10_000),
)
def test_all_shares_together_are_never_more_than_the_limit(burst: int, rate: int, period_s: int, count: int) -> None:
    if burst * period_s > SPAN_MAX // 2 or burst * period_s // rate > 10**8:
        rate, period_s = burst, 60
    bucket = Bucket("requests:key:k", "acme", burst=burst, rate=rate, period_s=period_s)
    if burst < count:
        with pytest.raises(StoreUnavailable):
            Shares(count).bucket(bucket)
        return
    share = Shares(count).bucket(bucket)
    assert share.burst * count <= burst < (share.burst + 1) * count
    assert Fraction(share.rate, share.period_s) * count == Fraction(rate, period_s)
    assert (share.key, share.id) == (bucket.key, bucket.id)


def test_the_only_process_has_everything() -> None:
    assert Shares(1).bucket(BUCKET) == BUCKET
    assert Shares(1).slots(Slots("slots:key:k", "acme", 1)).limit == 1


def test_the_largest_bucket_has_a_share() -> None:
    largest = Bucket("tokens:key:k", "acme", burst=SPAN_MAX // 2, rate=10**8, period_s=1)
    assert Shares(10_000).bucket(largest).burst == SPAN_MAX // 20_000


def test_a_share_follows_its_limit() -> None:
    shares = Shares(12, shares_max=1)
    raised = Bucket(BUCKET.id, BUCKET.tenant_id, burst=240, rate=120, period_s=3_600)
    other = Bucket("requests:key:other", BUCKET.tenant_id, burst=36, rate=36, period_s=3_600)
    assert [shares.bucket(one).burst for one in (BUCKET, raised, other, BUCKET)] == [10, 20, 3, 10]


def test_what_is_above_the_share_but_not_above_the_limit_is_nobodys_to_give() -> None:
    shares = Shares(12)
    assert shares.cost(Cost(BUCKET, 10)).amount == 10
    with pytest.raises(StoreUnavailable) as refused:
        shares.cost(Cost(BUCKET, 11))
    assert refused.value.retry_after_s == 1
    assert shares.cost(Cost(BUCKET, 121)).bucket.burst == 10, "it never fits, and its refusal says so"


def test_slots_are_shared_in_whole_ones() -> None:
    shares = Shares(12)
    assert shares.slots(Slots("slots:key:k", "acme", 47)) == Slots("slots:key:k", "acme", 3)
    with pytest.raises(StoreUnavailable) as refused:
        shares.slots(Slots("slots:key:k", "acme", 11))
    assert refused.value.retry_after_s == 1


def test_a_take_is_known_for_five_minutes_and_closed_once() -> None:
    clock = ManualClock()
    given_here, take, other = Given(clock), Take("a", ()), Take("b", ())
    given_here.add(take)
    clock.advance_s(REMEMBERED_S + 1)
    given_here.add(other)
    assert (take in given_here, other in given_here, Take("c", ()) in given_here) == (True, True, False)
    assert [given_here.close(one) for one in (take, take, other, other)] == [True, False, True, False]
    clock.advance_s(REMEMBERED_S + 1)
    given_here.add(take)
    clock.advance_s(REMEMBERED_S + 1)
    given_here.add(Take("d", ()))
    assert (take in given_here, other in given_here) == (True, False)


def owed(debts: Debts) -> dict[str, int]:
    return {bucket.id: tokens for tenant_id in debts.tenants for bucket, tokens in debts.collect(tenant_id)}


def test_what_was_given_out_is_owed_and_what_came_back_is_not() -> None:
    debts = Debts(ManualClock())
    debts.add(BUCKET, SHARE, 7)
    assert debts.take_off(BUCKET, SHARE, 3) == 0
    other = Bucket("tokens:key:k", "acme", burst=1_200, rate=1_200, period_s=3_600)
    debts.add(other, Shares(12).bucket(other), 50)
    assert owed(debts) == {BUCKET.id: 4, other.id: 50}
    assert list(debts.tenants) == []


def test_a_debt_shrinks_as_its_share_grows(clock: ManualClock) -> None:
    debts = Debts(clock)
    debts.add(BUCKET, SHARE, 3)
    clock.advance_s(REFILL_S - 0.000001)
    debts.add(BUCKET, SHARE, 1)
    clock.advance_s(0.000001)
    assert owed(debts) == {BUCKET.id: 3}
    debts.add(BUCKET, SHARE, 3)
    clock.advance_s(2 * REFILL_S + 1)
    assert owed(debts) == {BUCKET.id: 1}
    debts.add(BUCKET, SHARE, 3)
    clock.advance_s(3 * REFILL_S)
    assert owed(debts) == {}


def test_after_hours_of_giving_out_all_there_is_no_more_than_the_burst_is_owed(clock: ManualClock) -> None:
    debts = Debts(clock)
    debts.add(BUCKET, SHARE, SHARE.burst)
    for _ in range(500):
        clock.advance_s(REFILL_S)
        debts.add(BUCKET, SHARE, 1)
    assert owed(debts) == {BUCKET.id: SHARE.burst}


def test_no_debt_shrinks_while_the_clock_goes_back(clock: ManualClock) -> None:
    debts = Debts(clock)
    debts.add(BUCKET, SHARE, 3)
    clock.advance_s(-86_400)
    debts.add(BUCKET, SHARE, 2)
    assert owed(debts) == {BUCKET.id: 5}


def test_nothing_is_owed_for_more_than_was_given(clock: ManualClock) -> None:
    debts = Debts(clock)
    other = Bucket("requests:key:other", "acme", burst=120, rate=120, period_s=3_600)
    for bucket in (BUCKET, other):
        debts.add(bucket, SHARE, 2)
    assert debts.take_off(BUCKET, SHARE, 5) == 0
    assert owed(debts) == {other.id: 2}
    debts.add(BUCKET, SHARE, 2)
    assert debts.take_off(BUCKET, SHARE, 5) == 0
    assert list(debts.tenants) == []
    debts.add(BUCKET, SHARE, 1)
    assert owed(debts) == {BUCKET.id: 1}


def test_what_comes_back_after_it_was_paid_is_owed_to_us_and_never_more(clock: ManualClock) -> None:
    debts = Debts(clock)
    debts.add(BUCKET, SHARE, 4)
    clock.advance_s(REFILL_S)
    assert owed(debts) == {BUCKET.id: 3}
    debts.add(BUCKET, SHARE, 1)
    assert debts.take_off(BUCKET, SHARE, 2) == 1
    assert [debts.take_off(BUCKET, SHARE, amount) for amount in (1, 3)] == [1, 1]
    assert debts.take_off(BUCKET, SHARE, 1) == 0


def test_a_payment_is_remembered_for_as_long_as_a_take(clock: ManualClock) -> None:
    debts = Debts(clock)
    other = Bucket("requests:key:other", "acme", burst=120, rate=120, period_s=3_600)
    for bucket in (BUCKET, other, other):
        debts.add(bucket, SHARE, 5)
        assert owed(debts) == {bucket.id: 5}
        clock.advance_s(REMEMBERED_S + 1)
    assert [debts.take_off(bucket, SHARE, 20) for bucket in (BUCKET, other)] == [0, 10]


def test_a_debt_is_the_same_under_another_limit(clock: ManualClock) -> None:
    debts = Debts(clock)
    debts.add(BUCKET, SHARE, 3)
    minutely = Bucket(BUCKET.id, BUCKET.tenant_id, burst=120, rate=120, period_s=60)
    debts.add(minutely, Shares(12).bucket(minutely), 1)
    assert owed(debts) == {BUCKET.id: 4}


def test_who_cannot_pay_yet_stands_last(clock: ManualClock) -> None:
    debts = Debts(clock)
    for tenant_id in "abc":
        debts.add(Bucket(BUCKET.id, tenant_id, burst=120, rate=120, period_s=3_600), SHARE, 1)
    debts.postpone("a")
    debts.postpone("nobody")
    assert list(debts.tenants) == ["b", "c", "a"]
    assert [bucket.tenant_id for bucket in debts.first_buckets("c")] == ["c"]
    assert list(debts.first_buckets("nobody")) == list(debts.collect("nobody")) == []


def test_of_too_many_debts_the_first_tenants_are_forgiven(clock: ManualClock) -> None:
    debts = Debts(clock, debts_max=3)
    for tenant_id, id in (("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"), ("c", "1")):
        bucket = Bucket(f"requests:key:{id}", tenant_id, burst=120, rate=120, period_s=3_600)
        debts.add(bucket, Shares(12).bucket(bucket), 1)
    assert list(debts.tenants) == ["b", "c"]
