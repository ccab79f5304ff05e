"""One process's part of every limit, what it has given out of it, and what it owes the store for that."""

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from aiservice.core.clock import Clock
from aiservice.core.errors import StoreUnavailable
from aiservice.limits.model import Bucket, Cost, Slots, Take

SHARES_MAX = 50_000
DEBTS_MAX = 50_000
# Twice the longest request.
REMEMBERED_S = 300.0
RETRY_AFTER_S = 1


class Shares:
    """What one of so many processes may give out by itself: a part of the burst, and the same part of the rate."""

    def __init__(self, count: int, *, shares_max: int = SHARES_MAX) -> None:
        """`count` is how many processes there are, at least 1; of more buckets than `shares_max` some are made anew."""
        self._count = count
        self._shares_max = shares_max
        self._buckets: dict[str, tuple[Bucket, Bucket | None]] = {}

    def bucket(self, bucket: Bucket) -> Bucket:
        """The share of a bucket, under its name; raises `StoreUnavailable` where that is less than one token."""
        kept = self._buckets.get(bucket.key)
        if kept is None or (kept[0] is not bucket and kept[0] != bucket):
            if len(self._buckets) >= self._shares_max:
                del self._buckets[next(iter(self._buckets))]
            kept = self._buckets[bucket.key] = (bucket, self._part_of(bucket))
        if kept[1] is None:
            raise unshared(f"{bucket.id} of {bucket.burst}")
        return kept[1]

    def cost(self, cost: Cost) -> Cost:
        """The cost to the share; raises `StoreUnavailable` where it is above the share and would fit into the whole."""
        share = self.bucket(cost.bucket)
        if share.burst < cost.amount <= cost.bucket.burst:
            raise unshared(f"{cost.amount} out of {cost.bucket.id} of {cost.bucket.burst}")
        return Cost(share, cost.amount)

    def slots(self, slots: Slots) -> Slots:
        """The share of slots; raises `StoreUnavailable` where it is none."""
        if slots.limit < self._count:
            raise unshared(f"{slots.id} of {slots.limit}")
        return Slots(slots.id, slots.tenant_id, slots.limit // self._count)

    def _part_of(self, bucket: Bucket) -> Bucket | None:
        burst = bucket.burst // self._count
        if not burst:
            return None
        # The rate is a whole number: the period grows in its place.
        return Bucket(bucket.id, bucket.tenant_id, burst, bucket.rate, bucket.period_s * self._count)


def unshared(what: str) -> StoreUnavailable:
    """The error of what no process may give out alone."""
    return StoreUnavailable(detail=f"no share without the limits' store: {what}", retry_after_s=RETRY_AFTER_S)


_Value = TypeVar("_Value")


class _Recent(Generic[_Value]):
    """Values by name, each remembered for one to two times `REMEMBERED_S`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._older: dict[str, _Value] = {}
        self._newer: dict[str, _Value] = {}
        self._since_s = clock.monotonic_s()

    def get(self, name: str) -> _Value | None:
        value = self._newer.get(name)
        return self._older.get(name) if value is None else value

    def put(self, name: str, value: _Value) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._since_s > REMEMBERED_S:
            self._older, self._newer, self._since_s = self._newer, {}, now_s
        self._newer[name] = value


class Given:
    """The takes that were given out here, each for five to ten minutes, and whether they are closed."""

    def __init__(self, clock: Clock) -> None:
        self._is_open: _Recent[bool] = _Recent(clock)

    def add(self, take: Take) -> None:
        self._is_open.put(take.request_id, True)

    def __contains__(self, take: Take) -> bool:
        return self._is_open.get(take.request_id) is not None

    def close(self, take: Take) -> bool:
        """Whether it was open until now."""
        was_open = self._is_open.get(take.request_id)
        self._is_open.put(take.request_id, False)
        return bool(was_open)


class _Debt(NamedTuple):
    """`owed` is in the units of the share, as it was at the stamp."""

    bucket: Bucket
    share: Bucket
    owed: int
    stamp_us: int

    def at(self, now_us: int) -> "_Debt":
        if now_us <= self.stamp_us:
            return self
        units = (now_us - self.stamp_us) // self.share.unit_us
        owed = max(0, self.owed - units * self.share.rate)
        return self._replace(owed=owed, stamp_us=self.stamp_us + units * self.share.unit_us)

    @property
    def tokens(self) -> int:
        return -(-self.owed // self.share.token_units)


class Debts:
    """What was given out of shares and is to be paid back, by tenant and bucket.

    A debt shrinks at the rate of its share, which the process was allowed all the while: after an outage as long as you
    like the takes of all processes owe no more than one burst, and nobody has to wait longer than that takes to fill.
    Of more than `debts_max` buckets, those of the tenant that was the first to owe something are forgiven.
    """

    def __init__(self, clock: Clock, *, debts_max: int = DEBTS_MAX) -> None:
        self._clock = clock
        self._debts_max = debts_max
        self._by_tenant: dict[str, dict[str, _Debt]] = {}
        self._count = 0
        self._paid: _Recent[int] = _Recent(clock)

    @property
    def tenants(self) -> Sequence[str]:
        """Those that owe something, or did before it shrank to nothing."""
        return list(self._by_tenant)

    def add(self, bucket: Bucket, share: Bucket, amount: int) -> None:
        """So many tokens of a bucket were given out of this share."""
        self._put(bucket, share, self._owed(bucket, share) + amount * share.token_units)

    def take_off(self, bucket: Bucket, share: Bucket, amount: int) -> int:
        """So many tokens came back into this share. How many of them had been paid for: the store owes us these now."""
        left = self._owed(bucket, share) - amount * share.token_units
        if left > 0:
            self._put(bucket, share, left)
            return 0
        self._forget(bucket)
        paid = self._paid.get(bucket.key) or 0
        back = min(paid, -left // share.token_units)
        if back:
            self._paid.put(bucket.key, paid - back)
        return back

    def first_buckets(self, tenant_id: str) -> Sequence[Bucket]:
        """One of the buckets that a tenant owes something of; none where its debts are gone."""
        return [debt.bucket for debt in self._by_tenant.get(tenant_id, {}).values()][:1]

    def postpone(self, tenant_id: str) -> None:
        """The tenant stands last now."""
        if tenant_id in self._by_tenant:
            self._by_tenant[tenant_id] = self._by_tenant.pop(tenant_id)

    def collect(self, tenant_id: str) -> Sequence[tuple[Bucket, int]]:
        """What a tenant owes, in whole tokens; from now on it counts as paid."""
        debts = self._by_tenant.pop(tenant_id, {})
        self._count -= len(debts)
        now_us = self._clock.now_us()
        owed = [(debt.bucket, tokens) for debt in debts.values() if (tokens := debt.at(now_us).tokens)]
        for bucket, tokens in owed:
            self._paid.put(bucket.key, (self._paid.get(bucket.key) or 0) + tokens)
        return owed

    def _owed(self, bucket: Bucket, share: Bucket) -> int:
        """In units of the share, which may count in others than when the debt was made."""
        debt = self._by_tenant.get(bucket.tenant_id, {}).get(bucket.key)
        if debt is None:
            return 0
        debt = debt.at(self._clock.now_us())
        return debt.owed if debt.share.token_units == share.token_units else debt.tokens * share.token_units

    def _put(self, bucket: Bucket, share: Bucket, owed: int) -> None:
        debts = self._by_tenant.setdefault(bucket.tenant_id, {})
        known = debts.get(bucket.key)
        self._count += known is None
        now_us = self._clock.now_us()
        debts[bucket.key] = _Debt(bucket, share, owed, now_us if known is None else known.at(now_us).stamp_us)
        if self._count > self._debts_max:
            self._count -= len(self._by_tenant.pop(next(iter(self._by_tenant))))

    def _forget(self, bucket: Bucket) -> None:
        debts = self._by_tenant.get(bucket.tenant_id, {})
        if debts.pop(bucket.key, None) is not None:
            self._count -= 1
        if not debts:
            self._by_tenant.pop(bucket.tenant_id, None)
