"""The arithmetic of a token bucket: whole numbers only, no clock, no store.

A bucket's state is its level (in units, `token_units` to the token; below zero is debt) and its stamp (microseconds).
Every backend does exactly this, so that they agree to the unit. Over any time T in which the clock does not go
back, at most burst + rate x T is admitted.
"""

from collections.abc import Sequence
from typing import NamedTuple

from aiservice.limits.model import NEVER_S, Bucket, Cost, Decision, Slots, Standing, Take

SLOT_RETRY_S = 1


class State(NamedTuple):
    """A bucket's level and the time that it is of."""

    level: int
    stamp_us: int


def full(bucket: Bucket, now_us: int) -> State:
    """A bucket that nobody has taken from."""
    return State(bucket.cap_units, now_us)


def restated(bucket: Bucket, level: int, token_units: int) -> int:
    """A level as it was stored when the bucket may have been another one.

    If a token had another number of units then (the period was changed), it counts in whole tokens. A debt is never
    deeper than this bucket's is exact.
    """
    if token_units != bucket.token_units:
        level = level // token_units * bucket.token_units
    return max(level, bucket.floor_units)


def refilled(bucket: Bucket, level: int, stamp_us: int, *, now_us: int) -> State:
    """The state at `now_us`.

    A stamp ahead of the clock (the clock went back) means no refill until the clock has caught up, but it never
    stays further ahead than the bucket takes to fill: a clock that was once wrong by years locks nobody out.
    """
    if stamp_us >= now_us:
        return State(min(level, bucket.cap_units), min(stamp_us, now_us + bucket.fill_us))
    units = (now_us - stamp_us) // bucket.unit_us
    gain = units * bucket.rate
    if gain >= bucket.cap_units - level:
        return State(bucket.cap_units, now_us)
    return State(level + gain, stamp_us + units * bucket.unit_us)


def changed(bucket: Bucket, level: int, amount: int) -> int:
    """The level after `amount` tokens went in (or out, if negative): at most full, and debt as far as it is exact."""
    return max(min(level + amount * bucket.token_units, bucket.cap_units), bucket.floor_units)


def wait_s(bucket: Bucket, state: State, now_us: int, *, amount: int) -> int:
    """Whole seconds until `amount` fits: 0 if it fits now, `NEVER_S` if it is above the burst.

    A lone take after exactly that long succeeds.
    """
    missing = amount * bucket.token_units - state.level
    if missing <= 0:
        return 0
    if amount > bucket.burst:
        return NEVER_S
    fits_at_us = state.stamp_us - (-missing // bucket.rate) * bucket.unit_us
    return -((now_us - fits_at_us) // 1_000_000)


def full_at_us(bucket: Bucket, state: State, now_us: int) -> int:
    """When the bucket is full if nobody takes from it."""
    missing = bucket.cap_units - state.level
    return state.stamp_us - (-missing // bucket.rate) * bucket.unit_us if missing > 0 else now_us


def standing(bucket: Bucket, state: State, now_us: int, *, retry_after_s: int = 0) -> Standing:
    """The bucket as callers see it."""
    full_us = full_at_us(bucket, state, now_us)
    return Standing(
        bucket.id,
        bucket.burst,
        max(0, state.level // bucket.token_units),
        -(-full_us // 1_000_000),
        retry_after_s,
        -((now_us - full_us) // 1_000_000),
        bucket.window_s,
    )


def taken(
    costs: Sequence[Cost], states: Sequence[State], now_us: int, *, busy: Slots | None = None
) -> tuple[Decision, Sequence[State]]:
    """The decision on all costs together and the states after it; all of them are taken or none.

    `states` are of the costs' buckets in their order, refilled to now; `busy` is a subject with no free slot.
    """
    waits = [wait_s(cost.bucket, state, now_us, amount=cost.amount) for cost, state in zip(costs, states, strict=True)]
    longest_s = max(waits, default=0)
    refused_by = costs[waits.index(longest_s)].bucket.id if longest_s else None
    if busy is not None and longest_s <= SLOT_RETRY_S:
        longest_s, refused_by = SLOT_RETRY_S, busy.id
    if refused_by is None:
        states = [
            State(state.level - cost.amount * cost.bucket.token_units, state.stamp_us)
            for cost, state in zip(costs, states, strict=True)
        ]
    standings = tuple(
        standing(cost.bucket, state, now_us, retry_after_s=wait)
        for cost, state, wait in zip(costs, states, waits, strict=True)
    )
    return Decision(refused_by is None, standings, refused_by, longest_s), states


def taken_alone(cost: Cost, state: State, now_us: int) -> tuple[Decision, State]:
    """What `taken` says of one cost and no slots: the common case, without its loops."""
    bucket, amount = cost.bucket, cost.amount
    wait = wait_s(bucket, state, now_us, amount=amount)
    if wait:
        return Decision(False, (standing(bucket, state, now_us, retry_after_s=wait),), bucket.id, wait), state
    left = State(state.level - amount * bucket.token_units, state.stamp_us)
    return Decision(True, (standing(bucket, left, now_us),)), left


def ensure_distinct(take: Take) -> None:
    """Raises `ValueError` for a take that names a bucket or slots twice."""
    keys = [cost.bucket.key for cost in take.costs] + [slots.key for slots in take.slots]
    if len(set(keys)) != len(keys):
        raise ValueError(f"take {take.request_id} names a bucket or slots twice")


def given_back(take: Take, amounts: Sequence[int]) -> list[int]:
    """What goes back into each bucket (or, below zero, still has to come out) when `amounts` turn out to be true."""
    if len(amounts) != len(take.costs) or any(amount < 0 for amount in amounts):
        raise ValueError(f"settlement of {take.request_id} takes one amount of at least 0 for each cost")
    return [cost.amount - amount for cost, amount in zip(take.costs, amounts, strict=True)]
