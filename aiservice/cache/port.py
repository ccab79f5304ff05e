"""What a response cache does."""

from typing import Protocol

from aiservice.cache.model import CacheKey, CacheStats, Entry
from aiservice.core.types import Completion


class Cache(Protocol):
    """Answers by key. To a request a store that is down is a miss and a counted warning, never an error."""

    failures: int
    """How often the store could not be used since this process started."""

    async def get(self, key: CacheKey, *, max_age_s: int | None = None) -> Entry | None:
        """The entry if it is there, untampered, not expired and not older than `max_age_s`; counts hit or miss."""
        ...

    async def put(self, key: CacheKey, completion: Completion) -> None:
        """Keeps an answer for the TTL +/- 10 %; one above the entry bound is not kept."""
        ...

    async def clear(self, *, tenant_id: str | None = None, model: str | None = None) -> int:
        """Drops the entries of a tenant, of a model, of both, or all; says how many were live.

        An operator must know that it did not work: raises `StoreUnavailable`.
        """
        ...

    async def stats(self) -> CacheStats:
        """Live entries and the look-ups of all workers; raises `StoreUnavailable`."""
        ...

    async def aclose(self) -> None: ...
