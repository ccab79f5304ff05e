"""How rows get into the store: in batches, again when it failed, and one by one when a batch has a row it refuses."""

import asyncio
import logging
from collections.abc import Sequence

from aiservice.core.errors import StoreUnavailable, Unexpected
from aiservice.usage.model import LedgerCounts, UsageRecord
from aiservice.usage.port import UsageStore

log = logging.getLogger(__name__)

TRIES_MAX = 3
_PAUSE_S = 0.02


class Delivery:
    """Brings rows to the store. Delivering rows again is harmless: the store skips ids that it has."""

    def __init__(self, store: UsageStore, counts: LedgerCounts) -> None:
        self._store = store
        self._counts = counts

    async def deliver(self, rows: Sequence[UsageRecord]) -> None:
        """Returns when every row is in the store or is a dead letter; `StoreUnavailable`: keep all of them."""
        if await self._refusal(rows) is None:
            return
        for row in rows:
            reason = await self._refusal([row])
            if reason is not None:
                await self._bury(row, reason)

    async def _refusal(self, rows: Sequence[UsageRecord]) -> str | None:
        """Why the store refused the rows as often as it was asked; None when they are in."""
        reason = ""
        for attempt in range(TRIES_MAX):
            await asyncio.sleep(_PAUSE_S * attempt)
            try:
                new = await self._store.insert(rows)
            except Unexpected as error:
                reason = error.detail or error.public
            else:
                self._counts.shipped_rows += new
                self._counts.repeated_rows += len(rows) - new
                return None
        return reason

    async def _bury(self, row: UsageRecord, reason: str) -> None:
        try:
            await self._store.bury(row, reason)
        except Unexpected as error:
            # A store that takes neither the row nor its letter is not in order: nothing is given up.
            raise StoreUnavailable(detail=error.detail) from error
        self._counts.dead_letters += 1
        log.error("usage row %s went to usage_dead_letters: %s", row.id, reason)
