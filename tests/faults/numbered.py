"""Processes that take from one Redis, with a number on each step that it made, so that one model can repeat all."""

import asyncio
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Literal, cast

import msgspec

from aiservice.core.clock import ManualClock, SystemClock
from aiservice.limits import Bucket, Cost, Decision, Slots, Take
from aiservice.limits.memory import MemoryLimiter
from aiservice.limits.outage import OutageLimiter
from aiservice.limits.redis import RedisLimiter
from aiservice.stores.redis import Redis, Reply, Script, address_of

KEYS = 200
TENANTS = 20
PROCESSES = 12
AT_ONCE = 8
# So long that this machine's noise is no outage: here it is Redis' arithmetic that is counted.
PATIENCE_S = 5.0
HOUR_S = 3_600
COUNTER = "ai:numbers"

Verb = Literal["take", "refund", "settle"]

# Around each script: the number of the step, and the time that it was given.
_NUMBERED = """
local time = redis.call('TIME')
ARGV[1] = string.format('%.0f', time[1] * 1000000 + time[2])
local function step()
{script}
end
local reply = step()
return {{ redis.call('INCR', '{counter}'), ARGV[1], reply }}
"""
_heard: ContextVar[tuple[int, int]] = ContextVar("heard")


class Step(msgspec.Struct, array_like=True):
    """What one call was and what came of it. `decision` is of takes, `amounts` of settlements."""

    number: int
    now_us: int
    verb: Verb
    order: "Order"
    amounts: tuple[int, ...] = ()
    decision: Decision | None = None


class Order(msgspec.Struct, array_like=True, frozen=True):
    """A take in few words: so many requests of a key and, unless it is None, tokens of it and one of its slots."""

    id: str
    key: int
    requests: int
    tokens: int | None


class NumberedRedis(Redis):
    """Leaves the number and time of each script in the caller's context."""

    def __init__(self, url: str) -> None:
        super().__init__(address_of(url), timeout_s=PATIENCE_S, name="limits")
        self._scripts: dict[Script, Script] = {}

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[str | bytes | int] = ()) -> Reply:
        numbered = self._scripts.get(script)
        if numbered is None:
            numbered = self._scripts[script] = Script(_NUMBERED.format(script=script.text, counter=COUNTER))
        number, now, reply = cast(tuple[int, bytes, Reply], await super().run(numbered, keys, args))
        _heard.set((number, int(now)))
        return reply


