"""The limiter that all workers of all instances share: each take is one script, on Redis' own time."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, cast

from aiservice.core.clock import Clock
from aiservice.core.errors import StoreUnavailable
from aiservice.limits import bucket as arithmetic
from aiservice.limits.bucket import State
from aiservice.limits.model import CLOSED_FOR_US, LEASE_US, Bucket, Cost, Decision, Slots, Standing, Take, scoped_key
from aiservice.stores.redis import Redis, Script

BUCKETS_MAX = 50_000

Argument = str | bytes | int
Command = tuple[tuple[str, ...], tuple[Argument, ...]]

_LEASE_US = b"%d" % LEASE_US
_CLOSED_FOR_MS = b"%d" % (CLOSED_FOR_US // 1_000)
_REDIS_TIME = b""
_PREFIX = "ai:"


def _script(*names: str) -> Script:
    """What bucket.lua and these files are together."""
    folder = Path(__file__).parent
    return Script("\n".join((folder / f"{name}.lua").read_text(encoding="utf-8") for name in ("bucket", *names)))


_TAKE, _CLOSE, _UNDO = _script("take"), _script("close"), _script("undo", "close")
_RENEW, _PEEK, _HELD = _script("renew"), _script("peek"), _script("held")


class _Told(NamedTuple):
    """What the scripts are told of a bucket; `alone` is what a take of one of its tokens and nothing else says."""

    bucket: Bucket
    key: str
    facts: tuple[bytes, ...]
    alone: tuple[bytes, ...]


class RedisLimiter:
    """Exact among all that share the Redis, for as long as it keeps what it has; emptied, each bucket is full again.

    What one call names belongs to one tenant, so that it is one script in one slot of a cluster. A take that ends in
    `StoreUnavailable` may have been taken: its tokens are lost then, and its slots are free after 30 s. What a caller
    that was cancelled took is given back; only where another take of the same buckets came between the two does nothing
    prove it any more, and it counts as taken. The Redis is its owner's to start and to close.
    """

    def __init__(self, redis: Redis, *, clock: Clock | None = None, buckets_max: int = BUCKETS_MAX) -> None:
        """`clock` is for tests: its time is sent along and counts in place of Redis'.

        `buckets_max` bounds the buckets whose words to Redis are kept; others are worded anew each time.
        """
        self._redis = redis
        self._clock = clock
        self._buckets_max = buckets_max
        self._told: dict[str, _Told] = {}
        self._undoing: set[asyncio.Task[None]] = set()

    async def take(self, take: Take) -> Decision:
        costs = take.costs
        if len(costs) == 1 and not take.slots:
            keys, args = self._lone_take(costs[0], take.request_id)
        elif costs or take.slots:
            arithmetic.ensure_distinct(take)
            keys, args = self._command(take, [cost.amount for cost in costs], within=_LEASE_US)
            args += tuple(slots.limit for slots in take.slots)
        else:
            return Decision(True, ())
        try:
            reply = await self._redis.run(_TAKE, keys, args)
        except asyncio.CancelledError:
            await self._undo(take)
            raise
        return _decided(take, cast("list[int]", reply))

    async def refund(self, take: Take) -> None:
        await self._close(_CLOSE, take, [cost.amount for cost in take.costs])

    async def settle(self, take: Take, amounts: Sequence[int]) -> None:
        given_back = arithmetic.given_back(take, amounts)
        if take.slots or any(given_back):
            await self._close(_CLOSE, take, given_back)

    async def renew(self, take: Take) -> None:
        if take.slots:
            keys = (*_keys(take.slots), _mark(take))
            await self._redis.run(_RENEW, keys, (self._now(), b"0", _LEASE_US, take.request_id))

    async def peek(self, buckets: Sequence[Bucket]) -> Sequence[Standing]:
        if not buckets:
            return []
        keys, args = self._tell(buckets, [0] * len(buckets))
        reply = cast("list[int]", await self._redis.run(_PEEK, keys, args))
        states = map(State, reply[1::2], reply[2::2])
        return [arithmetic.standing(bucket, state, reply[0]) for bucket, state in zip(buckets, states, strict=True)]

    async def held(self, slots: Sequence[Slots]) -> Sequence[int]:
        if not slots:
            return []
        return cast("list[int]", await self._redis.run(_HELD, _keys(slots), (self._now(), b"0")))

    async def aclose(self) -> None:
        """Waits for what is being given back."""
        if self._undoing:
            await asyncio.wait(self._undoing)

    async def _close(self, script: Script, take: Take, given_back: Sequence[int]) -> None:
        if take.costs or take.slots:
            keys, args = self._command(take, given_back, within=_CLOSED_FOR_MS)
            await self._redis.run(script, (*keys, _mark(take)), args)

    async def _undo(self, take: Take) -> None:
        """On the same connection, and so after the take; who is cancelled once more leaves it to go on by itself."""
        undoing = asyncio.create_task(self._give_back(take))
        self._undoing.add(undoing)
        undoing.add_done_callback(self._undoing.discard)
        await asyncio.shield(undoing)

    async def _give_back(self, take: Take) -> None:
        # Without an answer it is as after a kill: the caller's loss.
        with suppress(StoreUnavailable):
            await self._close(_UNDO, take, [cost.amount for cost in take.costs])

    def _now(self) -> bytes:
        return _REDIS_TIME if self._clock is None else b"%d" % self._clock.now_us()

    def _lone_take(self, cost: Cost, request_id: str) -> Command:
        """The common case: nothing but the request's id and, where it is not 1, the amount is put together anew."""
        told = self._told_of(cost.bucket)
        if cost.amount == 1 and self._clock is None:
            return (told.key,), (*told.alone, request_id)
        return (told.key,), (self._now(), b"1", *told.facts, cost.amount, _LEASE_US, request_id)

    def _command(self, take: Take, amounts: Sequence[int], *, within: bytes) -> Command:
        """The keys and arguments of all that a take names, for takes and closings."""
        keys, args = self._tell([cost.bucket for cost in take.costs], amounts)
        return (*keys, *_keys(take.slots)), (*args, within, take.request_id)

    def _tell(self, buckets: Sequence[Bucket], amounts: Sequence[int]) -> Command:
        told = [self._told_of(bucket) for bucket in buckets]
        args: list[Argument] = [self._now(), len(buckets)]
        for one, amount in zip(told, amounts, strict=True):
            args += one.facts
            args.append(amount)
        return tuple(one.key for one in told), tuple(args)

    def _told_of(self, bucket: Bucket) -> _Told:
        told = self._told.get(bucket.key)
        if told is None or (told.bucket is not bucket and told.bucket != bucket):
            if len(self._told) >= self._buckets_max:
                del self._told[next(iter(self._told))]
            told = self._told[bucket.key] = _tell_of(bucket)
        return told


