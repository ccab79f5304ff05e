"""What dead workers left behind becomes rows: their ends as they are, their starts without an end as `worker_lost`."""

import asyncio
import itertools
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aiservice.usage import folders
from aiservice.usage.delivery import Delivery
from aiservice.usage.frames import TORN, SpoolReader
from aiservice.usage.model import LedgerCounts, UsageMark, UsageRecord, UsageStart
from aiservice.usage.replication import Replication, Standing, Unseen
from aiservice.usage.threads import run_to_end

log = logging.getLogger(__name__)

WORKER_LOST = "worker_lost"


def lost(start: UsageStart, mark: UsageMark | None) -> UsageRecord:
    """The row of a request that died with its worker: tokens, their cost and its time as far as the last mark tells."""
    completion_tokens, elapsed_ms = (mark.completion_tokens, mark.elapsed_ms) if mark else (0, 0)
    return UsageRecord(
        id=start.id,
        api_key_id=start.api_key_id,
        tenant_id=start.tenant_id,
        user_id=start.user_id,
        endpoint=start.endpoint,
        model_used=start.model,
        prompt_tokens=start.prompt_tokens,
        completion_tokens=completion_tokens,
        tokens_saved=0,
        response_cached=False,
        response_time_ms=elapsed_ms,
        status_code=500,
        error_message=WORKER_LOST,
        created_at_us=start.created_at_us,
        cost_nano=start.prompt_tokens * start.prompt_price_nano + completion_tokens * start.completion_price_nano,
    )


class Leftover:
    """Reads spool files in order. `damaged` are those with bad records, `lost_count` the starts that had no end.

    What is wrong with them is logged, but not when they are read `again`.
    """

    def __init__(self, paths: list[Path], *, again: bool = False) -> None:
        self._paths = paths
        self._level = logging.DEBUG if again else logging.ERROR
        self._open: dict[str, UsageStart] = {}
        self._marks: dict[str, UsageMark] = {}
        self._next_seq: int | None = None
        self.damaged: list[Path] = []
        self.lost_count = 0

    def finished(self) -> Iterator[UsageRecord]:
        """The rows of all ends."""
        for path in self._paths:
            reader = SpoolReader(path)
            for entry in reader:
                if isinstance(entry, UsageRecord):
                    self._open.pop(entry.id, None)
                    yield entry
                elif isinstance(entry, UsageStart):
                    self._open[entry.id] = entry
                else:
                    self._marks[entry.id] = entry
            self._check(reader)

    def rows(self) -> Iterator[UsageRecord]:
        """The rows of all ends, then those of the requests that never ended."""
        yield from self.finished()
        for start in self._open.values():
            self.lost_count += 1
            yield lost(start, self._marks.get(start.id))

    def _check(self, reader: SpoolReader) -> None:
        if reader.damage not in (None, TORN):
            self.damaged.append(reader.path)
            log.log(self._level, "usage spool file %s is damaged (%s) and was cut", reader.path, reader.damage)
        if reader.header is None:
            return
        if self._next_seq not in (None, reader.header.first_seq):
            log.log(self._level, "usage spool: sequence %s is followed by file %s", self._next_seq, reader.path)
        self._next_seq = reader.next_seq


@dataclass(slots=True)
class _Adopted:
    """A folder whose rows are shipped and not yet seen on the replica; its lock is held until they are."""

    folder: Path
    lock: int
    paths: list[Path]
    unseen: Unseen = field(default_factory=Unseen)


class Adopter:
    """Takes over the folders of dead workers. Several may try at once: the folder's lock lets one in.

    With a replica a folder goes when its rows are seen there; `close` lets go of those that still wait for it.
    """

    def __init__(
        self,
        root: Path,
        delivery: Delivery,
        counts: LedgerCounts,
        *,
        batch_rows: int,
        replication: Replication | None = None,
    ) -> None:
        self._root = root
        self._delivery = delivery
        self._counts = counts
        self._batch_rows = batch_rows
        self._replication = replication
        self._waiting: dict[Path, _Adopted] = {}

    async def adopt_all(self) -> None:
        """Ships and removes every folder whose worker is dead; raises `StoreUnavailable` and leaves the rest."""
        for folder in await asyncio.to_thread(lambda: list(folders.worker_folders(self._root))):
            try:
                lock = folders.claim(folder)
            except OSError as error:
                log.warning("the usage spool of %s cannot be adopted now: %s", folder.name, error.strerror)
                continue
            if lock is not None:
                await self._adopt(folder, lock)
        if self._replication is not None:
            for adopted in list(self._waiting.values()):
                await self._look_after(adopted, self._replication)

    def close(self) -> None:
        """Lets go of what waits for the replica: somebody else ships it again."""
        for adopted in self._waiting.values():
            os.close(adopted.lock)
        self._waiting.clear()

    async def _adopt(self, folder: Path, lock: int) -> None:
        """Nothing is deleted before everything is committed: an adopter that dies is followed by another."""
        is_held = False
        try:
            paths = folders.spool_files(folder)
            if not paths:
                # Its worker has only just made it and will make another, or it is being removed by somebody else.
                folders.remove(folder)
                return
            await self._ship(folder, paths)
            if self._replication is not None:
                is_held = True
                self._hold(_Adopted(folder, lock, paths), self._replication)
        finally:
            if not is_held:
                os.close(lock)

    async def _ship(self, folder: Path, paths: list[Path]) -> None:
        leftover = Leftover(paths)
        await ship(leftover.rows(), self._delivery, batch_rows=self._batch_rows)
        self._counts.adopted_folders += 1
        self._counts.lost_requests += leftover.lost_count
        self._counts.damaged_files += len(leftover.damaged)
        if self._replication is None:
            await run_to_end(_discard, folder, leftover.damaged)
        log.warning("usage of dead worker %s adopted; %d requests were lost with it", folder.name, leftover.lost_count)

    def _hold(self, adopted: _Adopted, replication: Replication) -> None:
        replication.note(adopted.unseen, None, 0)
        self._waiting[adopted.folder] = adopted

    async def _look_after(self, adopted: _Adopted, replication: Replication) -> None:
        leftover = Leftover(adopted.paths, again=True)
        standing = await replication.standing(adopted.unseen, leftover.rows)
        if standing is Standing.LOST:
            log.warning("usage of dead worker %s is gone with the primary: shipped again", adopted.folder.name)
            rows = Leftover(adopted.paths, again=True).rows()
            await ship(rows, self._delivery, batch_rows=self._batch_rows)
            adopted.unseen.clear()
            replication.note(adopted.unseen, None, 0)
        elif standing is Standing.SEEN:
            await run_to_end(_discard, adopted.folder, leftover.damaged)
            os.close(self._waiting.pop(adopted.folder).lock)


async def ship(rows: Iterator[UsageRecord], delivery: Delivery, *, batch_rows: int) -> None:
    """Delivers rows as they are read, file by file in a thread, so that a long backlog never fills the memory."""
    while batch := await run_to_end(lambda: list(itertools.islice(rows, batch_rows))):
        await delivery.deliver(batch)


def _discard(folder: Path, damaged: list[Path]) -> None:
    for path in folders.spool_files(folder):
        if path in damaged:
            folders.set_aside(path, folder.parent)
        else:
            path.unlink(missing_ok=True)
    folders.remove(folder)
