"""What a worker remembers of the store: entries as they were read, for as long as their stamps hold."""

from collections import OrderedDict
from dataclasses import dataclass

from aiservice.cache.model import Entry
from aiservice.cache.stamps import Mark, Stamps
from aiservice.core.types import Completion


@dataclass(slots=True)
class Recent:
    """An entry, its number in the store, and the mark it was read under. `hit_count` is what this worker knows of."""

    completion: Completion
    created_at_us: int
    expires_at_us: int
    hit_count: int
    serial: int
    mark: Mark
    bytes: int


class RecentEntries:
    """Entries by digest, in all at most `bytes_max`; the least recently used leave first."""

    def __init__(self, stamps: Stamps, bytes_max: int) -> None:
        self._stamps = stamps
        self._bytes_max = bytes_max
        self._bytes = 0
        self._entries: OrderedDict[str, Recent] = OrderedDict()

    def find(self, digest: str, max_age_s: int | None, now_us: int) -> Recent | None:
        """The entry if it is what the store has, not expired and young enough; it then has one more hit."""
        recent = self._entries.get(digest)
        if recent is None or not self._stamps.holds(recent.mark) or recent.expires_at_us <= now_us:
            return None
        if max_age_s is not None and now_us - recent.created_at_us > max_age_s * 1_000_000:
            return None
        recent.hit_count += 1
        self._entries.move_to_end(digest)
        return recent

    def add(self, digest: str, entry: Entry, serial: int, *, mark: Mark | None, size: int) -> None:
        """Without a mark nothing is remembered: the entry may be changing at this moment."""
        if mark is None:
            return
        self._forget(digest)
        self._entries[digest] = Recent(
            entry.completion, entry.created_at_us, entry.expires_at_us, entry.hit_count, serial, mark, size
        )
        self._bytes += size
        while self._bytes > self._bytes_max:
            self._forget(next(iter(self._entries)))

    def count(self, digest: str, serial: int | None, hits: int) -> None:
        """Counts hits that were not found here."""
        recent = self._entries.get(digest)
        if recent is not None and recent.serial == serial:
            recent.hit_count += hits

    def clear(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def _forget(self, digest: str) -> None:
        recent = self._entries.pop(digest, None)
        if recent is not None:
            self._bytes -= recent.bytes
