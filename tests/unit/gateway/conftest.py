"""The house of each test."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aiservice.cache import ResponseCache
from aiservice.cache.memory import MemoryCache
from aiservice.core.clock import ManualClock
from aiservice.core.settings import CacheSettings, KeySettings, LimitSettings, UsageSettings
from aiservice.core.types import Deadline
from aiservice.engines import Registry
from aiservice.engines.fake import Say
from aiservice.engines.model import EngineSpec, Price
from aiservice.gateway import Recorder
from aiservice.keys import Keys
from aiservice.keys.memory import MemoryKeyStore
from aiservice.limits import Limits
from aiservice.limits.memory import MemoryRuleStore
from aiservice.observe.metrics import Metrics
from aiservice.usage import Spool
from aiservice.usage.memory import MemoryUsageStore
from tests.unit.gateway.house import Disk, HastyCorridor, House, Limiter, OddEngine, WatchedLedger


@pytest.fixture
def usage_settings() -> UsageSettings:
    return UsageSettings(batch_interval_ms=10)


@pytest.fixture
async def house(tmp_path: Path, usage_settings: UsageSettings) -> AsyncIterator[House]:
    clock, disk, store = ManualClock(), Disk(), MemoryUsageStore()
    scripts = {name: (Say("one"),) for name in ("ends", "breaks")}
    engine = OddEngine(scripts=scripts)
    spec = EngineSpec("fake", "fake", "", prices={"echo": Price(2, 3), "slow-20": Price(2, 3)})
    registry = Registry([(spec, engine)], default_model="echo", clock=clock)
    await registry.refresh()
    limiter = Limiter(clock)
    limits = Limits(LimitSettings(), limiter, MemoryRuleStore(clock))
    cache = MemoryCache(CacheSettings(), clock)
    spool = Spool(tmp_path / "spool", clock=clock, write=disk.write)
    ledger = WatchedLedger(store, spool, usage_settings)
    running = asyncio.create_task(ledger.run())
    room = ResponseCache(CacheSettings(), cache)
    recorder = Recorder(limits=limits, cache=room, ledger=ledger, metrics=Metrics(), clock=clock)
    keys = Keys(MemoryKeyStore(), KeySettings(), LimitSettings(), pepper=b"p" * 32, clock=clock)
    corridor = HastyCorridor(
        keys=keys,
        limits=limits,
        cache=room,
        registry=registry,
        recorder=recorder,
        deadline=Deadline(1, 1, 1, total_s=0.4),
    )
    yield House(corridor, store, limiter, limits, cache, disk, clock, spool, ledger)
    await corridor.aclose()
    await ledger.aclose()
    await running
