"""What the cache keeps and what a caller may ask of it."""

from dataclasses import dataclass

from aiservice.core.types import Completion


@dataclass(frozen=True, slots=True)
class CacheKey:
    """The SHA-256 of a request (hex) and the namespace it is cleared by."""

    digest: str
    tenant_id: str
    model: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A kept answer. Times are microseconds since the epoch."""

    completion: Completion
    created_at_us: int
    expires_at_us: int
    hit_count: int = 0


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
