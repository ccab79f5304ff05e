"""Looks at a worker's spool without touching it: what waits there, and whether anything is missing or damaged."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from aiservice.usage import folders
from aiservice.usage.frames import TORN, Entry, SpoolReader
from aiservice.usage.model import UsageRecord, UsageStart

_READ_TRIES = 3
_READ_PAUSE_S = 0.02


class Inspection:
    """One folder of a worker, which may live and go on writing, or shipping and deleting its oldest files.

    After `ended_ids` is read to its end, `open_ids` are the requests that have started and not ended, and `faults` says
    where the sequence has a gap and which records are damaged. `pause` is `time.sleep` or a double of it.
    """

    def __init__(self, folder: Path, pause: Callable[[float], object] = time.sleep) -> None:
        self.worker_id = folder.name
        self.is_alive = folders.is_claimed(folder)
        self.file_count = 0
        self.open_ids: set[str] = set()
        self.faults: list[str] = []
        self._folder = folder
        self._pause = pause
        self._next_seq: int | None = None

    def ended_ids(self) -> Iterator[str]:
        """The ids of all requests that have ended."""
        for path in folders.spool_files(self._folder):
            try:
                entries = self._read(path)
            except FileNotFoundError:
                # Shipped and deleted meanwhile, like all files before it.
                self._next_seq = None
                continue
            self.file_count += 1
            for entry in entries:
                if isinstance(entry, UsageRecord):
                    self.open_ids.discard(entry.id)
                    yield entry.id
                elif isinstance(entry, UsageStart):
                    self.open_ids.add(entry.id)

    def _read(self, path: Path) -> list[Entry]:
        """A file's entries. What a living worker is just writing may look damaged, so that is read again."""
        for _ in range(_READ_TRIES if self.is_alive else 1):
            reader = SpoolReader(path)
            entries = list(reader)
            if reader.damage in (None, TORN):
                break
            self._pause(_READ_PAUSE_S)
        self._check(reader)
        return entries

    def _check(self, reader: SpoolReader) -> None:
        if reader.header is not None:
            if self._next_seq not in (None, reader.header.first_seq):
                self.faults.append(f"{reader.path.name} begins with {reader.header.first_seq}, not {self._next_seq}")
            self._next_seq = reader.next_seq
        if reader.damage not in (None, TORN):
            self.faults.append(f"{reader.path.name} is damaged ({reader.damage})")
            self._next_seq = None
