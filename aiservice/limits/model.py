"""Buckets, what is taken from them, and what the limiter says."""

from dataclasses import dataclass, field
from typing import Literal, Protocol

import msgspec

Owner = Literal["key", "user", "tenant"]
Kind = Literal["requests", "tokens", "concurrency"]

# Levels are exact in a double too, so that a script in a store may do the same arithmetic.
SPAN_MAX = 9_000_000_000_000_000
FILL_US_MAX = 1_000_000_000_000_000
DEBT_US_MAX = 2 * FILL_US_MAX
UNIT_US_STEPS = (1, 1_000, 1_000_000)
LEASE_S = 30
RENEW_EVERY_S = 10
LEASE_US = LEASE_S * 1_000_000
# Four times the longest request: so long it is remembered which takes were closed.
CLOSED_FOR_US = 600_000_000
# Each PRUNE_EVERY takes, up to PRUNE_ROWS buckets are looked at, and those that have been full for a minute dropped:
# more than can have been added since, so that the store does not grow beyond the subjects in use.
PRUNE_EVERY = 512
PRUNE_ROWS = 1_024
FULL_FOR_US = 60_000_000
# The wait for something that never fits: larger than any real one, and honest if it is ever shown.
NEVER_S = 2_147_483_647


@dataclass(frozen=True, slots=True)
class Bucket:
    """One token bucket. Holds at most `burst`; gains `rate` per `period_s`. All whole numbers, at least 1.

    `id` is `<kind>:<subject>` inside the tenant named by `tenant_id`, for example `requests:key:<logical id>`.
    The other fields follow from these: `key` names the bucket in a store; its level is counted in parts of a token,
    `token_units` to the token, so that it gains exactly `rate` of them in each `unit_us`; `cap_units` is the full
    level, `floor_units` the deepest debt, `fill_us` the time from empty to full. Raises `ValueError` when
    burst x period_s is above 4.5e15 or `fill_us` above 1e15 (32 years).
    """

    id: str
    tenant_id: str
    burst: int
    rate: int
    period_s: int
    key: str = field(init=False, repr=False, compare=False)
    unit_us: int = field(init=False, repr=False, compare=False)
    token_units: int = field(init=False, repr=False, compare=False)
    cap_units: int = field(init=False, repr=False, compare=False)
    floor_units: int = field(init=False, repr=False, compare=False)
    fill_us: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if min(self.burst, self.rate, self.period_s) < 1:
            raise ValueError(f"burst, rate and period_s of {self.id} must be at least 1")
        unit_us = _unit_us(self.burst * self.period_s)
        token_units = self.period_s * 1_000_000 // unit_us
        cap_units = self.burst * token_units
        fill_us = -(-cap_units // self.rate) * unit_us
        if fill_us > FILL_US_MAX:
            raise ValueError(f"{self.id} takes {fill_us} us to fill, above {FILL_US_MAX}")
        put = object.__setattr__
        put(self, "key", scoped_key(self.tenant_id, self.id))
        put(self, "unit_us", unit_us)
        put(self, "token_units", token_units)
        put(self, "cap_units", cap_units)
        put(self, "floor_units", cap_units - min(SPAN_MAX, DEBT_US_MAX // unit_us * self.rate))
        put(self, "fill_us", fill_us)

    @property
    def window_s(self) -> int:
        """Seconds from empty to full, rounded up."""
        return -(-self.fill_us // 1_000_000)


@dataclass(frozen=True, slots=True)
class Cost:
    """So much out of one bucket; at least 0, or `ValueError`."""

    bucket: Bucket
    amount: int

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError(f"a cost of {self.bucket.id} is below zero: {self.amount}")


@dataclass(frozen=True, slots=True)
class Slots:
    """At most `limit` requests at once for one subject (key, user or tenant)."""

    id: str
    tenant_id: str
    limit: int
    key: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", scoped_key(self.tenant_id, self.id))


class Take(msgspec.Struct, frozen=True, gc=False):
    """All that one request needs, taken in one step or not at all. Names no bucket and no slots twice.

    `request_id` makes a refund or settlement count once, so it is of our own making, never one that a client chose.
    """

    request_id: str
    costs: tuple[Cost, ...]
    slots: tuple[Slots, ...] = ()


class Standing(msgspec.Struct, frozen=True, gc=False):
    """One bucket as it stands. `reset_at_s`: epoch seconds when it is full again, rounded up.

    `retry_after_s`: seconds, at least 1, until the cost that was asked fits; 0 when it fitted, `NEVER_S` when it
    is above the burst. `reset_after_s` is `reset_at_s` by the store's clock, `window_s` the time from empty to full.
    """

    bucket_id: str
    limit: int
    remaining: int
    reset_at_s: int
    retry_after_s: int
    reset_after_s: int = 0
    window_s: int = 3_600


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The limiter's answer: `standings` in the order of the costs; `refused_by` is the bucket or slot that said no.

    In a refusal nothing was taken, `retry_after_s` is the longest wait of all, and `NEVER_S` means that no wait helps.
    """

    is_allowed: bool
    standings: tuple[Standing, ...]
    refused_by: str | None = None
    retry_after_s: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """What an operator allows a tenant, or one of its users, however many keys it has; None is no limit of that kind.

    `user_id` is None in the tenant's own rule. `changed_at_us` is the store's.
    """

    tenant_id: str
    user_id: str | None = None
    requests_per_hour: int | None = None
    tokens_per_hour: int | None = None
    concurrency: int | None = None
    changed_at_us: int = 0


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit of a caller as it stands. More requests at once than `max` are running where `max` was lowered.

    `reset_at_s`: epoch seconds when all of it is there again; None for requests at once, which end when they end.
    """

    limit: Kind
    of: Owner
    max: int
    used: int
    remaining: int
    reset_at_s: int | None


class Subject(Protocol):
    """The facts of a caller that decide its limits; None means the tier's or, for the last two, no limit."""

    @property
    def logical_id(self) -> str: ...

    @property
    def tenant_id(self) -> str: ...

    @property
    def user_id(self) -> str | None: ...

    @property
    def tier(self) -> str: ...

    @property
    def quota_requests_per_hour(self) -> int | None: ...

    @property
    def tokens_per_hour(self) -> int | None: ...

    @property
    def concurrency(self) -> int | None: ...


def scoped_key(tenant_id: str, id: str) -> str:
    """One text for a tenant and an id in it; no two pairs share one, and the tenant is a Redis hash tag."""
    return f"{{{len(tenant_id)}:{tenant_id}}}{id}"


def _unit_us(burst_seconds: int) -> int:
    # Half of the span is for the level, the other half for debt.
    for unit_us in UNIT_US_STEPS:
        if burst_seconds * (1_000_000 // unit_us) * 2 <= SPAN_MAX:
            return unit_us
    raise ValueError(f"burst x period_s is {burst_seconds}, above {SPAN_MAX // 2}")
