"""Look-ups that were counted in this process and are not yet written to the store."""

from dataclasses import dataclass


@dataclass(slots=True)
class HitCount:
    """Hits of one entry and when the last one was."""

    count: int
    last_used_us: int


class Tally:
    """Counts of each entry and of all together; its length is the number of look-ups."""

    __slots__ = ("hits", "hits_total", "misses")

    def __init__(self) -> None:
        self.hits: dict[str, HitCount] = {}
        self.hits_total = 0
        self.misses = 0

    def __len__(self) -> int:
        return self.hits_total + self.misses

    def hit(self, digest: str, now_us: int) -> int:
        """Counts a hit; says how many of this entry are not yet written."""
        self.hits_total += 1
        hit = self.hits.get(digest)
        if hit is None:
            self.hits[digest] = HitCount(1, now_us)
            return 1
        hit.count += 1
        hit.last_used_us = now_us
        return hit.count

    def forget(self, digest: str) -> None:
        """Its entry was replaced: the new one has no hits. What all have together stays."""
        self.hits.pop(digest, None)
