"""The arithmetic against an exact model in fractions, at its bounds, and with a clock that jumps."""

from dataclasses import replace
from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiservice.limits import bucket as arithmetic
from aiservice.limits.bucket import State
from aiservice.limits.model import FILL_US_MAX, NEVER_S, SPAN_MAX, Bucket, Cost, Slots, Take

NOW_US = 1_750_000_000_000_000
SECOND_US = 1_000_000
HOURLY = Bucket("requests:key:a", "acme", burst=100, rate=100, period_s=3_600)


@st.composite
def any_bucket(draw: st.DrawFn) -> Bucket:
    burst, period_s = draw(st.integers(1, 100_000_000)), draw(st.integers(1, 45_000_000))
    slowest = max(1, ceil(burst * period_s * SECOND_US / (FILL_US_MAX - 2 * SECOND_US)))
    rate = draw(st.one_of(st.integers(slowest, slowest + 100), st.integers(slowest, slowest + 100_000_000)))
    return Bucket("requests:key:a", "acme", burst=burst, rate=rate, period_s=period_s)


buckets = any_bucket()
moments = st.integers(0, 4_000_000_000_000_000)


def exact_level(bucket: Bucket, level: int, elapsed_us: int) -> Fraction:
    """Tokens after so long, as real numbers have it."""
    tokens = Fraction(level, bucket.token_units) + Fraction(elapsed_us * bucket.rate, bucket.period_s * SECOND_US)
    return min(Fraction(bucket.burst), tokens)


@given(buckets)
def test_every_value_is_exact_in_a_double(bucket: Bucket) -> None:
    assert bucket.cap_units == bucket.burst * bucket.token_units
    assert bucket.token_units * bucket.unit_us == bucket.period_s * SECOND_US
    assert bucket.cap_units * 2 <= SPAN_MAX < 2**53
    assert bucket.cap_units - bucket.floor_units <= SPAN_MAX
    assert bucket.floor_units <= -bucket.cap_units, "room for a debt of a whole burst"
    latest_us = arithmetic.full_at_us(bucket, State(bucket.floor_units, 2 * NOW_US), 2 * NOW_US)
    assert latest_us + bucket.fill_us < 2**53
    assert bucket.unit_us == 1 or bucket.cap_units * 2 * 1000 > SPAN_MAX, "no coarser than it must be"


@pytest.mark.parametrize(
    ("burst", "period_s", "unit_us"),
    [
        (4_500_000_000, 1, 1),
        (4_500_000_001, 1, 1_000),
        (4_500_000_000_000, 1, 1_000),
        (4_500_000_000_001, 1, 1_000_000),
        (4_500_000_000_000_000, 1, 1_000_000),
    ],
)
def test_the_unit_of_time_steps_from_microseconds_to_seconds(burst: int, period_s: int, unit_us: int) -> None:
    assert Bucket("b", "t", burst=burst, rate=burst, period_s=period_s).unit_us == unit_us


def test_a_bucket_that_would_take_longer_than_32_years_to_fill_is_refused() -> None:
    assert Bucket("b", "t", burst=1, rate=1, period_s=1_000_000_000).fill_us == FILL_US_MAX
    with pytest.raises(ValueError, match="to fill"):
        Bucket("b", "t", burst=1, rate=1, period_s=1_000_000_001)


def test_debt_is_at_most_what_64_years_or_nine_quadrillion_units_work_off() -> None:
    assert HOURLY.floor_units == HOURLY.cap_units - SPAN_MAX
    slow = replace(HOURLY, rate=1)
    assert slow.floor_units == slow.cap_units - 2 * FILL_US_MAX


def test_a_bucket_too_large_to_be_exact_is_refused() -> None:
    with pytest.raises(ValueError, match="above 4500000000000000"):
        Bucket("b", "t", burst=4_500_000_000_000_001, rate=1, period_s=1)