@dataclass(frozen=True)
class Limit:
    """What a key may have: its own requests, tokens and slots, and a part of its tenant's requests."""

    key: int
    takes: int

    @property
    def tenant_id(self) -> str:
        return f"tenant-{self.key % TENANTS}"

    @cached_property
    def requests(self) -> Bucket:
        """A third of the keys refill all the while, the others by far less than a token in the whole run."""
        if self.key % 3 == 0:
            return self._bucket("requests:key", 10, rate=max(1, self.takes // 10), period_s=10)
        return self._bucket("requests:key", max(20, self.takes), rate=1, period_s=HOUR_S)

    @cached_property
    def tokens(self) -> Bucket:
        return self._bucket("tokens:key", 25 * self.takes, rate=25 * self.takes, period_s=HOUR_S)

    @cached_property
    def tenant(self) -> Bucket:
        burst = 5 * self.takes
        return Bucket("requests:tenant", self.tenant_id, burst=burst, rate=burst, period_s=HOUR_S)

    @cached_property
    def slots(self) -> Slots:
        return Slots(f"slots:key:{self.key}", self.tenant_id, 2)

    def take(self, order: Order) -> Take:
        costs = [Cost(self.requests, order.requests)]
        if order.tokens is None:
            return Take(order.id, tuple(costs))
        costs += [Cost(self.tokens, order.tokens), Cost(self.tenant, 1)]
        return Take(order.id, tuple(costs), (self.slots,))

    def _bucket(self, kind: str, burst: int, *, rate: int, period_s: int) -> Bucket:
        return Bucket(f"{kind}:{self.key}", self.tenant_id, burst=burst, rate=rate, period_s=period_s)


def limits(takes: int) -> Sequence[Limit]:
    """The keys of a run of so many takes in all."""
    return [Limit(key, takes // KEYS) for key in range(KEYS)]


@dataclass
class Taker:
    """One process: takes, and gives back or settles some of what it got, some of it twice."""

    number: int
    url: str
    takes: int
    steps: list[Step] = field(default_factory=list)

    async def run(self) -> int:
        """How many of its takes were not decided by Redis."""
        redis = NumberedRedis(self.url)
        await redis.start()
        limiter = OutageLimiter(RedisLimiter(redis), shares=PROCESSES, mode="local", clock=SystemClock())
        self._limits = limits(self.takes)
        await asyncio.gather(*(self._take_some(limiter, lane) for lane in range(AT_ONCE)))
        await limiter.aclose()
        await redis.aclose()
        return limiter.local_takes

    async def _take_some(self, limiter: OutageLimiter, lane: int) -> None:
        random = Random(f"{self.number}:{lane}")
        for at in range(self.number * AT_ONCE + lane, self.takes, PROCESSES * AT_ONCE):
            tokens = random.choice([None, None, random.randint(1, 60)])
            order = Order(str(at), random.randrange(KEYS), random.choice([1, 1, 1, 2, 3, 5]), tokens)
            take = self._limits[order.key].take(order)
            decision = await limiter.take(take)
            self._note("take", order, decision=decision)
            if decision.is_allowed:
                await self._close(limiter, order, take, random)

    async def _close(self, limiter: OutageLimiter, order: Order, take: Take, random: Random) -> None:
        """A request with slots is settled or given back, another one may be given back; now and then again."""
        if not take.slots and random.random() < 0.7:
            return
        for _ in range(random.choice([1, 1, 2])):
            if order.tokens is None or random.random() < 0.3:
                await limiter.refund(take)
                self._note("refund", order)
            else:
                amounts = (order.requests, random.randint(0, order.tokens + 20), 1)
                await limiter.settle(take, amounts)
                self._note("settle", order, amounts=amounts)

    def _note(
        self, verb: Verb, order: Order, *, amounts: tuple[int, ...] = (), decision: Decision | None = None
    ) -> None:
        self.steps.append(Step(*_heard.get(), verb, order, amounts, decision))


def take_in_a_process(number: int, url: str, takes: int, folder: Path) -> None:
    """Leaves its steps in a file of the folder, and the count of takes that Redis did not decide."""
    taker = Taker(number, url, takes)
    local_takes = asyncio.run(taker.run())
    (folder / f"{number}.steps").write_bytes(msgspec.msgpack.encode((local_takes, taker.steps)))


@dataclass
class Count:
    """What the model found; over- and under-admitted by key."""

    takes: int = 0
    allowed: int = 0
    closings: int = 0
    over: dict[int, int] = field(default_factory=dict)
    under: dict[int, int] = field(default_factory=dict)
    worded_otherwise: int = 0


def steps_in(folder: Path) -> tuple[int, list[Step]]:
    """The takes that were not Redis', and all steps in the order in which Redis made them."""
    files = [msgspec.msgpack.decode(path.read_bytes(), type=tuple[int, list[Step]]) for path in folder.glob("*.steps")]
    return sum(local for local, _ in files), sorted(
        (step for _, steps in files for step in steps), key=lambda step: step.number
    )


async def counted(steps: Iterator[Step] | Sequence[Step], takes: int) -> Count:
    """One process's memory makes the same steps at the same times, and must decide the same."""
    clock, count, known = ManualClock(), Count(), limits(takes)
    model = MemoryLimiter(clock)
    for step in steps:
        clock.set_us(step.now_us)
        take = known[step.order.key].take(step.order)
        if step.decision is not None:
            _compare(count, step, await model.take(take))
        elif step.verb == "refund":
            await model.refund(take)
        else:
            await model.settle(take, step.amounts)
        count.closings += step.decision is None
    return count


def _compare(count: Count, step: Step, right: Decision) -> None:
    assert step.decision is not None
    count.takes += 1
    count.allowed += step.decision.is_allowed
    if step.decision.is_allowed != right.is_allowed:
        wrong = count.over if step.decision.is_allowed else count.under
        wrong[step.order.key] = wrong.get(step.order.key, 0) + 1
    count.worded_otherwise += step.decision != right
