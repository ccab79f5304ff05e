"""What a limiter does, and what a store of rules. Amounts are whole numbers; time is the store's or a clock's."""

from collections.abc import Sequence
from typing import Protocol

from aiservice.limits.model import Bucket, Decision, Rule, Slots, Standing, Take


class Limiter(Protocol):
    """Token buckets and concurrency slots. Every method raises `StoreUnavailable` when the store is down.

    A take is closed by its refund or its settlement, whichever comes first; the other then does nothing, nor does
    a second one. What closed a take is remembered for ten minutes.
    """

    async def take(self, take: Take) -> Decision:
        """Takes every cost and slot in one atomic step, or nothing at all."""
        ...

    async def refund(self, take: Take) -> None:
        """Gives the whole take back, once per request id, never above burst; frees its slots."""
        ...

    async def settle(self, take: Take, amounts: Sequence[int]) -> None:
        """Replaces what was taken by what was true, once per request id; a level may go below zero. Frees the slots.

        `amounts` are in the order of the costs. Where they are what was taken and there are no slots, nothing is
        to be done and nothing is remembered: such a settlement costs nothing, and does not close the take.
        """
        ...

    async def renew(self, take: Take) -> None:
        """Keeps the slots of a long request for another lease (30 s); called every 10 s."""
        ...

    async def peek(self, buckets: Sequence[Bucket]) -> Sequence[Standing]:
        """The buckets as they stand; takes nothing."""
        ...

    async def held(self, slots: Sequence[Slots]) -> Sequence[int]:
        """How many requests hold a slot of each now; those whose lease ran out do not count."""
        ...

    async def aclose(self) -> None: ...


class RuleStore(Protocol):
    """The operator's rules. Every method raises `StoreUnavailable` when the store is down."""

    async def put(self, rule: Rule) -> Rule:
        """Replaces the subject's rule and gives it as stored: changed later than any that the store has shown.

        What others change at the same time may be stored with an earlier time than one that was shown already.
        """
        ...

    async def find(self, tenant_id: str, user_id: str | None) -> Sequence[Rule]:
        """The user's rule and the tenant's own, in this order, as far as there are any."""
        ...

    async def page(self, *, tenant_id: str | None, after: tuple[str, str | None] | None, limit: int) -> Sequence[Rule]:
        """Rules in the order of tenant and user, the tenant's own first; of every tenant when none is named.

        `after` is the tenant and user of the last rule that was shown before.
        """
        ...

    async def newest_us(self) -> int:
        """When the last change was, 0 before the first."""
        ...

    async def changed_after(self, since_us: int) -> Sequence[Rule]:
        """The rules that were changed later than that."""
        ...
