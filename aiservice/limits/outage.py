"""What a limiter does while its store is away: each process gives out its part of every limit, and pays it back."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Literal, NamedTuple, TypeVar

from aiservice.core.clock import Clock
from aiservice.core.errors import AIServiceError, StoreUnavailable
from aiservice.core.ids import uuid7
from aiservice.limits import bucket as arithmetic
from aiservice.limits.memory import MemoryLimiter
from aiservice.limits.model import CLOSED_FOR_US, Bucket, Cost, Decision, Slots, Standing, Take
from aiservice.limits.port import Limiter
from aiservice.limits.shares import Debts, Given, Shares

Mode = Literal["local", "closed", "open"]

REPAY_EVERY_S = 0.25
# So many closings and debts are sent at once.
TOGETHER_MAX = 64
CLOSINGS_MAX = 50_000
CLOSED_FOR_S = CLOSED_FOR_US / 1_000_000

_Item = TypeVar("_Item")

_log = logging.getLogger(__name__)


class _Closing(NamedTuple):
    """A refund (no amounts) or settlement that the store has to hear of. It may have heard of it already."""

    take: Take
    amounts: Sequence[int] | None
    since_s: float


class OutageLimiter:
    """Every call goes to `limiter`; what that cannot do now is done here, by the mode.

    - `local`: the process gives out its share of each limit, one of `shares`: so much of the burst, the rate and the
      slots. Where that is nothing, and with a cost above it, it is `StoreUnavailable`.
    - `closed`: everything is `StoreUnavailable`.
    - `open`: requests are not counted; tokens and slots as with `local`.

    So all processes together admit one burst more in an outage, and two if the store comes back empty: in any time T no
    more than burst + rate x T and that. Outages that follow each other share the one burst, for shares fill at their
    own rate, are never full anew, and what they gave out is paid back as soon as the store is there. Two things come on
    top: a store that is away for some processes only still admits its rate for the others; and what it filled while it
    was away may be spent by the first to return, in the quarter of a second before the last has paid.

    A take is closed where it was taken. A closing that the store does not answer is kept (`closings_max` of them) and
    sent again: it counts once, by its request's id. After ten minutes the store may have forgotten that it knows it,
    and then only what it takes is sent, nothing that it gives back.
    """

    def __init__(
        self,
        limiter: Limiter,
        *,
        shares: int,
        mode: Mode,
        clock: Clock,
        repay_every_s: float = REPAY_EVERY_S,
        closings_max: int = CLOSINGS_MAX,
    ) -> None:
        """`shares` is how many processes use the store, at least 1."""
        self.local_takes = 0
        self._limiter = limiter
        self._mode = mode
        self._clock = clock
        self._repay_every_s = repay_every_s
        self._closings_max = closings_max
        self._shares = Shares(shares)
        self._local = MemoryLimiter(clock)
        self._given = Given(clock)
        self._debts = Debts(clock)
        self._closings: dict[str, _Closing] = {}
        self._repaying: asyncio.Task[None] | None = None

    @property
    def is_even(self) -> bool:
        """Whether the store has heard of everything that was given out, given back and settled here."""
        return not self._closings and not self._debts.tenants

    async def take(self, take: Take) -> Decision:
        try:
            return await self._limiter.take(take)
        except StoreUnavailable:
            if self._mode == "closed":
                raise
            return await self._take_here(take)

    async def refund(self, take: Take) -> None:
        await self._close(take, None)

    async def settle(self, take: Take, amounts: Sequence[int]) -> None:
        given_back = arithmetic.given_back(take, amounts)
        if take.slots or any(given_back):
            await self._close(take, amounts)

    async def renew(self, take: Take) -> None:
        if take in self._given:
            await self._local.renew(self._share_of(take))
        else:
            await self._limiter.renew(take)

    async def peek(self, buckets: Sequence[Bucket]) -> Sequence[Standing]:
        try:
            return await self._limiter.peek(buckets)
        except StoreUnavailable:
            if self._mode == "closed":
                raise
            shares = [self._shares.bucket(bucket) for bucket in buckets if self._is_counted(bucket)]
            return self._standings(buckets, await self._local.peek(shares))

    async def held(self, slots: Sequence[Slots]) -> Sequence[int]:
        try:
            return await self._limiter.held(slots)
        except StoreUnavailable:
            if self._mode == "closed":
                raise
            return await self._local.held(slots)

    async def aclose(self) -> None:
        """Pays back what it can now; what is left is lost, and said."""
        if self._repaying is not None:
            self._repaying.cancel()
            await asyncio.wait((self._repaying,))
            await self._repay_once()
        if not self.is_even:
            _log.warning("limits stop while their store is away: what it should hear is lost")
        await self._limiter.aclose()

    async def _take_here(self, take: Take) -> Decision:
        share = self._share_of(take)
        decision = await self._local.take(share)
        self.local_takes += 1
        if decision.is_allowed:
            self._given.add(take)
            self._owe(take, [cost.amount for cost in take.costs])
        standings = self._standings([cost.bucket for cost in take.costs], decision.standings)
        return Decision(decision.is_allowed, tuple(standings), decision.refused_by, decision.retry_after_s)

    def _share_of(self, take: Take) -> Take:
        costs = tuple(self._shares.cost(cost) for cost in take.costs if self._is_counted(cost.bucket))
        return Take(take.request_id, costs, tuple(map(self._shares.slots, take.slots)))

    def _is_counted(self, bucket: Bucket) -> bool:
        return self._mode != "open" or not bucket.id.startswith("requests:")

    def _standings(self, buckets: Sequence[Bucket], counted: Sequence[Standing]) -> list[Standing]:
        """Those of the shares that are counted, in the buckets' order; the others have all they may have."""
        shares, now_us = iter(counted), self._clock.now_us()
        return [
            next(shares)
            if self._is_counted(bucket)
            else arithmetic.standing(bucket, arithmetic.full(bucket, now_us), now_us)
            for bucket in buckets
        ]

    def _owe(self, take: Take, amounts: Sequence[int]) -> None:
        """So much of each cost was given out; below zero, it came back."""
        for cost, amount in zip(take.costs, amounts, strict=True):
            if amount and self._is_counted(cost.bucket):
                bucket, share = cost.bucket, self._shares.bucket(cost.bucket)
                if amount > 0:
                    self._debts.add(bucket, share, amount)
                    self._repay_later()
                elif back := self._debts.take_off(bucket, share, -amount):
                    self._tell_later(self._payment([(bucket, -back)]))

    async def _close(self, take: Take, amounts: Sequence[int] | None) -> None:
        if take in self._given:
            await self._close_here(take, [0] * len(take.costs) if amounts is None else amounts)
        elif take.request_id not in self._closings:
            closing = _Closing(take, amounts, self._clock.monotonic_s())
            try:
                await self._tell(closing)
            except StoreUnavailable:
                self._tell_later(closing)
            except asyncio.CancelledError:
                self._tell_later(closing)
                raise

    async def _close_here(self, take: Take, amounts: Sequence[int]) -> None:
        if not self._given.close(take):
            return
        counted = [amount for cost, amount in zip(take.costs, amounts, strict=True) if self._is_counted(cost.bucket)]
        await self._local.settle(self._share_of(take), counted)
        self._owe(take, [-amount for amount in arithmetic.given_back(take, amounts)])

    async def _tell(self, closing: _Closing) -> None:
        take, amounts, since_s = closing
        if self._clock.monotonic_s() - since_s > CLOSED_FOR_S:
            # It may have been heard and forgotten: given back twice, it would be too much.
            told = [0] * len(take.costs) if amounts is None else amounts
            amounts = [max(cost.amount, amount) for cost, amount in zip(take.costs, told, strict=True)]
        if amounts is None:
            await self._limiter.refund(take)
        else:
            await self._limiter.settle(take, amounts)

    def _keep(self, closing: _Closing) -> None:
        if len(self._closings) >= self._closings_max:
            del self._closings[next(iter(self._closings))]
        self._closings[closing.take.request_id] = closing

    def _tell_later(self, closing: _Closing) -> None:
        self._keep(closing)
        self._repay_later()

    def _repay_later(self) -> None:
        if self._repaying is None or self._repaying.done():
            self._repaying = asyncio.create_task(self._repay())

    async def _repay(self) -> None:
        """Lives for as long as something is owed: an outage and a quarter of a second."""
        while not self.is_even:
            await asyncio.sleep(self._repay_every_s)
            await self._repay_once()
        _log.info("the limits' store has heard what it missed")

    async def _repay_once(self) -> None:
        """Ends early when the store is still away."""
        if await _together(self._tell_again, list(self._closings.values())):
            await _together(self._pay, self._debts.tenants)

    async def _tell_again(self, closing: _Closing) -> bool:
        id = closing.take.request_id
        try:
            await self._tell(closing)
        except StoreUnavailable:
            # In a cluster others may go through: it comes last now.
            self._closings.pop(id, None)
            self._keep(closing)
            return False
        except AIServiceError:
            _log.exception("a closed take stays as it was", extra={"request_id": id})
        self._closings.pop(id, None)
        return True

    async def _pay(self, tenant_id: str) -> bool:
        """Collects a tenant's debts, once its part of the store is there; from then on they are a settlement."""
        try:
            await self._limiter.peek(self._debts.first_buckets(tenant_id))
        except StoreUnavailable:
            self._debts.postpone(tenant_id)
            return False
        except AIServiceError:
            _log.exception("what a tenant owes its limits is forgiven", extra={"tenant_id": tenant_id})
            self._debts.collect(tenant_id)
            return True
        owed = self._debts.collect(tenant_id)
        if not owed:
            return True
        payment = self._payment(owed)
        self._keep(payment)
        return await self._tell_again(payment)

    def _payment(self, owed: Sequence[tuple[Bucket, int]]) -> _Closing:
        """A settlement of nothing that was taken, by so many tokens of each bucket; below zero they go back to us."""
        costs = tuple(Cost(bucket, max(0, -tokens)) for bucket, tokens in owed)
        take = Take(f"owed:{uuid7(self._clock.now_us())}", costs)
        return _Closing(take, [max(0, tokens) for _, tokens in owed], self._clock.monotonic_s())


async def _together(send: Callable[[_Item], Coroutine[None, None, bool]], items: Sequence[_Item]) -> bool:
    """Whether all went through; after some that did not the rest is not tried."""
    for start in range(0, len(items), TOGETHER_MAX):
        if not all(await asyncio.gather(*map(send, items[start : start + TOGETHER_MAX]))):
            return False
    return True
