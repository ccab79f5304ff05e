"""How the service and its stores stand: for load balancers, operators, metrics. Nothing here waits for a database."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from aiservice.cache import ResponseCache
from aiservice.core.clock import Clock
from aiservice.core.errors import SpoolFull, StoreUnavailable
from aiservice.keys import Keys
from aiservice.limits import Limits
from aiservice.limits.outage import OutageLimiter
from aiservice.observe.metrics import Metrics
from aiservice.stores.partitions import Partitions
from aiservice.stores.pulse import Pulse
from aiservice.stores.redis import Redis
from aiservice.usage import Ledger

# The longest wait of a check.
ANSWER_S_MAX = 0.1
RETRY_AFTER_S = 5
# So long a Redis that answers, but refused or missed a call, is told of: a full one answers all but what writes.
LATELY_S = 2.0

Status = Literal["ok", "degraded", "down"]


class Store(Protocol):
    """What a server of a store tells of itself."""

    failures: int

    @property
    def is_up(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Stores:
    """The servers that this process stands on; what is None is a file of the service itself."""

    database: Pulse
    replica: Pulse | None = None
    limits: Redis | None = None
    cache: Redis | None = None
    outage: OutageLimiter | None = None
    partitions: Partitions | None = None

    def by_name(self) -> Iterator[tuple[str, Store]]:
        """Those that there are, by what metrics call them."""
        yield "database", self.database
        others = {"replica": self.replica, "limits": self.limits, "cache": self.cache}
        yield from ((name, store) for name, store in others.items() if store is not None)


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: `latency_ms` of the question that was asked, the last one where it is asked in the background."""

    status: Status
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Findings:
    """All of them. `degraded` is a store that is away while the service goes on without it."""

    database: Finding
    replica: Finding | None
    limiter: Finding
    cache: Finding
    spool: Finding


class Health:
    """One per worker; what it says is what this worker sees."""

    def __init__(
        self, *, keys: Keys, limits: Limits, cache: ResponseCache, ledger: Ledger, stores: Stores, clock: Clock
    ) -> None:
        self._keys = keys
        self._limits = limits
        self._cache = cache
        self._ledger = ledger
        self._stores = stores
        self._clock = clock
        # By store: how many failures there were, and when the last one was seen.
        self._failures: dict[str, tuple[int, float]] = {}

    async def findings(self) -> Findings:
        """Every check, within 0.2 s."""
        stores = self._stores
        return Findings(
            database=_of(stores.database),
            replica=None if stores.replica is None else _of(stores.replica),
            limiter=self._doubted("limits", await self._asked(self._limits.check)),
            cache=self._doubted(
                "cache", await self._asked(self._cache.stats if stores.cache is None else _ping(stores.cache))
            ),
            spool=self._spool(),
        )

    def can_serve(self, found: Findings) -> bool:
        """Whether there is anything that this worker can answer.

        Without Redis it can, from its own share of the limits; without its database it lets the keys in that it knows,
        for a minute; without a place for its usage it cannot.
        """
        has_keys = found.database.status != "down" or self._keys.may_admit
        return has_keys and "down" not in (found.limiter.status, found.spool.status)

    async def ensure_ready(self) -> None:
        """Raises `SpoolFull` or `StoreUnavailable` where this worker should get no traffic."""
        found = await self.findings()
        if found.spool.status == "down":
            raise SpoolFull(retry_after_s=RETRY_AFTER_S)
        if not self.can_serve(found):
            raise StoreUnavailable(retry_after_s=RETRY_AFTER_S)

    def measure(self, metrics: Metrics) -> None:
        """Brings the metrics of stores up to date; called by each worker before it writes its metrics."""
        stores = self._stores
        for name, store in stores.by_name():
            metrics.stores.store(name, is_up=store.is_up, failures=store.failures)
            if store.failures > self._failures.get(name, (0, 0.0))[0]:
                self._failures[name] = store.failures, self._clock.monotonic_s()
        if stores.outage is not None:
            metrics.stores.local_takes(stores.outage.local_takes)
        if stores.partitions is not None:
            metrics.stores.set_stray_rows(stores.partitions.strays)
        metrics.stores.set_replica_lag_s(self._ledger.health.replica_lag_s)

    def _doubted(self, name: str, found: Finding) -> Finding:
        """What answers is degraded all the same while its Redis is away, or where that has failed a moment ago."""
        store = dict(self._stores.by_name()).get(name)
        if store is None or found.status != "ok":
            return found
        has_failed = name in self._failures and self._clock.monotonic_s() - self._failures[name][1] < LATELY_S
        return Finding("degraded", found.latency_ms) if has_failed or not store.is_up else found

    def _spool(self) -> Finding:
        health = self._ledger.health
        return Finding("down" if health.is_full else "degraded" if health.is_degraded else "ok", 0.0)

    async def _asked(self, question: Callable[[], Awaitable[object]]) -> Finding:
        asked_s = self._clock.monotonic_s()
        status: Status = "ok"
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                await question()
        except (StoreUnavailable, TimeoutError):
            status = "down"
        return Finding(status, _ms(self._clock.monotonic_s() - asked_s))


def _of(pulse: Pulse) -> Finding:
    return Finding("ok" if pulse.is_up else "down", _ms(pulse.latency_s))


def _ping(redis: Redis) -> Callable[[], Awaitable[object]]:
    return lambda: redis.call("PING", key="")


def _ms(seconds: float) -> float:
    return round(seconds * 1_000, 3)
