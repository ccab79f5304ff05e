"""Limiter and rules of one process: the twins that tests run on, and what the other backends must agree with."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from aiservice.core.clock import Clock
from aiservice.limits import bucket as arithmetic
from aiservice.limits.bucket import State
from aiservice.limits.model import (
    CLOSED_FOR_US,
    FULL_FOR_US,
    LEASE_US,
    PRUNE_EVERY,
    PRUNE_ROWS,
    Bucket,
    Decision,
    Rule,
    Slots,
    Standing,
    Take,
)


class _Row(NamedTuple):
    level: int
    stamp_us: int
    token_units: int
    full_us: int


class MemoryLimiter:
    """Buckets, leases and closed takes in dictionaries; full buckets are dropped now and then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: OrderedDict[str, _Row] = OrderedDict()
        self._leases: dict[str, dict[str, int]] = {}
        self._closed: dict[str, int] = {}
        self._calls = 0

    @property
    def size(self) -> int:
        """Buckets, subjects with leases and closed takes that are held."""
        return len(self._rows) + len(self._leases) + len(self._closed)

    async def take(self, take: Take) -> Decision:
        arithmetic.ensure_distinct(take)
        now_us = self._clock.now_us()
        self._prune(now_us)
        buckets = [cost.bucket for cost in take.costs]
        before = [self._state(bucket, now_us) for bucket in buckets]
        decision, after = arithmetic.taken(take.costs, before, now_us, busy=self._busy(take, now_us))
        for bucket, state in zip(buckets, after, strict=True):
            row = self._rows.get(bucket.key)
            if decision.is_allowed or (row is not None and state.stamp_us < row.stamp_us):
                self._keep(bucket, state, now_us)
        if decision.is_allowed:
            self._lease(take, now_us)
        return decision

    async def refund(self, take: Take) -> None:
        self._close(take, [cost.amount for cost in take.costs])

    async def settle(self, take: Take, amounts: Sequence[int]) -> None:
        given_back = arithmetic.given_back(take, amounts)
        if take.slots or any(given_back):
            self._close(take, given_back)

    async def renew(self, take: Take) -> None:
        if take.request_id not in self._closed:
            self._lease(take, self._clock.now_us())

    async def peek(self, buckets: Sequence[Bucket]) -> Sequence[Standing]:
        now_us = self._clock.now_us()
        return [arithmetic.standing(bucket, self._state(bucket, now_us), now_us) for bucket in buckets]

    async def held(self, slots: Sequence[Slots]) -> Sequence[int]:
        now_us = self._clock.now_us()
        return [sum(end_us > now_us for end_us in self._leases.get(one.key, {}).values()) for one in slots]

    async def aclose(self) -> None:
        """Holds nothing open."""

    def _state(self, bucket: Bucket, now_us: int) -> State:
        row = self._rows.get(bucket.key)
        if row is None:
            return arithmetic.full(bucket, now_us)
        level = arithmetic.restated(bucket, row.level, row.token_units)
        return arithmetic.refilled(bucket, level, row.stamp_us, now_us=now_us)

    def _keep(self, bucket: Bucket, state: State, now_us: int) -> None:
        full_us = arithmetic.full_at_us(bucket, state, now_us)
        self._rows[bucket.key] = _Row(state.level, state.stamp_us, bucket.token_units, full_us)

    def _busy(self, take: Take, now_us: int) -> Slots | None:
        for slots in take.slots:
            # A lease that ends later than a lease lasts was stamped before the clock went back.
            live = {
                request_id: min(expires_us, now_us + LEASE_US)
                for request_id, expires_us in self._leases.get(slots.key, {}).items()
                if expires_us > now_us
            }
            self._leases[slots.key] = live
            if len(live) >= slots.limit:
                return slots
        return None

    def _lease(self, take: Take, now_us: int) -> None:
        for slots in take.slots:
            self._leases.setdefault(slots.key, {})[take.request_id] = now_us + LEASE_US

    def _close(self, take: Take, given_back: Sequence[int]) -> None:
        now_us = self._clock.now_us()
        self._prune(now_us)
        for slots in take.slots:
            self._leases.get(slots.key, {}).pop(take.request_id, None)
        if take.request_id in self._closed:
            return
        self._closed[take.request_id] = now_us + CLOSED_FOR_US
        for cost, amount in zip(take.costs, given_back, strict=True):
            level, stamp_us = self._state(cost.bucket, now_us)
            self._keep(cost.bucket, State(arithmetic.changed(cost.bucket, level, amount), stamp_us), now_us)

    def _prune(self, now_us: int) -> None:
        self._calls += 1
        if self._calls % PRUNE_EVERY:
            return
        for key in list(self._rows)[:PRUNE_ROWS]:
            self._rows.move_to_end(key)
            if self._rows[key].full_us + FULL_FOR_US < now_us:
                del self._rows[key]
        self._closed = {id: expires_us for id, expires_us in self._closed.items() if expires_us >= now_us}
        self._leases = {key: held for key, held in self._leases.items() if any(end > now_us for end in held.values())}


class MemoryRuleStore:
    """Rules in a dictionary, by tenant and user ('' is the tenant itself). Never unavailable."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rules: dict[tuple[str, str], Rule] = {}

    async def put(self, rule: Rule) -> Rule:
        stored = replace(rule, changed_at_us=max(self._clock.now_us(), await self.newest_us() + 1))
        self._rules[rule.tenant_id, rule.user_id or ""] = stored
        return stored

    async def find(self, tenant_id: str, user_id: str | None) -> Sequence[Rule]:
        keys = [(tenant_id, user_id)] if user_id else []
        return [self._rules[key] for key in [*keys, (tenant_id, "")] if key in self._rules]

    async def page(self, *, tenant_id: str | None, after: tuple[str, str | None] | None, limit: int) -> Sequence[Rule]:
        start = ("", "") if after is None else (after[0], after[1] or "")
        keys = sorted(key for key in self._rules if key > start and tenant_id in (None, key[0]))
        return [self._rules[key] for key in keys[:limit]]

    async def newest_us(self) -> int:
        return max((rule.changed_at_us for rule in self._rules.values()), default=0)

    async def changed_after(self, since_us: int) -> Sequence[Rule]:
        return [rule for rule in self._rules.values() if rule.changed_at_us > since_us]
