"""What the cache keeps and what a caller may ask of it."""

from dataclasses import dataclass

import msgspec

from aiservice.core.types import Completion


class CacheKey(msgspec.Struct, frozen=True, gc=False):
    """The SHA-256 of a request (hex) and the namespace it is cleared by."""

    digest: str
    tenant_id: str
    model: str


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A kept answer. Times are microseconds since the epoch."""

    completion: Completion
    created_at_us: int
    expires_at_us: int
    hit_count: int = 0


# Single flight: who makes an answer holds a lease that its followers in other workers wait for. It lapses LEASE_S after
# it was last renewed, so that a dead leader is replaced; a follower counts as waiting for WANTED_S after it last asked.
LEASE_S = 4
RENEW_EVERY_S = 1.0
WANTED_S = 2


class Claim(msgspec.Struct, frozen=True, gc=False):
    """What a request that found no entry is told: to make the answer, to wait for it, or that it is there by now.

    `is_leader` means that the lease is its own; with `entry` neither leader nor follower is needed.
    """

    is_leader: bool
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """What the caller's Cache-Control says. `max_age_s` None means any age."""

    may_read: bool = True
    may_write: bool = True
    only_if_cached: bool = False
    max_age_s: int | None = None


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Entries, their bytes, and look-ups since the cache was made."""

    entries: int
    bytes: int
    hits: int
    misses: int

    @property
    def hit_rate(self) -> float:
        """Hits of all look-ups; 0 before the first."""
        return self.hits / max(1, self.hits + self.misses)


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """What an operator sees of an entry, without its answer. `bytes` is what it counts towards the bound of all."""

    digest: str
    tenant_id: str
    model: str
    bytes: int
    created_at_us: int
    expires_at_us: int
    hit_count: int

    @property
    def hit_rate(self) -> float:
        """Its hits of all its look-ups: the miss that made it is the one that was none."""
        return self.hit_count / (self.hit_count + 1)
