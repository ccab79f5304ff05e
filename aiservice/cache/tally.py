"""Look-ups that were counted in this process and are not yet written to the store."""

from dataclasses import dataclass


@dataclass(slots=True)
class HitCount:
    """Hits of one entry and when the last one was."""

    count: int
    last_used_us: int


class Tally:
    """Counts of each entry, by its serial, and of all together. `misses` sinks below 0 where one became a hit."""

    __slots__ = ("hits", "hits_total", "misses")

    def __init__(self) -> None:
        self.hits: dict[int, HitCount] = {}
        self.hits_total = 0
        self.misses = 0

    @property
    def is_dirty(self) -> bool:
        """Whether there is anything to write."""
        return self.hits_total != 0 or self.misses != 0

    def hit(self, serial: int | None, now_us: int, *, count: int = 1) -> int:
        """Counts hits of an entry, or of one that is gone; says how many of it are not yet written."""
        self.hits_total += count
        if serial is None:
            return count
        hit = self.hits.get(serial)
        if hit is None:
            self.hits[serial] = HitCount(count, now_us)
            return count
        hit.count += count
        hit.last_used_us = now_us
        return hit.count
