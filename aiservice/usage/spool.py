"""One worker's append-only spool: a record is in the page cache when `append_*` returns, so kill -9 loses nothing."""

import errno
import logging
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiservice.core.clock import Clock
from aiservice.core.errors import ShuttingDown, SpoolFull
from aiservice.core.ids import uuid7
from aiservice.usage import folders, frames
from aiservice.usage.model import UsageMark, UsageRecord, UsageStart
from aiservice.usage.replication import Unseen

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5
_CLAIM_TRIES = 100
_RENEW_BYTES = 1_048_576
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})

Write = Callable[[int, bytes, int], int]


@dataclass(frozen=True, slots=True)
class SpoolShape:
    """Sizes in bytes. `reserve_bytes` is a worker's share of what running requests may still write on a full disk."""

    file_bytes_max: int = 16 * 1_048_576
    reserve_bytes: int = 16 * 1_048_576


class SpoolFile:
    """A file of the spool. `rows` are its finished records that are not committed; without them when `is_evicted`.

    `evicted_us` is when the oldest record of an evicted file ended. `unseen` is what was committed and may still be
    lost with the primary.
    """

    __slots__ = (
        "descriptor",
        "end",
        "evicted_us",
        "is_damaged",
        "is_evicted",
        "path",
        "rotate_at",
        "rows",
        "salt",
        "unseen",
    )

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.salt = 0
        self.end = 0
        self.rotate_at = 0
        self.rows: deque[UsageRecord] = deque()
        self.is_evicted = False
        self.evicted_us = 0
        self.is_damaged = False
        self.unseen = Unseen()

    @property
    def is_unshipped(self) -> bool:
        return self.is_evicted or bool(self.rows)

    @property
    def is_needed(self) -> bool:
        return self.is_unshipped or bool(self.unseen)


@dataclass(frozen=True, slots=True)
class Unsynced:
    """What one sync has to make durable; `seq` is the last sequence it covers."""

    seq: int
    descriptor: int
    retired: tuple[int, ...]
    folder: Path | None


