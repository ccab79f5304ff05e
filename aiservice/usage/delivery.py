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

    async def deliver(self, rows: Sequence[UsageRecord]) -> str | None:
        """Returns when every row is in the store or is a dead letter; `StoreUnavailable`: keep all of them.

        Gives a witness where there is one: an id that a copy of the database has only when it has all of the rows.
        That is so where all were new, for then one transaction brought them.
        """
        outcome = await self._outcome(rows)
        if outcome == len(rows):
            return rows[0].id
        if isinstance(outcome, str):
            await self._deliver_singly(rows)
        return None

    async def _deliver_singly(self, rows: Sequence[UsageRecord]) -> None:
        for row in rows:
            outcome = await self._outcome([row])
            if isinstance(outcome, str):
                await self._bury(row, outcome)

    async def _outcome(self, rows: Sequence[UsageRecord]) -> int | str:
        """How many rows were new, or why the store refused them as often as it was asked."""
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
                return new
        return reason

    async def _bury(self, row: UsageRecord, reason: str) -> None:
        try:
            await self._store.bury(row, reason)
        except Unexpected as error:
            # A store that takes neither the row nor its letter is not in order: nothing is given up.
            raise StoreUnavailable(detail=error.detail) from error
        self._counts.dead_letters += 1
        log.error("usage row %s went to usage_dead_letters: %s", row.id, reason)
