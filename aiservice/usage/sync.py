"""Makes a spool durable: fdatasync in a thread, 50 ms after the first record that needs it, or when one waits."""

import asyncio
import logging
import os

from aiservice.core.errors import StoreUnavailable
from aiservice.usage import folders
from aiservice.usage.model import LedgerCounts
from aiservice.usage.spool import Spool, Unsynced
from aiservice.usage.threads import run_to_end

log = logging.getLogger(__name__)

SYNC_INTERVAL_S = 0.05


class SpoolSync:
    """Syncs one spool. Records that were appended while a sync runs share the next one."""

    def __init__(self, spool: Spool, counts: LedgerCounts) -> None:
        self._spool = spool
        self._counts = counts
        self._lock = asyncio.Lock()
        self._synced_seq = 0

    @property
    def is_dirty(self) -> bool:
        return self._synced_seq < self._spool.seq

    async def reach(self, seq: int) -> None:
        """Returns when every record up to `seq` is on disk; raises `StoreUnavailable` when the disk fails.

        What a failed sync left behind may look clean to the kernel, so the spool goes on in a new file.
        """
        async with self._lock:
            if self._synced_seq >= seq:
                return
            unsynced = self._spool.unsynced()
            try:
                await run_to_end(_sync, unsynced)
            except OSError as error:
                self._counts.sync_failures += 1
                log.error("the usage spool cannot be synced: %s", error.strerror)  # noqa: TRY400 - the cause says it all
                self._spool.rotate()
                raise StoreUnavailable(detail=f"fdatasync: {error.strerror}") from error
            self._synced_seq = unsynced.seq


def _sync(unsynced: Unsynced) -> None:
    try:
        for descriptor in (*unsynced.retired, unsynced.descriptor):
            os.fdatasync(descriptor)
        if unsynced.folder is not None:
            folders.sync_folder(unsynced.folder)
    finally:
        for descriptor in unsynced.retired:
            os.close(descriptor)
