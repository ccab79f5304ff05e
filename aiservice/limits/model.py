"""Buckets, what is taken from them, and what the limiter says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bucket:
    """One token bucket. Holds at most `burst`; gains `rate` per `period_s`. All whole numbers.

    `id` is `<kind>:<subject>` inside the tenant named by `tenant_id`, for example `requests:key:<logical id>`.
    """

    id: str
    tenant_id: str
    burst: int
    rate: int
    period_s: int


@dataclass(frozen=True, slots=True)
class Cost:
    """So much out of one bucket."""

    bucket: Bucket
    amount: int


@dataclass(frozen=True, slots=True)
class Slots:
    """At most `limit` requests at once for one subject (key, user or tenant)."""

    id: str
    tenant_id: str
    limit: int


@dataclass(frozen=True, slots=True)
class Take:
    """All that one request needs, taken in one step or not at all; `request_id` makes a refund idempotent."""

    request_id: str
    costs: tuple[Cost, ...]
    slots: tuple[Slots, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """One bucket as it stands. `reset_at_s`: epoch seconds when it is full again, rounded up.

    `retry_after_s`: seconds, at least 1, until the cost that was asked fits; 0 when it fitted.
    """

    bucket_id: str
    limit: int
    remaining: int
    reset_at_s: int
    retry_after_s: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The limiter's answer: `standings` in the order of the costs; `refused_by` is the bucket or slot that said no."""

    is_allowed: bool
    standings: tuple[Standing, ...]
    refused_by: str | None = None
    retry_after_s: int = 0
