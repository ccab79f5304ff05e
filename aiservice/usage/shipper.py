"""Brings a worker's own finished records to the store, oldest file first, and deletes files that are all committed."""

import asyncio
import logging
from collections import deque
from itertools import islice

from aiservice.core.settings import UsageSettings
from aiservice.usage import folders
from aiservice.usage.delivery import Delivery
from aiservice.usage.model import LedgerCounts, UsageRecord
from aiservice.usage.recovery import Leftover, ship
from aiservice.usage.spool import Spool, SpoolFile
from aiservice.usage.sync import SpoolSync
from aiservice.usage.threads import run_to_end

log = logging.getLogger(__name__)

ROWS_IN_MEMORY_MAX = 50_000


class Shipper:
    """Rows wait in memory beside their file, up to a bound; beyond it they are read back from the file later."""

    def __init__(
        self,
        spool: Spool,
        sync: SpoolSync,
        delivery: Delivery,
        *,
        settings: UsageSettings,
        counts: LedgerCounts,
        rows_max: int = ROWS_IN_MEMORY_MAX,
    ) -> None:
        self.is_batch_full = asyncio.Event()
        self.has_rows = asyncio.Event()
        self._spool = spool
        self._sync = sync
        self._delivery = delivery
        self._counts = counts
        self._batch_rows = settings.batch_rows
        self._rows_max = rows_max
        self._rows_count = 0
        self._unspooled: deque[UsageRecord] = deque()

    def add(self, record: UsageRecord, file: SpoolFile) -> None:
        """A record that its file holds already."""
        if not file.is_evicted:
            file.rows.append(record)
            self._rows_count += 1
            if self._rows_count > self._rows_max:
                self._evict(file)
        self._announce()

    def add_unspooled(self, record: UsageRecord) -> None:
        """A record that no file could hold: memory alone keeps it until it is in the store."""
        self._counts.unspooled_rows += 1
        self._unspooled.append(record)
        self._announce()

    @property
    def is_empty(self) -> bool:
        return not self._unspooled and not any(file.rows or file.is_evicted for file in self._spool.files)

    @property
    def oldest_us(self) -> int | None:
        """When the oldest record that waits was recorded; None when none waits."""
        waiting = [self._unspooled[0].ended_at_us] if self._unspooled else []
        for file in self._spool.files:
            if file.rows or file.is_evicted:
                waiting.append(file.evicted_us if file.is_evicted else file.rows[0].ended_at_us)
                break
        return min(waiting, default=None)

    async def ship(self, *, is_all: bool) -> None:
        """Delivers what waits: whole batches, and the rest too when `is_all`. Raises `StoreUnavailable`."""
        self.is_batch_full.clear()
        await self._ship_unspooled()
        while self._spool.is_open and await self._ship_some(self._spool.files[0], is_all=is_all):
            continue
        if self.is_empty:
            self.has_rows.clear()

    async def _ship_some(self, file: SpoolFile, *, is_all: bool) -> bool:
        """Brings the oldest file a step on; False when there is nothing to do now."""
        is_current = file is self._spool.current
        if file.is_evicted:
            return await self._ship_evicted(file)
        if len(file.rows) >= self._batch_rows or (file.rows and (is_all or not is_current)):
            await self._ship_batch(file)
        elif is_current:
            return False
        else:
            await self._drop(file)
        return True

    def _announce(self) -> None:
        if not self.has_rows.is_set():
            self.has_rows.set()
        if self._rows_count >= self._batch_rows and not self.is_batch_full.is_set():
            self.is_batch_full.set()

    def _evict(self, file: SpoolFile) -> None:
        self._rows_count -= len(file.rows)
        file.evicted_us = file.rows[0].ended_at_us
        file.rows.clear()
        file.is_evicted = True

    async def _ship_batch(self, file: SpoolFile) -> None:
        batch = list(islice(file.rows, self._batch_rows))
        await self._delivery.deliver(batch)
        if file.is_evicted:
            return
        for _ in batch:
            file.rows.popleft()
        self._rows_count -= len(batch)

    async def _ship_evicted(self, file: SpoolFile) -> bool:
        """Reads the rows back from a file that is closed; False when it is open and cannot be closed now."""
        if file is self._spool.current and not self._spool.rotate():
            return False
        leftover = Leftover([file.path])
        await ship(leftover.finished(), self._delivery, batch_rows=self._batch_rows)
        file.is_evicted = False
        if leftover.damaged:
            self._counts.damaged_files += 1
            await self._sync.reach(self._spool.seq)
            self._spool.drop(file)
            await run_to_end(folders.set_aside, file.path, self._spool.root)
        return True

    async def _ship_unspooled(self) -> None:
        while self._unspooled:
            record = self._unspooled[0]
            await self._delivery.deliver([record])
            self._unspooled.popleft()
            self._spool.forget(record.id)

    async def _drop(self, file: SpoolFile) -> None:
        """What is still open was carried into a later file, which must be on disk before this one goes."""
        await self._sync.reach(self._spool.seq)
        self._spool.drop(file)
        await run_to_end(file.path.unlink)
