"""The ledger: what the corridor tells of each request, and the loops that bring it to the database."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from aiservice.core.errors import FieldInvalid, SpoolFull, StoreUnavailable
from aiservice.core.ids import is_uuid
from aiservice.core.settings import UsageSettings
from aiservice.usage import cleaning, folders
from aiservice.usage.delivery import Delivery
from aiservice.usage.model import (
    GroupBy,
    LedgerCounts,
    SpoolHealth,
    UsageGroup,
    UsageMark,
    UsageRecord,
    UsageStart,
    UsageTotals,
)
from aiservice.usage.port import UsageStore
from aiservice.usage.recovery import Adopter
from aiservice.usage.replication import Replication
from aiservice.usage.shipper import Shipper
from aiservice.usage.spool import Spool
from aiservice.usage.sync import SYNC_INTERVAL_S, SpoolSync
from aiservice.usage.threads import run_to_end

log = logging.getLogger(__name__)

FREE_BYTES_MIN = 256 * 1_048_576
SCAN_INTERVAL_S = 1.0
CONFIRM_INTERVAL_S = 0.25
FLUSH_TIMEOUT_S = 10.0
# So far behind, a replica is worth a look: what it lacks stays in the spool.
REPLICA_LAG_S_MAX = 60
_BACKOFF_S_MIN = 0.2
_BACKOFF_S_MAX = 5.0


class Ledger:
    """One per worker process, made after the fork, over a spool of its own.

    `start`, `progress` and `end` are called from the event loop's thread and never wait for the database.
    """

    def __init__(self, store: UsageStore, spool: Spool, settings: UsageSettings) -> None:
        self.counts = LedgerCounts()
        self.is_durable = settings.is_durable
        self._store = store
        self._spool = spool
        self._settings = settings
        self._sync = SpoolSync(spool, self.counts)
        delivery = Delivery(store, self.counts)
        replication = Replication(store, spool.clock) if store.has_replica else None
        self._shipper = Shipper(
            spool, self._sync, delivery, settings=settings, counts=self.counts, replication=replication
        )
        self._adopter = Adopter(
            spool.root, delivery, self.counts, batch_rows=settings.batch_rows, replication=replication
        )
        self._dirty = asyncio.Event()
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._stopped.set()
        self._loops: list[asyncio.Task[None]] = []
        self._was_degraded = False
        self._backlog_bytes = 0
        self._free_bytes = folders.free_bytes(spool.root)

    @property
    def is_full(self) -> bool:
        """Whether new requests are refused because they could not be recorded."""
        return self._spool.is_full

    @property
    def health(self) -> SpoolHealth:
        """How the spool stands; sizes are at most a second old."""
        backlog, free, is_full = self._backlog_bytes, self._free_bytes, self._spool.is_full
        lag_s = max(0, self._spool.until_us(self._shipper.oldest_us) - self._safe_until_us()) / 1_000_000
        is_tight = free < FREE_BYTES_MIN or backlog * 2 > self._settings.spool_bytes_max
        return SpoolHealth(is_full, is_full or is_tight or lag_s > REPLICA_LAG_S_MAX, backlog, free, lag_s)

    def start(self, start: UsageStart) -> None:
        """Call before the engine. When it returns, the request becomes a row whatever happens to this process.

        Raises `SpoolFull` when the request could not be recorded, `ShuttingDown` after `aclose`.
        """
        try:
            self._spool.append_start(start)
        except (UnicodeEncodeError, OverflowError):
            self._spool.append_start(cleaning.storable_start(start))
        if not self._dirty.is_set():
            self._dirty.set()

    def progress(self, id: str, completion_tokens: int, elapsed_ms: int = 0) -> None:
        """How many tokens a running stream has given, and for how long it has run; at most once a second per stream."""
        self._spool.append_mark(UsageMark(id, completion_tokens, elapsed_ms))

    def end(self, record: UsageRecord) -> None:
        """Call before the last byte of the answer. Without a start (cache hit, refusal) it is start and end in one.

        Raises `SpoolFull` and `ShuttingDown` as `start` does; never `SpoolFull` for a request that has started.
        """
        record = cleaning.clean(record)
        start = self._spool.opened(record.id)
        if start is not None and start.created_at_us != record.created_at_us:
            # A row is unique by id and time: with another time it would be a second one beside `worker_lost`.
            record = cleaning.moved(record, start.created_at_us)
        try:
            self._append_end(record)
        except SpoolFull:
            if start is None:
                raise
            log.error("usage of request %s is in memory only: the disk and the reserve are full", record.id)  # noqa: TRY400
            self._shipper.add_unspooled(record)
        if not self._dirty.is_set():
            self._dirty.set()

    async def synced(self) -> None:
        """Returns when all that was recorded so far is on disk: for `is_durable`, before an answer ends.

        Raises `StoreUnavailable` when the disk fails.
        """
        await self._sync.reach(self._spool.seq)

    async def run(self) -> None:
        """Syncs, ships, watches disk and replica and adopts what dead workers left, until `aclose`."""
        self._stopped.clear()
        try:
            async with asyncio.TaskGroup() as group:
                self._loops = [
                    group.create_task(self._repeat(self._sync_once)),
                    group.create_task(self._repeat(self._ship_once)),
                    group.create_task(self._repeat(self._watch, every_s=SCAN_INTERVAL_S)),
                ]
                if self._store.has_replica:
                    # Apart from the shipping, which a replica that is away or slow must not hold up.
                    confirming = self._repeat(self._shipper.confirm, every_s=CONFIRM_INTERVAL_S)
                    self._loops.append(group.create_task(confirming))
                adoption = group.create_task(self._repeat(self._adopter.adopt_all, every_s=SCAN_INTERVAL_S))
                await self._stopping.wait()
                # It may have gigabytes before it; what it leaves half done is done again by another worker.
                adoption.cancel()
        finally:
            self._adopter.close()
            self._stopped.set()

    async def aclose(self, *, timeout_s: float = FLUSH_TIMEOUT_S) -> None:
        """Ships everything, syncs and removes the folder; what the store does not take in time waits for adoption.

        So does what its replica, where there is one, has not in time.
        """
        self._stopping.set()
        for event in (self._dirty, self._shipper.has_rows, self._shipper.is_batch_full):
            event.set()
        try:
            async with asyncio.timeout(timeout_s):
                await self._stopped.wait()
                await self._shipper.finish()
        except (StoreUnavailable, TimeoutError) as error:
            log.warning("the usage spool could not be flushed (%s); the next worker adopts it", type(error).__name__)
        for loop in self._loops:
            loop.cancel()
        await self._stopped.wait()
        try:
            await self._sync.reach(self._spool.seq)
        except StoreUnavailable as error:
            log.error("the usage spool is closed without a last sync: %s", error)  # noqa: TRY400
        self._spool.close()

    async def page(
        self, *, tenant_id: str, api_key_id: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Sequence[UsageRecord]:
        """A tenant's rows, or one key's, newest first; `cursor` is the id of the last row seen. `limit` 1..1000."""
        if cursor is not None and not is_uuid(cursor):
            raise FieldInvalid("The cursor is not one that this route gave.", param="cursor")
        return await self._store.page(tenant_id=tenant_id, api_key_id=api_key_id, cursor=cursor, limit=limit)

    async def series(
        self, *, tenant_id: str, from_us: int, to_us: int, group_by: GroupBy, api_key_id: str | None = None
    ) -> Sequence[UsageGroup]:
        """Sums per group over from <= created_at < to."""
        return await self._store.series(
            tenant_id=tenant_id, api_key_id=api_key_id, from_us=from_us, to_us=to_us, group_by=group_by
        )

    async def as_of_us(self) -> int:
        """A moment: the store has every request of this machine whose answer ended before it. Ask it before the sums.

        With a replica it is there too, so that this holds whoever answers and whoever is the primary then. The rows of
        a worker that died hold it back until they are adopted. Other workers say theirs every second.
        """
        own_us = self._safe_until_us()
        others_us = await run_to_end(folders.oldest_moment_us, self._spool.root, but=self._spool.folder)
        return own_us if others_us is None else min(own_us, others_us)

    async def totals(self) -> UsageTotals:
        """Sums over all rows of all tenants."""
        return await self._store.totals()

    def _safe_until_us(self) -> int:
        """What ended before it is in the store and, where there is one, on its replica."""
        return self._spool.until_us(self._shipper.oldest_unseen_us)

    def _append_end(self, record: UsageRecord) -> None:
        try:
            file = self._spool.append_end(record)
        except (UnicodeEncodeError, OverflowError):
            record = cleaning.storable_record(record)
            file = self._spool.append_end(record)
        self._shipper.add(record, file)

    async def _sync_once(self) -> None:
        if not self._sync.is_dirty:
            await self._dirty.wait()
        await self._pause(SYNC_INTERVAL_S)
        self._dirty.clear()
        await self._sync.reach(self._spool.seq)

    async def _ship_once(self) -> None:
        """Ships whole batches as they fill, and every interval whatever there is."""
        await self._shipper.has_rows.wait()
        interval_s = self._settings.batch_interval_ms / 1000
        is_batch_full = await _fires_within(self._shipper.is_batch_full, interval_s)
        await self._shipper.ship(is_all=not is_batch_full)
        self._spool.publish(self._safe_until_us())

    async def _watch(self) -> None:
        """Measures disk and backlog, puts the reserve back when there is room, and says when it gets tight."""
        root = self._spool.root
        self._backlog_bytes = await run_to_end(folders.backlog_bytes, root)
        self._free_bytes = folders.free_bytes(root)
        if self._spool.is_open or self._spool.open():
            await self._tend_spool()
        health = self.health
        if health.is_degraded != self._was_degraded:
            self._was_degraded = health.is_degraded
            log.warning("the usage spool is %s: %s", "degraded" if health.is_degraded else "in order again", health)

    async def _tend_spool(self) -> None:
        self._spool.publish(self._safe_until_us())
        self._spool.set_over_cap(self._backlog_bytes > self._settings.spool_bytes_max)
        if not self._spool.has_reserve:
            self._spool.set_reserve(await run_to_end(self._spool.allocate_reserve))
        self._spool.renew()

    async def _repeat(self, work: Callable[[], Awaitable[None]], *, every_s: float = 0) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                await work()
                failures = 0
            except StoreUnavailable as error:
                failures += 1
                log.warning("usage waits for the store: %s", error)
            except Exception:
                # Whatever it is, a loop that ends would stop the metering unseen: it is logged and tried again.
                failures += 1
                log.exception("a loop of the ledger failed")
            await self._pause(min(_BACKOFF_S_MAX, _BACKOFF_S_MIN * 2 ** min(failures - 1, 10)) if failures else every_s)

    async def _pause(self, seconds: float) -> None:
        if seconds:
            await _fires_within(self._stopping, seconds)


async def _fires_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