def _tell_of(bucket: Bucket) -> _Told:
    numbers = (bucket.unit_us, bucket.token_units, bucket.cap_units, bucket.floor_units, bucket.fill_us, bucket.rate)
    facts = tuple(b"%d" % number for number in numbers)
    return _Told(bucket, _PREFIX + bucket.key, facts, (_REDIS_TIME, b"1", *facts, b"1", _LEASE_US))


def _keys(slots: Sequence[Slots]) -> tuple[str, ...]:
    return tuple(_PREFIX + one.key for one in slots)


def _mark(take: Take) -> str:
    """The key that says that a take is closed, in the slot of the rest."""
    tenant_id = take.costs[0].bucket.tenant_id if take.costs else take.slots[0].tenant_id
    return _PREFIX + scoped_key(tenant_id, f"closed:{take.request_id}")


def _decided(take: Take, reply: list[int]) -> Decision:
    """The decision, by the arithmetic of all backends, on what the script found."""
    now_us, busy, *facts = reply
    if len(take.costs) == 1 and not busy:
        return arithmetic.taken_alone(take.costs[0], State(*facts), now_us)[0]
    states = list(map(State, facts[::2], facts[1::2]))
    decision, _ = arithmetic.taken(take.costs, states, now_us, busy=take.slots[busy - 1] if busy else None)
    return decision
