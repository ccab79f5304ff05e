"""Processes that take from one Redis while it goes away and comes back, and what each of them saw."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from random import Random

from aiservice.core.clock import SystemClock
from aiservice.core.errors import StoreUnavailable
from aiservice.limits import Bucket, Cost, Decision, Take
from aiservice.limits.outage import OutageLimiter
from aiservice.limits.redis import RedisLimiter
from aiservice.stores.redis import Redis, address_of

KEYS = 60
TENANTS = 6
PROCESSES = 12
BURST = 24
LANES = 6
PAUSE_S = 0.03
DEADLINE_S = 0.05
EVEN_S = 10.0


def bucket_of(round: int, key: int) -> Bucket:
    """Each round has keys of its own, which refill by far less than a token meanwhile."""
    return Bucket(f"requests:key:{round}-{key}", f"tenant-{key % TENANTS}", burst=BURST, rate=1, period_s=3_600)


@dataclass(frozen=True)
class Seen:
    """One take: when it was, how long it took, and who decided; `is_lost` if Redis may have taken it besides."""

    key: int
    amount: int
    started_s: float
    seconds: float
    is_redis: bool
    is_lost: bool

    @property
    def ended_s(self) -> float:
        return self.started_s + self.seconds


@dataclass
class Report:
    """What one process saw in a round. Tokens by key, less those that were given back."""

    seen: list[Seen] = field(default_factory=list)
    from_redis: Counter[int] = field(default_factory=Counter)
    from_shares: Counter[int] = field(default_factory=Counter)
    is_even: bool = False


class Watched(RedisLimiter):
    """Remembers what it decided itself, and what it was asked and did not answer."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.decided: set[str] = set()
        self.lost: set[str] = set()
        self._server = redis

    async def take(self, take: Take) -> Decision:
        was_sent = self._server.is_up
        try:
            decision = await super().take(take)
        except StoreUnavailable:
            if was_sent:
                self.lost.add(take.request_id)
            raise
        self.decided.add(take.request_id)
        return decision


class Taker:
    """One process, in rounds: it takes until it is told to rest, and then says what it saw."""

    def __init__(self, number: int, url: str) -> None:
        self._number = number
        self._redis = Redis(address_of(url), timeout_s=DEADLINE_S, name="limits")
        self._watched = Watched(self._redis)
        self._limiter = OutageLimiter(self._watched, shares=PROCESSES, mode="local", clock=SystemClock())
        self._report = Report()
        self._is_resting = False

    async def run(self, line: Connection) -> None:
        await self._redis.start()
        while (round := await asyncio.to_thread(line.recv)) is not None:
            self._report, self._is_resting = Report(), False
            lanes = [asyncio.create_task(self._take(round, lane)) for lane in range(LANES)]
            await asyncio.to_thread(line.recv)
            self._is_resting = True
            await asyncio.gather(*lanes)
            self._report.is_even = await self._has_paid()
            await asyncio.to_thread(line.send, self._report)
        await self._limiter.aclose()
        await self._redis.aclose()

    async def _take(self, round: int, lane: int) -> None:
        random, at = Random(f"{round}:{self._number}:{lane}"), 0
        while not self._is_resting:
            key, at = random.randrange(KEYS), at + 1
            cost = Cost(bucket_of(round, key), random.choice([1, 1, 1, 2]))
            take = Take(f"{round}:{self._number}:{lane}:{at}", (cost,))
            started_s = time.monotonic()
            decision = await self._limiter.take(take)
            seconds = time.monotonic() - started_s
            is_redis, is_lost = (take.request_id in ids for ids in (self._watched.decided, self._watched.lost))
            self._report.seen.append(Seen(key, cost.amount, started_s, seconds, is_redis, is_lost))
            if decision.is_allowed:
                await self._keep_or_give_back(take, key, random)
            await asyncio.sleep(random.uniform(0, 2 * PAUSE_S))

    async def _keep_or_give_back(self, take: Take, key: int, random: Random) -> None:
        """One in five goes back after a while, by then Redis may have gone or come; some go back twice."""
        is_redis = take.request_id in self._watched.decided
        given = self._report.from_redis if is_redis else self._report.from_shares
        given[key] += take.costs[0].amount
        if random.random() < 0.2:
            await asyncio.sleep(random.uniform(0, 0.5))
            for _ in range(random.choice([1, 2])):
                await self._limiter.refund(take)
            given[key] -= take.costs[0].amount

    async def _has_paid(self) -> bool:
        end_s = time.monotonic() + EVEN_S
        while not self._limiter.is_even and time.monotonic() < end_s:
            await asyncio.sleep(0.05)
        return self._limiter.is_even


def take_in_rounds(number: int, url: str, line: Connection) -> None:
    asyncio.run(Taker(number, url).run(line))


@dataclass(frozen=True)
class Outcome:
    """A round of all processes: Redis was away from `gone_s` to `back_s`, and came back with what it had or empty."""

    round: int
    reports: Sequence[Report]
    gone_s: float
    back_s: float
    is_emptied: bool
    levels: Sequence[float]

    def faults(self) -> list[str]:
        """Everything that was promised otherwise."""
        unpaid = ["a process has not told Redis everything" for report in self.reports if not report.is_even]
        return unpaid + [fault for key in range(KEYS) for fault in self._faults_of(key)]

    @property
    def extra_most(self) -> int:
        """Of any key, the tokens that were admitted above its burst."""
        return max(self._given(key) for key in range(KEYS)) - BURST

    @property
    def shared(self) -> int:
        """The tokens that came out of shares."""
        return sum(report.from_shares.total() for report in self.reports)

    @property
    def recovery_s(self) -> float:
        """Until Redis had decided a take of each process again; infinite where it never did."""
        return max(map(self._recovery_of, self.reports))

    @property
    def added_p99_s(self) -> float:
        return self._p99_s(self.gone_s, self.back_s) - self._p99_s(0, self.gone_s)

    def said(self) -> str:
        before_s, away_s = self._p99_s(0, self.gone_s), self._p99_s(self.gone_s, self.back_s)
        return (
            f"{self.back_s - self.gone_s:.1f} s: {self.shared:4} tokens of shares, {self.extra_most:2} above {BURST}; "
            f"p99 {away_s * 1e3:5.1f} ms, before {before_s * 1e3:5.1f} ms; back after {self.recovery_s:.2f} s"
        )

    def _p99_s(self, from_s: float, to_s: float) -> float:
        """Of the takes that were asked between these times."""
        seen = [seen for report in self.reports for seen in report.seen if from_s <= seen.started_s < to_s]
        return sorted(one.seconds for one in seen)[len(seen) * 99 // 100]

    def _recovery_of(self, report: Report) -> float:
        ends_s = [seen.ended_s for seen in report.seen if seen.is_redis and seen.ended_s >= self.back_s]
        return min(ends_s, default=float("inf")) - self.back_s

    def _given(self, key: int) -> int:
        return sum(report.from_redis[key] + report.from_shares[key] for report in self.reports)

    def _faults_of(self, key: int) -> Iterator[str]:
        where = f"round {self.round}, key {key}"
        given = self._given(key)
        if given > BURST * (3 if self.is_emptied else 2):
            yield f"{where}: {given} tokens of {BURST} were admitted"
        if self.is_emptied:
            return
        lost = sum(seen.amount for report in self.reports for seen in report.seen if seen.key == key and seen.is_lost)
        left = BURST - given
        if not left - lost <= self.levels[key] <= left + 0.5:
            yield f"{where}: {left} tokens are left, {lost} may be lost, and Redis has {self.levels[key]}"
