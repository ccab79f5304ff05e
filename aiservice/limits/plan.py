"""What the requests of one caller take: the tier's or the key's own limits, and the operator's rules on top."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from aiservice.core.settings import LimitSettings
from aiservice.limits.model import SPAN_MAX, Bucket, Cost, Rule, Slots, Subject, Take

HOUR_S = 3_600
# The largest limit per hour whose bucket is exact; what is above it is as good as no limit.
LIMIT_MAX = SPAN_MAX // 2 // HOUR_S
# Strict: what may be spent at once is this part of the limit, and what flows back is the rest of it. A whole
# request's tokens have to fit into the burst, so theirs is larger.
STRICT_REQUESTS_PART = 10
STRICT_TOKENS_PART = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """The buckets and slots of a subject, the key's own first, then its user's and its tenant's."""

    subject: Subject
    requests: tuple[Bucket, ...]
    tokens: tuple[Bucket, ...]
    slots: tuple[Slots, ...]
    costs: tuple[Cost, ...] = field(init=False)
    _facts: tuple[str | int | None, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "costs", tuple(Cost(bucket, 1) for bucket in self.requests))
        object.__setattr__(self, "_facts", facts_of(self.subject))

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        return self.requests + self.tokens

    def is_for(self, subject: Subject) -> bool:
        """Whether it is what this subject takes, as far as the subject's own facts go."""
        return self.subject is subject or self._facts == facts_of(subject)

    def take(self, request_id: str, *, tokens: int) -> Take:
        """One request, so many tokens and a slot, of each owner that has a limit of it."""
        if not self.tokens:
            return Take(request_id, self.costs, self.slots)
        return Take(request_id, (*self.costs, *[Cost(bucket, tokens) for bucket in self.tokens]), self.slots)


@dataclass(frozen=True, slots=True)
class _Owner:
    """`key:<logical id>`, `user:<id>` or `tenant:<id>` and what it may have; requests with the seconds they are for."""

    name: str
    requests: tuple[int, int] | None
    tokens: int | None
    concurrency: int | None


def plan_of(settings: LimitSettings, subject: Subject, rules: Sequence[Rule]) -> Plan:
    """The plan of a subject under the rules of its user and tenant."""
    owners = tuple(_owners(settings, subject, rules))
    requests_part, tokens_part = (STRICT_REQUESTS_PART, STRICT_TOKENS_PART) if settings.is_strict else (1, 1)
    tenant_id = subject.tenant_id
    return Plan(
        subject,
        tuple(
            _bucket(f"requests:{owner.name}", tenant_id, owner.requests, part=requests_part)
            for owner in owners
            if owner.requests is not None
        ),
        tuple(
            _bucket(f"tokens:{owner.name}", tenant_id, (owner.tokens, HOUR_S), part=tokens_part)
            for owner in owners
            if owner.tokens is not None
        ),
        tuple(
            Slots(f"slots:{owner.name}", tenant_id, owner.concurrency)
            for owner in owners
            if owner.concurrency is not None
        ),
    )


def facts_of(subject: Subject) -> tuple[str | int | None, ...]:
    """All that a plan depends on, but for the rules."""
    return (
        subject.logical_id,
        subject.tenant_id,
        subject.user_id,
        subject.tier,
        subject.quota_requests_per_hour,
        subject.tokens_per_hour,
        subject.concurrency,
    )


def _owners(settings: LimitSettings, subject: Subject, rules: Sequence[Rule]) -> Iterator[_Owner]:
    own = _own_requests(settings, subject)
    yield _Owner(f"key:{subject.logical_id}", own, subject.tokens_per_hour, subject.concurrency)
    for rule in rules:
        name = f"tenant:{rule.tenant_id}" if rule.user_id is None else f"user:{rule.user_id}"
        requests = None if rule.requests_per_hour is None else (rule.requests_per_hour, HOUR_S)
        yield _Owner(name, requests, rule.tokens_per_hour, rule.concurrency)


def _own_requests(settings: LimitSettings, subject: Subject) -> tuple[int, int]:
    """The key's own limit and the seconds that it is for."""
    if subject.quota_requests_per_hour is not None:
        return subject.quota_requests_per_hour, HOUR_S
    if subject.tier == "enterprise":
        return settings.rate_limit_enterprise, HOUR_S
    if subject.tier == "pro":
        return settings.rate_limit_pro, HOUR_S
    return settings.default_rate_limit, settings.default_rate_window_s


def _bucket(id: str, tenant_id: str, allowed: tuple[int, int], *, part: int) -> Bucket:
    """A bucket of which the given part (half, a tenth) may be spent at once and the rest flows back; 1 is all of both.

    `allowed` is a limit and the seconds that it is for. A limit of 1 has no parts.
    """
    limit, period_s = min(allowed[0], LIMIT_MAX), allowed[1]
    burst = max(1, limit // part)
    return Bucket(id, tenant_id, burst=burst, rate=limit - burst or limit, period_s=period_s)
