"""Keeps a long request's concurrency slots while it runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiservice.limits import Limits, Take

RENEWAL_S = 10.0


@asynccontextmanager
async def renewed(limits: Limits, take: Take) -> AsyncIterator[None]:
    """Renews the take's slots each 10 s (they lapse after 30); costs nothing where it has none."""
    if not take.slots:
        yield
        return
    renewal = asyncio.create_task(_renew(limits, take))
    try:
        yield
    finally:
        renewal.cancel()


async def _renew(limits: Limits, take: Take) -> None:
    while True:
        await asyncio.sleep(RENEWAL_S)
        await limits.renew(take)