@pytest.mark.parametrize(("burst", "rate", "period_s"), [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1)])
def test_a_bucket_without_burst_rate_or_period_is_refused(burst: int, rate: int, period_s: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Bucket("b", "t", burst=burst, rate=rate, period_s=period_s)


def test_a_coarse_bucket_fills_in_the_time_that_it_says() -> None:
    coarse = Bucket("b", "t", burst=5_000_000_000_000, rate=10_000, period_s=1)
    assert (coarse.unit_us, coarse.fill_us, coarse.window_s) == (SECOND_US, 500_000_000 * SECOND_US, 500_000_000)


def test_a_cost_may_be_nothing_and_not_less() -> None:
    assert Cost(HOURLY, 0).amount == 0
    with pytest.raises(ValueError, match="below zero"):
        Cost(HOURLY, -1)


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_no_two_subjects_share_a_key(first: tuple[str, str], second: tuple[str, str]) -> None:
    one = Bucket(first[1], first[0], burst=1, rate=1, period_s=1)
    other = Bucket(second[1], second[0], burst=1, rate=1, period_s=1)
    assert (one.key == other.key) == (first == second)


@given(buckets, st.data())
def test_refill_is_exact_to_the_unit(bucket: Bucket, data: st.DataObject) -> None:
    level = data.draw(st.integers(bucket.floor_units, bucket.cap_units))
    elapsed_us = data.draw(st.integers(1, 2 * bucket.fill_us + 1))
    state = arithmetic.refilled(bucket, level, NOW_US, now_us=NOW_US + elapsed_us)
    whole_units_us = elapsed_us // bucket.unit_us * bucket.unit_us
    assert Fraction(state.level, bucket.token_units) == exact_level(bucket, level, whole_units_us)
    is_full = state.level == bucket.cap_units
    assert state.stamp_us == NOW_US + (elapsed_us if is_full else whole_units_us)


@given(buckets, st.data())
def test_refill_in_two_steps_is_refill_in_one(bucket: Bucket, data: st.DataObject) -> None:
    level = data.draw(st.integers(-bucket.cap_units, bucket.cap_units - 1))
    first_us = data.draw(st.integers(0, bucket.fill_us))
    second_us = data.draw(st.integers(0, bucket.fill_us))
    one = arithmetic.refilled(bucket, level, NOW_US, now_us=NOW_US + first_us + second_us)
    half = arithmetic.refilled(bucket, level, NOW_US, now_us=NOW_US + first_us)
    assert arithmetic.refilled(bucket, half.level, half.stamp_us, now_us=NOW_US + first_us + second_us) == one


@given(moments, moments)
def test_a_clock_that_went_back_means_no_refill_and_no_long_wait(stamp_us: int, now_us: int) -> None:
    state = arithmetic.refilled(HOURLY, 5, stamp_us, now_us=now_us)
    if stamp_us >= now_us:
        assert state.level == 5
        assert state.stamp_us == min(stamp_us, now_us + HOURLY.fill_us)
    else:
        assert state.level <= HOURLY.cap_units


def test_a_level_above_a_lowered_burst_is_cut() -> None:
    small = replace(HOURLY, burst=10)
    for now_us in (NOW_US - 1, NOW_US, NOW_US + 1):
        assert arithmetic.refilled(small, HOURLY.cap_units, NOW_US, now_us=now_us).level == small.cap_units


def test_a_level_is_restated_in_whole_tokens_when_the_period_changed() -> None:
    minutely = replace(HOURLY, period_s=60)
    assert arithmetic.restated(HOURLY, 12_345, HOURLY.token_units) == 12_345
    assert arithmetic.restated(minutely, 7 * HOURLY.token_units + 1, HOURLY.token_units) == 7 * minutely.token_units
    assert arithmetic.restated(minutely, -1, HOURLY.token_units) == -minutely.token_units, "debt is not forgiven"


@given(buckets, buckets, st.data())
def test_a_debt_that_another_bucket_made_is_no_deeper_than_is_exact(
    before: Bucket, bucket: Bucket, data: st.DataObject
) -> None:
    level = data.draw(st.integers(before.floor_units, before.cap_units))
    found = arithmetic.restated(bucket, level, before.token_units)
    tokens = Fraction(level, before.token_units)
    exact = tokens if before.token_units == bucket.token_units else floor(tokens)
    assert found == max(bucket.floor_units, exact * bucket.token_units)


@given(buckets, st.data())
def test_a_lone_retry_after_the_wait_succeeds_and_a_second_earlier_fails(bucket: Bucket, data: st.DataObject) -> None:
    level = data.draw(st.integers(bucket.floor_units, bucket.cap_units))
    amount = data.draw(st.integers(0, bucket.burst))
    now_us = NOW_US + data.draw(st.integers(-bucket.fill_us, 10))
    state = arithmetic.refilled(bucket, level, NOW_US, now_us=now_us)
    wait_s = arithmetic.wait_s(bucket, state, now_us, amount=amount)
    if state.level >= amount * bucket.token_units:
        assert wait_s == 0
        return
    assert wait_s >= 1
    on_time = now_us + wait_s * SECOND_US
    assert arithmetic.wait_s(bucket, arithmetic.refilled(bucket, *state, now_us=on_time), on_time, amount=amount) == 0
    if wait_s > 1:
        early = on_time - SECOND_US
        assert arithmetic.wait_s(bucket, arithmetic.refilled(bucket, *state, now_us=early), early, amount=amount) > 0


@given(buckets)
def test_a_cost_above_the_burst_never_fits(bucket: Bucket) -> None:
    full = arithmetic.full(bucket, NOW_US)
    assert arithmetic.wait_s(bucket, full, NOW_US, amount=bucket.burst) == 0
    assert arithmetic.wait_s(bucket, full, NOW_US, amount=bucket.burst + 1) == NEVER_S


@given(buckets, st.integers(-(10**18), 10**18), st.integers(0, 10**6))
def test_a_change_stays_between_full_and_the_largest_debt(bucket: Bucket, amount: int, spent: int) -> None:
    before = bucket.cap_units - min(spent, bucket.burst) * bucket.token_units
    after = arithmetic.changed(bucket, before, amount)
    exact = before + amount * bucket.token_units
    assert after == max(bucket.floor_units, min(bucket.cap_units, exact))


@given(buckets, st.data())
def test_the_standing_says_when_the_bucket_is_full_again(bucket: Bucket, data: st.DataObject) -> None:
    level = data.draw(st.integers(-bucket.cap_units, bucket.cap_units))
    standing = arithmetic.standing(bucket, State(level, NOW_US), NOW_US, retry_after_s=3)
    assert (standing.bucket_id, standing.limit, standing.retry_after_s) == (bucket.id, bucket.burst, 3)
    assert standing.remaining == max(0, floor(Fraction(level, bucket.token_units)))
    units = ceil(Fraction(bucket.cap_units - level, bucket.rate))
    full_us = NOW_US + units * bucket.unit_us
    assert standing.reset_at_s == ceil(Fraction(full_us, SECOND_US))
    assert standing.reset_after_s == ceil(Fraction(full_us - NOW_US, SECOND_US))
    assert standing.window_s == ceil(Fraction(bucket.fill_us, SECOND_US))
    assert arithmetic.refilled(bucket, level, NOW_US, now_us=full_us).level == bucket.cap_units
    if units > 0:
        assert arithmetic.refilled(bucket, level, NOW_US, now_us=full_us - bucket.unit_us).level < bucket.cap_units


def test_a_full_bucket_is_full_now_whatever_its_stamp() -> None:
    standing = arithmetic.standing(HOURLY, State(HOURLY.cap_units, NOW_US + 10**9), NOW_US)
    assert (standing.reset_at_s, standing.reset_after_s) == (NOW_US // SECOND_US, 0)


@given(
    st.integers(1, 20),
    st.integers(1, 50),
    st.integers(1, 100),
    st.lists(st.tuples(st.integers(0, 20 * SECOND_US), st.integers(1, 3)), max_size=60),
)
def test_no_interval_admits_more_than_burst_and_refill(
    burst: int, rate: int, period_s: int, calls: list[tuple[int, int]]
) -> None:
    bucket = Bucket("b", "t", burst=burst, rate=rate, period_s=period_s)
    state, now_us = arithmetic.full(bucket, NOW_US), NOW_US
    admitted: list[tuple[int, int]] = []
    for pause_us, amount in calls:
        now_us += pause_us
        state = arithmetic.refilled(bucket, *state, now_us=now_us)
        decision, (state,) = arithmetic.taken([Cost(bucket, amount)], [state], now_us)
        if decision.is_allowed:
            admitted.append((now_us, amount))
    for index, (start_us, _) in enumerate(admitted):
        total = 0
        for end_us, amount in admitted[index:]:
            total += amount
            assert total <= burst + Fraction(rate * (end_us - start_us), period_s * SECOND_US)


def costs_of(*amounts: int) -> list[Cost]:
    names = ("requests:key:a", "tokens:user:b", "tokens:tenant:c")
    return [
        Cost(Bucket(name, "acme", burst=10, rate=10, period_s=100), amount)
        for name, amount in zip(names, amounts, strict=False)
    ]


def states_of(costs: list[Cost], *tokens: int) -> list[State]:
    return [State(level * cost.bucket.token_units, NOW_US) for cost, level in zip(costs, tokens, strict=True)]


def test_all_costs_are_taken_when_all_fit() -> None:
    costs = costs_of(1, 5, 10)
    decision, after = arithmetic.taken(costs, states_of(costs, 1, 7, 10), NOW_US)
    assert decision.is_allowed
    assert (decision.refused_by, decision.retry_after_s) == (None, 0)
    assert list(after) == states_of(costs, 0, 2, 0)
    assert [(one.bucket_id, one.remaining, one.retry_after_s) for one in decision.standings] == [
        ("requests:key:a", 0, 0),
        ("tokens:user:b", 2, 0),
        ("tokens:tenant:c", 0, 0),
    ]


def test_nothing_is_taken_when_one_does_not_fit_and_the_longest_wait_speaks() -> None:
    costs = costs_of(1, 5, 10)
    before = states_of(costs, 1, 3, 4)
    decision, after = arithmetic.taken(costs, before, NOW_US)
    assert not decision.is_allowed
    assert (decision.refused_by, decision.retry_after_s) == ("tokens:tenant:c", 60)
    assert list(after) == before
    assert [(one.remaining, one.retry_after_s) for one in decision.standings] == [(1, 0), (3, 20), (4, 60)]


def test_a_busy_subject_refuses_what_the_buckets_would_allow() -> None:
    costs = costs_of(1)
    before = states_of(costs, 10)
    decision, after = arithmetic.taken(costs, before, NOW_US, busy=Slots("slots:key:a", "acme", 2))
    assert (decision.is_allowed, decision.refused_by, decision.retry_after_s) == (False, "slots:key:a", 1)
    assert list(after) == before


def test_a_bucket_that_waits_longer_speaks_before_a_busy_subject() -> None:
    costs = costs_of(1)
    decision, _ = arithmetic.taken(costs, states_of(costs, 0), NOW_US, busy=Slots("slots:key:a", "acme", 2))
    assert (decision.refused_by, decision.retry_after_s) == ("requests:key:a", 10)


def test_a_busy_subject_speaks_before_a_bucket_that_waits_as_long() -> None:
    costs = costs_of(1)
    almost = State(costs[0].bucket.token_units - 1, NOW_US)
    decision, _ = arithmetic.taken(costs, [almost], NOW_US, busy=Slots("slots:key:a", "acme", 2))
    assert (decision.refused_by, decision.retry_after_s) == ("slots:key:a", 1)


def test_one_unit_short_is_short() -> None:
    short = State(3 * HOURLY.token_units - 1, NOW_US)
    assert arithmetic.wait_s(HOURLY, short, NOW_US, amount=3) == 1
    assert arithmetic.wait_s(HOURLY, State(3 * HOURLY.token_units, NOW_US), NOW_US, amount=3) == 0


def test_what_just_fits_does_not_wait_for_a_clock_that_went_back() -> None:
    ahead = State(3 * HOURLY.token_units, NOW_US + 5 * SECOND_US)
    assert arithmetic.wait_s(HOURLY, ahead, NOW_US, amount=3) == 0
    assert arithmetic.wait_s(HOURLY, ahead, NOW_US, amount=4) == 5 + 36


def test_a_coarse_bucket_that_is_just_full_keeps_no_part_of_a_unit() -> None:
    coarse = Bucket("b", "t", burst=5_000_000_000_000, rate=10_000, period_s=1)
    almost = coarse.cap_units - 10_000
    assert arithmetic.refilled(coarse, almost, NOW_US, now_us=NOW_US + 1_700_000) == (
        coarse.cap_units,
        NOW_US + 1_700_000,
    )
    assert arithmetic.refilled(coarse, almost - 1, NOW_US, now_us=NOW_US + 1_700_000) == (
        coarse.cap_units - 1,
        NOW_US + 1_000_000,
    )


def test_a_bucket_one_unit_short_of_full_is_not_yet_full() -> None:
    almost = State(HOURLY.cap_units - 1, NOW_US)
    assert arithmetic.full_at_us(HOURLY, almost, NOW_US) == NOW_US + 1
    assert arithmetic.standing(HOURLY, almost, NOW_US).reset_after_s == 1


def test_a_standing_that_refused_nothing_has_no_wait() -> None:
    assert arithmetic.standing(HOURLY, arithmetic.full(HOURLY, NOW_US), NOW_US).retry_after_s == 0


def test_a_take_of_nothing_is_allowed() -> None:
    decision, after = arithmetic.taken([], [], NOW_US)
    assert (decision.is_allowed, decision.standings, list(after)) == (True, (), [])
    assert (decision.refused_by, decision.retry_after_s) == (None, 0)


def test_states_that_are_not_of_the_costs_are_refused() -> None:
    costs = costs_of(1, 5)
    for states in (states_of(costs, 10, 10)[:1], [*states_of(costs, 10, 10), State(0, NOW_US)]):
        with pytest.raises(ValueError, match="zip"):
            arithmetic.taken(costs, states, NOW_US)


def test_a_take_that_names_a_bucket_or_slots_twice_is_refused() -> None:
    cost, slots = Cost(HOURLY, 1), Slots("slots:key:a", "acme", 1)
    arithmetic.ensure_distinct(Take("r", (cost,), (slots,)))
    for take in (Take("r", (cost, cost)), Take("r", (cost,), (slots, slots))):
        with pytest.raises(ValueError, match="twice"):
            arithmetic.ensure_distinct(take)


def test_what_a_settlement_gives_back() -> None:
    take = Take("r", tuple(costs_of(1, 5, 10)))
    assert arithmetic.given_back(take, (1, 2, 30)) == [0, 3, -20]
    assert arithmetic.given_back(take, (0, 0, 0)) == [1, 5, 10]
    assert arithmetic.given_back(Take("r", ()), ()) == []
    for amounts in ((1, 2), (1, 2, 3, 4), (1, 2, -1)):
        with pytest.raises(ValueError, match="one amount"):
            arithmetic.given_back(take, amounts)
