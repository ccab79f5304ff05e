"""Keeps a long request's concurrency slots while it runs."""

import asyncio
from types import TracebackType

from aiservice.core.errors import StoreUnavailable
from aiservice.limits import RENEW_EVERY_S, Limits, Take


class Renewal:
    """Renews the take's slots every 10 s, for they lapse after 30; costs nothing where it has none."""

    __slots__ = ("_limits", "_take", "_task")

    def __init__(self, limits: Limits, take: Take) -> None:
        self._limits = limits
        self._take = take
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        if self._take.slots:
            self._task = asyncio.create_task(self._renew())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            try:
                await self._limits.renew(self._take)
            except StoreUnavailable:
                # The slots live two more renewals; the next may find the store again.
                continue
