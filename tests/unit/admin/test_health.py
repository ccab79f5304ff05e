"""What is said of the service while one of its stores is away."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from aiservice.admin import Health, Stores
from aiservice.cache import ResponseCache
from aiservice.cache.memory import MemoryCache
from aiservice.core.clock import ManualClock
from aiservice.core.errors import SpoolFull, StoreUnavailable
from aiservice.core.settings import CacheSettings, LimitSettings
from aiservice.limits import Bucket, Limits, Standing
from aiservice.limits.memory import MemoryLimiter, MemoryRuleStore
from aiservice.observe.metrics import Metrics
from aiservice.usage import SpoolHealth


@dataclass
class Server:
    """A pulse or a Redis: up until it is told otherwise; `hangs` keeps its answers back."""

    is_up: bool = True
    failures: int = 0
    latency_s: float = 0.002
    hangs: bool = False

    async def call(self, *command: str, key: str) -> bytes:
        if self.hangs:
            await asyncio.sleep(60)
        if not self.is_up:
            raise StoreUnavailable
        return b"PONG"


class Limiter(MemoryLimiter):
    """One that can be taken away."""

    is_away = False

    async def peek(self, buckets: Sequence[Bucket]) -> Sequence[Standing]:
        if self.is_away:
            raise StoreUnavailable
        return await super().peek(buckets)


@dataclass
class Keys:
    may_admit: bool = True


@dataclass
class Spooled:
    health: SpoolHealth = field(default_factory=lambda: SpoolHealth(False, False, 0, 0))


@dataclass
class Outage:
    local_takes: int = 0


@dataclass
class Strays:
    strays: int = 0


@dataclass
class Stage:
    """All that health looks at."""

    database: Server = field(default_factory=Server)
    replica: Server | None = field(default_factory=Server)
    limits_redis: Server = field(default_factory=Server)
    cache_redis: Server = field(default_factory=Server)
    outage: Outage = field(default_factory=Outage)
    partitions: Strays = field(default_factory=Strays)
    keys: Keys = field(default_factory=Keys)
    ledger: Spooled = field(default_factory=Spooled)
    limiter: Limiter = field(default_factory=lambda: Limiter(ManualClock()))
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        clock = self.clock
        stores: Any = Stores(
            self.database,  # type: ignore[arg-type]
            replica=self.replica,  # type: ignore[arg-type]
            limits=self.limits_redis,  # type: ignore[arg-type]
            cache=self.cache_redis,  # type: ignore[arg-type]
            outage=self.outage,  # type: ignore[arg-type]
            partitions=self.partitions,  # type: ignore[arg-type]
        )
        rooms: Any = {"keys": self.keys, "ledger": self.ledger, "stores": stores}
        limits = Limits(LimitSettings(), self.limiter, MemoryRuleStore(clock))
        cache = ResponseCache(CacheSettings(), MemoryCache(CacheSettings(), clock))
        self.health = Health(limits=limits, cache=cache, clock=clock, **rooms)

    async def statuses(self) -> dict[str, str | None]:
        found = await self.health.findings()
        names = ("database", "replica", "limiter", "cache", "spool")
        return {name: getattr(getattr(found, name), "status", None) for name in names}

    async def can_serve(self) -> bool:
        return self.health.can_serve(await self.health.findings())


OK = {"database": "ok", "replica": "ok", "limiter": "ok", "cache": "ok", "spool": "ok"}


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_all_is_well(stage: Stage) -> None:
    assert await stage.statuses() == OK
    assert await stage.can_serve()
    await stage.health.ensure_ready()


async def test_without_redis_it_serves_from_its_own_share(stage: Stage) -> None:
    stage.limits_redis.is_up = stage.cache_redis.is_up = False
    assert await stage.statuses() == OK | {"limiter": "degraded", "cache": "down"}
    await stage.health.ensure_ready()


async def test_without_any_limit_nothing_is_served(stage: Stage) -> None:
    """As with LIMITS_WITHOUT_REDIS=closed."""
    stage.limits_redis.is_up, stage.limiter.is_away = False, True
    assert await stage.statuses() == OK | {"limiter": "down"}
    assert not await stage.can_serve()
    with pytest.raises(StoreUnavailable) as caught:
        await stage.health.ensure_ready()
    assert caught.value.retry_after_s == 5


async def test_without_its_database_it_serves_as_long_as_keys_are_known(stage: Stage) -> None:
    stage.database.is_up = False
    assert await stage.statuses() == OK | {"database": "down"}
    await stage.health.ensure_ready()
    stage.keys.may_admit = False
    assert not await stage.can_serve()
    with pytest.raises(StoreUnavailable):
        await stage.health.ensure_ready()


async def test_a_worker_whose_keys_wait_for_their_store_is_ready_while_the_database_answers(stage: Stage) -> None:
    stage.keys.may_admit = False
    await stage.health.ensure_ready()


async def test_a_redis_that_answers_and_takes_no_writes_is_degraded(stage: Stage) -> None:
    """As a full one does. It is told of for as long as calls fail, and two seconds more."""
    for failures in (1, 2):
        stage.limits_redis.failures = stage.cache_redis.failures = failures
        stage.health.measure(Metrics())
        stage.clock.advance_s(1.9)
        assert await stage.statuses() == OK | {"limiter": "degraded", "cache": "degraded"}
    await stage.health.ensure_ready()
    stage.health.measure(Metrics())
    stage.clock.advance_s(0.1)
    assert await stage.statuses() == OK


async def test_a_lost_replica_is_said_and_no_more(stage: Stage) -> None:
    assert stage.replica is not None
    stage.replica.is_up = False
    assert await stage.statuses() == OK | {"replica": "down"}
    await stage.health.ensure_ready()
    assert (await Stage(replica=None).statuses())["replica"] is None


@pytest.mark.parametrize(
    ("health", "status"), [(SpoolHealth(True, True, 9, 0), "down"), (SpoolHealth(False, True, 9, 1), "degraded")]
)
async def test_a_full_spool_takes_nothing(stage: Stage, health: SpoolHealth, status: str) -> None:
    stage.ledger.health = health
    assert await stage.statuses() == OK | {"spool": status}
    if health.is_full:
        with pytest.raises(SpoolFull):
            await stage.health.ensure_ready()
    else:
        await stage.health.ensure_ready()


async def test_nothing_is_waited_for_longer_than_a_tenth_of_a_second(stage: Stage) -> None:
    stage.cache_redis.hangs = True
    async with asyncio.timeout(1):
        assert await stage.statuses() == OK | {"cache": "down"}


async def test_latencies_are_those_of_the_last_question(stage: Stage) -> None:
    found = await stage.health.findings()
    assert found.database.latency_ms == 2.0
    assert found.limiter.latency_ms >= 0


def test_metrics_follow_what_the_stores_count(stage: Stage) -> None:
    metrics = Metrics()
    stage.health.measure(metrics)
    stage.limits_redis.is_up, stage.limits_redis.failures, stage.outage.local_takes = False, 3, 7
    for _ in range(2):
        stage.health.measure(metrics)
    stage.limits_redis.failures, stage.partitions.strays = 5, 11
    stage.ledger.health = SpoolHealth(False, False, 0, 0, replica_lag_s=1.5)
    stage.health.measure(metrics)
    lines = metrics.render().decode().splitlines()
    for line in (
        'aiservice_store_up{store="database"} 1.0',
        'aiservice_store_up{store="replica"} 1.0',
        'aiservice_store_up{store="limits"} 0.0',
        'aiservice_store_up{store="cache"} 1.0',
        'aiservice_store_failures_total{store="limits"} 5.0',
        'aiservice_store_failures_total{store="cache"} 0.0',
        "aiservice_limits_local_takes_total 7.0",
        "aiservice_usage_stray_rows 11.0",
        "aiservice_usage_replica_lag_seconds 1.5",
    ):
        assert line in lines


async def test_where_there_is_no_redis_the_rooms_answer_themselves(tmp_path: Path) -> None:
    stage = Stage()
    stage.health = Health(
        keys=stage.keys,  # type: ignore[arg-type]
        limits=Limits(LimitSettings(), stage.limiter, MemoryRuleStore(ManualClock())),
        cache=ResponseCache(CacheSettings(), MemoryCache(CacheSettings(), ManualClock())),
        ledger=stage.ledger,  # type: ignore[arg-type]
        stores=Stores(stage.database),  # type: ignore[arg-type]
        clock=ManualClock(),
    )
    assert await stage.statuses() == OK | {"replica": None}
    metrics = Metrics()
    stage.health.measure(metrics)
    assert 'aiservice_store_up{store="database"} 1.0' in metrics.render().decode()
    assert 'store="limits"' not in metrics.render().decode()
    stage.limiter.is_away = True
    assert await stage.statuses() == OK | {"replica": None, "limiter": "down"}