class Spool:
    """A folder of its own below `root`, locked for as long as this object is open. Used from one thread only.

    Made after the fork. On a disk that is full from the start it is not open yet and refuses everything: `open` it
    again. Raises `SpoolFull` when its folder cannot be made for another reason. `write` is `os.pwrite` or a double.
    """

    def __init__(self, root: Path, *, clock: Clock, shape: SpoolShape | None = None, write: Write = os.pwrite) -> None:
        self.root = root
        self.clock = clock
        self.folder = root
        self.worker_id = ""
        self.seq = 0
        self.files: deque[SpoolFile] = deque()
        self.is_full = True
        self.is_open = False
        self.is_closed = False
        self._shape = shape or SpoolShape()
        self._write = write
        self._is_over_cap = False
        self._number = 0
        self._open: dict[str, UsageStart] = {}
        self._marks: dict[str, UsageMark] = {}
        self._retired: list[int] = []
        self._is_folder_synced = False
        self._reserve: int | None = None
        self._lock: int | None = None
        if not self.open():
            log.error("the usage spool cannot begin: the disk of %s is full", root)

    def open(self) -> bool:
        """Makes its folder and first file where they are missing; False while the disk has no room for them."""
        try:
            if self._lock is None:
                self.worker_id, self._lock = _claim_new(self.root, self.clock)
                self.folder = self.root / self.worker_id
            self._current = self._succeed(self._create())
        except OSError as error:
            if error.errno in _NO_ROOM:
                return False
            raise SpoolFull(detail=f"{error.strerror}: {self.root}", retry_after_s=RETRY_AFTER_S) from error
        self.is_open = True
        self.set_reserve(self.allocate_reserve())
        return True

    @property
    def current(self) -> SpoolFile:
        return self._current

    @property
    def has_reserve(self) -> bool:
        return self._reserve is not None

    @property
    def open_count(self) -> int:
        """Requests that have started and not ended."""
        return len(self._open)

    def opened(self, id: str) -> UsageStart | None:
        return self._open.get(id)

    def append_start(self, start: UsageStart) -> None:
        """Raises `SpoolFull` while a new request could not be recorded to its end, `ShuttingDown` when closed."""
        if self.is_full:
            raise self._refusal()
        self._append(start)
        self._open[start.id] = start
        self._rotate_when_grown()

    def append_mark(self, mark: UsageMark) -> None:
        """Says how far an open request is. On a full disk the mark is kept in memory: the reserve is for ends."""
        if mark.id not in self._open:
            return
        self._marks[mark.id] = mark
        if not self.is_full:
            # A disk that fills up at this moment must not end a running stream: the mark is only an estimate.
            with suppress(SpoolFull):
                self._append(mark)
                self._rotate_when_grown()

    def append_end(self, record: UsageRecord) -> SpoolFile:
        """The file that now holds the record.

        A record without a start is a new request and is refused like one; one with a start raises `SpoolFull` only
        when the reserve is used up too, and stays open then.
        """
        if self.is_closed or (self.is_full and record.id not in self._open):
            raise self._refusal()
        file = self._append(record)
        self.forget(record.id)
        self._rotate_when_grown()
        return file

    def forget(self, id: str) -> None:
        """The request needs no start any more: its end is in the spool or its row in the database."""
        self._open.pop(id, None)
        self._marks.pop(id, None)

    def rotate(self) -> bool:
        """Goes on in a new file that begins with what is still open; False, and no change, when the disk is full."""
        try:
            self._current = self._succeed(self._create())
        except OSError as error:
            self._current.rotate_at = self._current.end + self._shape.file_bytes_max
            log.warning("the usage spool cannot begin a new file: %s", error.strerror)
            return False
        return True

    def renew(self) -> None:
        """Begins a new file early when the only one has grown, so that a dead worker leaves little behind."""
        written = self._shape.file_bytes_max - (self._current.rotate_at - self._current.end)
        if len(self.files) == 1 and written >= _RENEW_BYTES:
            self.rotate()

    def drop(self, file: SpoolFile) -> None:
        """Forgets the oldest file, which nothing needs any more."""
        assert file is self.files[0]
        assert file is not self._current
        self.files.popleft()

    def allocate_reserve(self) -> int | None:
        """The descriptor of a new reserve, or None when the disk has no room for it. May run in a thread."""
        try:
            return folders.allocate(self.folder / folders.RESERVE_NAME, self._shape.reserve_bytes)
        except OSError as error:
            log.warning("the usage spool has no reserve: %s", error.strerror)
            return None

    def set_reserve(self, descriptor: int | None) -> None:
        self._reserve = descriptor
        self._judge()

    def set_over_cap(self, is_over_cap: bool) -> None:
        self._is_over_cap = is_over_cap
        self._judge()

    def until_us(self, oldest_us: int | None) -> int:
        """The moment before which every record that ended is where it should be; `oldest_us`: the oldest that is not.

        That one's time is rounded to the millisecond, so one is taken off.
        """
        return self.clock.now_us() if oldest_us is None else oldest_us - 1_000

    def publish(self, until_us: int) -> None:
        """Lets the other workers know that moment."""
        if self._lock is not None:
            folders.set_moment(self._lock, until_us)

    def unsynced(self) -> Unsynced:
        """What to sync now; the retired descriptors are the caller's to close."""
        retired, self._retired = tuple(self._retired), []
        folder = None if self._is_folder_synced else self.folder
        self._is_folder_synced = True
        return Unsynced(self.seq, self._current.descriptor, retired, folder)

    def close(self) -> None:
        """Lets go of the folder, and removes it when nothing in it is still needed. Sync before."""
        self.is_closed = self.is_full = True
        current = [self._current.descriptor] if self.is_open else []
        for descriptor in (*self._retired, *current, self._reserve):
            if descriptor is not None:
                os.close(descriptor)
        if self._lock is None:
            return
        (self.folder / folders.RESERVE_NAME).unlink(missing_ok=True)
        is_done = not self._open and not any(file.is_needed for file in self.files)
        if is_done:
            for path in folders.spool_files(self.folder):
                path.unlink()
            folders.remove(self.folder)
        os.close(self._lock)

    def _append(self, entry: frames.Entry) -> SpoolFile:
        file, seq = self._current, self.seq + 1
        record = frames.frame(entry, seq, file.salt)
        if not self._is_written(file, record):
            file = self._enter_reserve()
            seq = self.seq + 1
            record = frames.frame(entry, seq, file.salt)
            if not self._is_written(file, record):
                raise self._refusal()
        file.end += len(record)
        self.seq = seq
        return file

    def _rotate_when_grown(self) -> None:
        """Only once `_open` tells of the last record too, for the new file begins with what is open by it."""
        if self._current.end >= self._current.rotate_at:
            self.rotate()

    def _is_written(self, file: SpoolFile, record: bytes) -> bool:
        """A write that fails or falls short leaves `end` alone: the next one goes over it."""
        try:
            return self._write(file.descriptor, record, file.end) == len(record)
        except OSError as error:
            log.warning("a write to the usage spool failed: %s", error.strerror)
            return False

    def _enter_reserve(self) -> SpoolFile:
        """The disk is full: what runs goes on in the blocks that were set aside, and nothing new is taken."""
        descriptor, self._reserve = self._reserve, None
        self._judge()
        if descriptor is None:
            raise self._refusal()
        log.error("the usage spool cannot grow; running requests are recorded in its reserve")
        try:
            path = (self.folder / folders.RESERVE_NAME).rename(self._next_path())
            self._current = self._succeed(SpoolFile(path, descriptor))
        except OSError as error:
            raise self._refusal() from error
        return self._current

    def _create(self) -> SpoolFile:
        path = self._next_path()
        return SpoolFile(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def _next_path(self) -> Path:
        self._number += 1
        return folders.file_path(self.folder, self._number)

    def _succeed(self, file: SpoolFile) -> SpoolFile:
        """Writes header and open requests in one go, and retires the file before; `OSError` leaves all as it was."""
        header = frames.Header(self.worker_id, self._number, self.seq + 1)
        file.salt = header.salt
        carried = self._carried(file.salt)
        head = header.to_bytes() + b"".join(carried)
        try:
            if self._write(file.descriptor, head, 0) != len(head):
                raise OSError(errno.ENOSPC, "a short write")
        except OSError:
            os.close(file.descriptor)
            file.path.unlink()
            raise
        self.seq += len(carried)
        file.end = len(head)
        file.rotate_at = file.end + self._shape.file_bytes_max
        if self.files:
            self._retire(self._current)
        self.files.append(file)
        self._is_folder_synced = False
        return file

    def _retire(self, file: SpoolFile) -> None:
        """Cuts off what was allocated or half written behind the records; shrinking needs no room."""
        try:
            os.ftruncate(file.descriptor, file.end)
        except OSError as error:
            log.warning("a usage spool file keeps its empty tail: %s", error.strerror)
        self._retired.append(file.descriptor)

    def _carried(self, salt: int) -> list[bytes]:
        entries: tuple[frames.Entry, ...] = (*self._open.values(), *self._marks.values())
        return [frames.frame(entry, seq, salt) for seq, entry in enumerate(entries, self.seq + 1)]

    def _judge(self) -> None:
        self.is_full = not self.is_open or self.is_closed or self._is_over_cap or self._reserve is None

    def _refusal(self) -> SpoolFull | ShuttingDown:
        return ShuttingDown() if self.is_closed else SpoolFull(retry_after_s=RETRY_AFTER_S)


def _claim_new(root: Path, clock: Clock) -> tuple[str, int]:
    """A new folder and its lock. Another worker may take the folder for an orphan before it is locked: then again."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for _ in range(_CLAIM_TRIES):
        worker_id = uuid7(clock.now_us())
        folder = root / worker_id
        folder.mkdir(mode=0o700)
        try:
            lock = folders.claim(folder)
        except OSError:
            folder.rmdir()
            raise
        if lock is not None:
            folders.sync_folder(root)
            return worker_id, lock
    raise OSError(errno.EAGAIN, "no spool folder could be locked")
