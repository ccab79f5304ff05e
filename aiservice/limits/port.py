"""What a limiter does. Amounts are whole numbers; time is the store's own or the clock handed to it."""

from collections.abc import Sequence
from typing import Protocol

from aiservice.limits.model import Bucket, Decision, Standing, Take


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

    async def aclose(self) -> None: ...
