"""One process's limiter over a store that goes away when told, or several of them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from aiservice.core.clock import ManualClock
from aiservice.limits.outage import Mode, OutageLimiter
from tests.unit.limits.away import REPAY_EVERY_S, SHARES, Open, Store


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return Store(clock)


@pytest.fixture
async def open(store: Store, clock: ManualClock) -> AsyncIterator[Open]:
    """Opens one process's limiter; all of them share the store."""
    async with AsyncExitStack() as stack:

        def opened(mode: Mode = "local", *, shares: int = SHARES, closings_max: int = 100) -> OutageLimiter:
            limiter = OutageLimiter(
                store, shares=shares, mode=mode, clock=clock, repay_every_s=REPAY_EVERY_S, closings_max=closings_max
            )
            stack.push_async_callback(limiter.aclose)
            return limiter

        yield opened


@pytest.fixture
def limiter(open: Open) -> OutageLimiter:
    return open()
