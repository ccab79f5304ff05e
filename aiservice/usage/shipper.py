"""Brings a worker's own finished records to the store, oldest file first, and deletes files that nothing needs."""

import asyncio
import logging
from collections import deque
from itertools import islice

from aiservice.core.settings import UsageSettings
from aiservice.usage import folders
from aiservice.usage.delivery import Delivery
from aiservice.usage.model import LedgerCounts, UsageRecord
from aiservice.usage.recovery import Leftover, ship
from aiservice.usage.replication import Held, Replication, Standing
from aiservice.usage.spool import Spool, SpoolFile
from aiservice.usage.sync import SpoolSync
from aiservice.usage.threads import run_to_end

log = logging.getLogger(__name__)

ROWS_IN_MEMORY_MAX = 50_000
_CONFIRM_S = 0.05


class Shipper:
    """Rows wait in memory beside their file, up to a bound; beyond it they are read back from the file later.

    With a replica a file is kept until all of its rows are seen there, which `confirm` asks for.
    """

    def __init__(
        self,
        spool: Spool,
        sync: SpoolSync,
        delivery: Delivery,
        *,
        settings: UsageSettings,
        counts: LedgerCounts,
        replication: Replication | None = None,
    ) -> None:
        self.is_batch_full = asyncio.Event()
        self.has_rows = asyncio.Event()
        self.rows_max = ROWS_IN_MEMORY_MAX
        self._spool = spool
        self._sync = sync
        self._delivery = delivery
        self._counts = counts
        self._replication = replication
        self._batch_rows = settings.batch_rows
        self._rows_count = 0
        self._unspooled: deque[UsageRecord] = deque()
        self._held = Held()

    def add(self, record: UsageRecord, file: SpoolFile) -> None:
        """A record that its file holds already."""
        if not file.is_evicted:
            file.rows.append(record)
            self._rows_count += 1
            if self._rows_count > self.rows_max:
                self._evict(file)
        self._announce()

    def add_unspooled(self, record: UsageRecord) -> None:
        """A record that no file could hold: memory alone keeps it until it is in the store."""
        self._counts.unspooled_rows += 1
        self._unspooled.append(record)
        self._announce()

    @property
    def is_empty(self) -> bool:
        """Whether everything is shipped."""
        return not self._unspooled and not any(file.is_unshipped for file in self._spool.files)

    @property
    def oldest_us(self) -> int | None:
        """When the oldest record that waits was recorded; None when none waits."""
        waiting = [self._unspooled[0].ended_at_us] if self._unspooled else []
        for file in self._spool.files:
            if file.is_unshipped:
                waiting.append(file.evicted_us if file.is_evicted else file.rows[0].ended_at_us)
                break
        return min(waiting, default=None)

    @property
    def oldest_unseen_us(self) -> int | None:
        """The same of the oldest one that the replica, where there is one, is not known to have."""
        waiting = [record.ended_at_us for record in self._held.records]
        waiting += [file.unseen.oldest_us for file in islice(filter(_is_unseen, self._spool.files), 1)]
        if self.oldest_us is not None:
            waiting.append(self.oldest_us)
        return min(waiting, default=None)

    async def ship(self, *, is_all: bool) -> None:
        """Delivers what waits: whole batches, and the rest too when `is_all`. Raises `StoreUnavailable`."""
        self.is_batch_full.clear()
        await self._ship_unspooled()
        while (file := self._next(is_all=is_all)) is not None:
            await (self._ship_evicted(file) if file.is_evicted else self._ship_batch(file))
            if self._replication is None:
                await self._drop_done()
        if self.is_empty:
            self.has_rows.clear()

    async def confirm(self) -> None:
        """Asks the replica for what was shipped, oldest file first, drops the files that it has whole, and takes back
        those that are lost. Raises `StoreUnavailable`.
        """
        if self._replication is None:
            return
        await self._confirm_held(self._replication)
        for file in tuple(self._spool.files):
            if not await self._is_seen(file, self._replication):
                break
        await self._drop_done()

    async def finish(self) -> None:
        """Returns when everything is shipped and seen. Raises `StoreUnavailable`."""
        await self.ship(is_all=True)
        await self.confirm()
        while self._held or any(file.is_needed for file in self._spool.files):
            await asyncio.sleep(_CONFIRM_S)
            await self.ship(is_all=True)
            await self.confirm()

    def _next(self, *, is_all: bool) -> SpoolFile | None:
        """The oldest file of which something can be shipped now; an evicted one must be closed for it."""
        for file in self._spool.files:
            is_current = file is self._spool.current
            if file.is_evicted:
                if not is_current or self._spool.rotate():
                    return file
            elif len(file.rows) >= self._batch_rows or (file.rows and (is_all or not is_current)):
                return file
        return None

    def _announce(self) -> None:
        if not self.has_rows.is_set():
            self.has_rows.set()
        if self._rows_count >= self._batch_rows and not self.is_batch_full.is_set():
            self.is_batch_full.set()

    def _evict(self, file: SpoolFile) -> None:
        """The file's rows are read back from it when it is their turn, those that were shipped already with them."""
        moments = [file.rows[0].ended_at_us] if file.rows else []
        if file.unseen:
            moments.append(file.unseen.oldest_us)
        self._rows_count -= len(file.rows)
        file.evicted_us = min(moments)
        file.rows.clear()
        file.unseen.clear()
        file.is_evicted = True

    async def _ship_batch(self, file: SpoolFile) -> None:
        batch = list(islice(file.rows, self._batch_rows))
        witness = await self._delivery.deliver(batch)
        if file.is_evicted:
            return
        for _ in batch:
            file.rows.popleft()
        self._rows_count -= len(batch)
        if self._replication is not None:
            self._replication.note(file.unseen, witness, batch[0].ended_at_us)

    async def _ship_evicted(self, file: SpoolFile) -> None:
        """Reads the rows back from a file that is closed."""
        leftover = Leftover([file.path], again=file.is_damaged)
        await ship(leftover.finished(), self._delivery, batch_rows=self._batch_rows)
        file.is_evicted = False
        if leftover.damaged and not file.is_damaged:
            file.is_damaged = True
            self._counts.damaged_files += 1
        if self._replication is not None:
            self._replication.note(file.unseen, None, file.evicted_us)

    async def _ship_unspooled(self) -> None:
        while self._unspooled:
            record = self._unspooled[0]
            await self._delivery.deliver([record])
            self._unspooled.popleft()
            if self._replication is None:
                self._spool.forget(record.id)
            else:
                self._held.add(record, now_s=self._replication.now_s)

    async def _confirm_held(self, replication: Replication) -> None:
        seen, overdue = await self._held.sorted_out(replication)
        for record in seen:
            self._spool.forget(record.id)
        self._unspooled.extend(overdue)
        if overdue:
            self._announce()

    async def _is_seen(self, file: SpoolFile, replication: Replication) -> bool:
        if file.is_evicted:
            return False
        if file.unseen.must_be_read and file is self._spool.current:
            self._spool.rotate()
        is_readable = not file.rows and file is not self._spool.current
        read = Leftover([file.path], again=True).finished if is_readable else None
        standing = await replication.standing(file.unseen, read)
        if standing is Standing.LOST and not file.is_evicted:
            log.warning("rows of usage spool file %s are gone with the primary: shipped again", file.path)
            self._evict(file)
            self._announce()
        return standing is Standing.SEEN

    async def _drop_done(self) -> None:
        while self._spool.is_open and not (file := self._spool.files[0]).is_needed and file is not self._spool.current:
            await self._drop(file)

    async def _drop(self, file: SpoolFile) -> None:
        """What is still open was carried into a later file, which must be on disk before this one goes."""
        await self._sync.reach(self._spool.seq)
        self._spool.drop(file)
        if file.is_damaged:
            await run_to_end(folders.set_aside, file.path, self._spool.root)
        else:
            await run_to_end(file.path.unlink)


def _is_unseen(file: SpoolFile) -> bool:
    return bool(file.unseen)
