"""The policy of limits: which buckets a caller draws on, what its headers say, and how a refusal is worded."""

from collections.abc import Mapping
from dataclasses import dataclass

from aiservice.core.errors import FieldInvalid, LimitExceeded
from aiservice.core.settings import LimitSettings
from aiservice.limits import headers
from aiservice.limits.model import NEVER_S, SPAN_MAX, Bucket, Cost, Decision, Slots, Standing, Subject, Take
from aiservice.limits.port import Limiter

HOUR_S = 3_600
PLANS_MAX = 50_000
# The largest limit per hour whose bucket is exact; what is above it is as good as no limit.
LIMIT_MAX = SPAN_MAX // 2 // HOUR_S
# Strict: what may be spent at once is this part of the limit, and what flows back is the rest of it. A whole
# request's tokens have to fit into the burst, so theirs is larger.
STRICT_REQUESTS_PART = 10
STRICT_TOKENS_PART = 2

OWNERS: Mapping[str, str] = {"key": "this key", "user": "this user", "tenant": "this tenant"}


class TakeRefused(LimitExceeded):
    """A limit is used up; `decision` has what the headers of the 429 say."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(_sentence(decision), retry_after_s=decision.retry_after_s)
        self.decision = decision


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a subject's requests take, made once for as long as its facts stay the same."""

    subject: Subject
    costs: tuple[Cost, ...]
    tokens: Bucket | None
    slots: tuple[Slots, ...]


class Limits:
    """Turns a caller's facts into takes and the limiter's decisions into headers and refusals. One per worker."""

    def __init__(self, settings: LimitSettings, limiter: Limiter, *, plans_max: int = PLANS_MAX) -> None:
        """`plans_max` bounds the subjects whose buckets are remembered; a forgotten one is made anew when it comes."""
        self._settings = settings
        self._limiter = limiter
        self._plans_max = plans_max
        self._plans: dict[str, _Plan] = {}

    def take_for(self, request_id: str, subject: Subject, *, tokens_estimate: int = 0) -> Take:
        """All that a request of this caller needs: one request, its estimated tokens, a slot.

        Raises `FieldInvalid` when the estimate is above all the tokens that the caller may ever have at once.
        """
        plan = self._plan(subject)
        if plan.tokens is None:
            return Take(request_id, plan.costs, plan.slots)
        if tokens_estimate > plan.tokens.burst:
            raise FieldInvalid(
                f"This request may come to {tokens_estimate} tokens and the token limit of this key is "
                f"{plan.tokens.burst}; lower max_tokens or shorten the prompt.",
                param="max_tokens",
            )
        return Take(request_id, (*plan.costs, Cost(plan.tokens, tokens_estimate)), plan.slots)

    async def take(self, take: Take) -> Decision:
        """Takes it; raises `TakeRefused` (429) where a limit is used up and `StoreUnavailable` as the limiter does."""
        decision = await self._limiter.take(take)
        if not decision.is_allowed:
            raise TakeRefused(decision)
        return decision

    async def refund(self, take: Take) -> None:
        """Gives back what an engine's failure or our own load did not use; once, however often it is called."""
        await self._limiter.refund(take)

    async def settle(self, take: Take, *, tokens: int) -> None:
        """Corrects the estimate to the tokens that were used and frees the slots; free where there is neither."""
        if len(take.costs) == 1 and not take.slots:
            return
        amounts = [tokens if cost.bucket.id.startswith("tokens:") else cost.amount for cost in take.costs]
        await self._limiter.settle(take, amounts)

    async def renew(self, take: Take) -> None:
        """Keeps the slots for another 30 s."""
        await self._limiter.renew(take)

    async def standing(self, subject: Subject) -> Standing:
        """The caller's request bucket as it stands, for GET /usage."""
        (standing,) = await self._limiter.peek([self._plan(subject).costs[0].bucket])
        return standing

    async def peek(self, subject: Subject) -> Decision:
        """All the caller's buckets as they stand, in the form of a decision: for the headers of an earlier refusal."""
        plan = self._plan(subject)
        buckets = [cost.bucket for cost in plan.costs] + ([plan.tokens] if plan.tokens else [])
        return Decision(True, tuple(await self._limiter.peek(buckets)))

    def headers(self, decision: Decision) -> list[tuple[bytes, bytes]]:
        """The rate limit headers of an answer, refused or not."""
        return headers.of(decision)

    async def aclose(self) -> None:
        await self._limiter.aclose()

    def _plan(self, subject: Subject) -> _Plan:
        plan = self._plans.get(subject.logical_id)
        if plan is not None and (plan.subject is subject or plan.subject == subject):
            return plan
        if len(self._plans) >= self._plans_max:
            del self._plans[next(iter(self._plans))]
        plan = self._plans[subject.logical_id] = self._new_plan(subject)
        return plan

    def _new_plan(self, subject: Subject) -> _Plan:
        limit, period_s = self._requests_limit(subject)
        requests = self._bucket(subject, "requests", limit, period_s=period_s)
        tokens = None
        if subject.tokens_per_hour is not None:
            tokens = self._bucket(subject, "tokens", min(subject.tokens_per_hour, LIMIT_MAX), period_s=HOUR_S)
        slots: tuple[Slots, ...] = ()
        if subject.concurrency is not None:
            slots = (Slots(f"slots:key:{subject.logical_id}", subject.tenant_id, subject.concurrency),)
        return _Plan(subject, (Cost(requests, 1),), tokens, slots)

    def _requests_limit(self, subject: Subject) -> tuple[int, int]:
        """The limit and the seconds that it is for."""
        if subject.quota_requests_per_hour is not None:
            return min(subject.quota_requests_per_hour, LIMIT_MAX), HOUR_S
        if subject.tier == "enterprise":
            return self._settings.rate_limit_enterprise, HOUR_S
        if subject.tier == "pro":
            return self._settings.rate_limit_pro, HOUR_S
        return self._settings.default_rate_limit, self._settings.default_rate_window_s

    def _bucket(self, subject: Subject, kind: str, limit: int, *, period_s: int) -> Bucket:
        id, tenant_id = f"{kind}:key:{subject.logical_id}", subject.tenant_id
        if not self._settings.is_strict or limit == 1:
            return Bucket(id, tenant_id, burst=limit, rate=limit, period_s=period_s)
        part = STRICT_TOKENS_PART if kind == "tokens" else STRICT_REQUESTS_PART
        burst = max(1, limit // part)
        return Bucket(id, tenant_id, burst=burst, rate=limit - burst, period_s=period_s)


def _sentence(decision: Decision) -> str:
    kind, owner, _ = (decision.refused_by or "::").split(":", 2)
    whose = OWNERS.get(owner, "this caller")
    if kind == "slots":
        return f"As many requests of {whose} are running as may run at once; try again when one has ended."
    if decision.retry_after_s == NEVER_S:
        return f"The request needs more than the whole {kind} limit of {whose}; make it smaller."
    unit = "token" if kind == "tokens" else "request"
    return f"The {unit} limit of {whose} is used up; try again in {decision.retry_after_s} s."
