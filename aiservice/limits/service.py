"""The policy of limits: which buckets a caller draws on, what its headers say, and how a refusal is worded."""

from collections.abc import Mapping, Sequence
from typing import cast

from aiservice.core.errors import FieldInvalid, LimitExceeded
from aiservice.core.settings import LimitSettings
from aiservice.limits import headers
from aiservice.limits.model import (
    NEVER_S,
    Allowance,
    Bucket,
    Decision,
    Kind,
    Owner,
    Rule,
    Slots,
    Standing,
    Subject,
    Take,
)
from aiservice.limits.port import Limiter, RuleStore
from aiservice.limits.rules import PLANS_MAX, Rules
from aiservice.stores.bell import Bell

# So large that every worker has a share of it.
_PROBE = Bucket("requests:key:probe", "platform", burst=1_000_000, rate=1_000_000, period_s=3_600)
OWNERS: Mapping[str, str] = {"key": "this key", "user": "this user", "tenant": "this tenant"}


class TakeRefused(LimitExceeded):
    """A limit is used up; `decision` has what the headers of the 429 say."""

    def __init__(self, decision: Decision) -> None:
        retry_after_s = decision.retry_after_s if decision.retry_after_s < NEVER_S else None
        super().__init__(_sentence(decision), retry_after_s=retry_after_s)
        self.decision = decision


class Limits:
    """Turns a caller's facts into takes and the limiter's decisions into headers and refusals. One per worker.

    `watch` must run beside it: it hears of the rules that other workers change. What needs a subject's rules raises
    `StoreUnavailable` when they are not known and cannot be read: nobody is unlimited by accident.
    """

    def __init__(
        self,
        settings: LimitSettings,
        limiter: Limiter,
        rules: RuleStore,
        *,
        bell: Bell | None = None,
        plans_max: int = PLANS_MAX,
    ) -> None:
        """`bell` carries word of changed rules to the other workers; without one they find them by their polls.

        `plans_max` bounds the subjects whose buckets are remembered; a forgotten one is made anew when it comes.
        """
        self._limiter = limiter
        self._rules = Rules(settings, rules, bell=bell, plans_max=plans_max)
        self.watch = self._rules.watch

    async def take_for(self, request_id: str, subject: Subject, *, tokens_estimate: int = 0) -> Take:
        """All that a request of this caller needs: one request, its estimated tokens, a slot.

        Raises `FieldInvalid` when the estimate is above all the tokens that the caller may ever have at once.
        """
        plan = self._rules.known(subject) or await self._rules.plan(subject)
        for bucket in plan.tokens:
            if tokens_estimate > bucket.burst:
                _, owner, _ = bucket.id.split(":", 2)
                raise FieldInvalid(
                    f"This request may come to {tokens_estimate} tokens and the token limit of {OWNERS[owner]} is "
                    f"{bucket.burst}; lower max_tokens or shorten the prompt.",
                    param="max_tokens",
                )
        return plan.take(request_id, tokens=tokens_estimate)

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

    async def peek(self, subject: Subject) -> Decision:
        """All the caller's buckets as they stand, in the form of a decision: for the headers of an earlier refusal."""
        plan = await self._rules.plan(subject)
        return Decision(True, tuple(await self._limiter.peek(plan.buckets)))

    async def usage(self, subject: Subject) -> tuple[Standing, Sequence[Allowance]]:
        """For GET /usage: the request bucket that speaks in the headers, and everything that the caller may have."""
        plan = await self._rules.plan(subject)
        standings = await self._limiter.peek(plan.buckets)
        held = await self._limiter.held(plan.slots)
        slots = [_of_slots(one, used) for one, used in zip(plan.slots, held, strict=True)]
        return headers.tightest(standings[: len(plan.requests)]), [*map(_of_bucket, standings), *slots]

    async def set_rule(self, rule: Rule) -> Rule:
        """Replaces what a tenant or user may have, whatever its keys are; in every worker within two seconds."""
        return await self._rules.put(rule)

    async def rules(self, *, tenant_id: str | None, after: tuple[str, str | None] | None, limit: int) -> Sequence[Rule]:
        """The rules in the order of tenant and user; `after` is the last one's tenant and user."""
        return await self._rules.page(tenant_id=tenant_id, after=after, limit=limit)

    def headers(self, decision: Decision) -> list[tuple[bytes, bytes]]:
        """The rate limit headers of an answer, refused or not."""
        return headers.of(decision)

    def anthropic_headers(self, decision: Decision) -> list[tuple[bytes, bytes]]:
        """The same in the names that Anthropic's clients read."""
        return headers.for_anthropic(decision)

    async def check(self) -> None:
        """Asks the limiter for a bucket that nobody draws on; raises `StoreUnavailable` where it can give nothing."""
        await self._limiter.peek([_PROBE])

    async def aclose(self) -> None:
        await self._limiter.aclose()


def _of_bucket(standing: Standing) -> Allowance:
    kind, owner, _ = standing.bucket_id.split(":", 2)
    used = standing.limit - standing.remaining
    return Allowance(
        cast(Kind, kind), cast(Owner, owner), standing.limit, used, standing.remaining, standing.reset_at_s
    )


def _of_slots(slots: Slots, used: int) -> Allowance:
    _, owner, _ = slots.id.split(":", 2)
    return Allowance("concurrency", cast(Owner, owner), slots.limit, used, max(0, slots.limit - used), None)


def _sentence(decision: Decision) -> str:
    kind, owner, _ = (decision.refused_by or "::").split(":", 2)
    whose = OWNERS.get(owner, "this caller")
    if kind == "slots":
        return f"As many requests of {whose} are running as may run at once; try again when one has ended."
    if decision.retry_after_s == NEVER_S:
        return f"The request needs more than the whole {kind} limit of {whose}; make it smaller."
    unit = "token" if kind == "tokens" else "request"
    return f"The {unit} limit of {whose} is used up; try again in {decision.retry_after_s} s."
