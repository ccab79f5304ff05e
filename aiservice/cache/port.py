"""What a response cache does, and the index of one whose entries are elsewhere."""

from collections.abc import Sequence
from typing import Protocol

from aiservice.cache.model import CacheKey, CacheStats, Claim, Entry, EntryFacts
from aiservice.core.types import Completion


class Cache(Protocol):
    """Answers by key. To a request a store that is down is a miss and a counted warning, never an error."""

    failures: int
    """How often the store could not be used since this process started."""

    @property
    def era(self) -> int:
        """A number that is another after every clearing, in all workers at once; costs next to nothing."""
        ...

    async def get(self, key: CacheKey, *, max_age_s: int | None = None) -> Entry | None:
        """The entry if it is there, untampered, not expired and not older than `max_age_s`; counts hit or miss."""
        ...

    async def put(self, key: CacheKey, completion: Completion, *, lease_id: str | None = None) -> None:
        """Keeps an answer for the TTL +/- 10 %; one above the entry bound is not kept. Ends the lease either way.

        With a lease it is kept only if that lease still stands: it does not after a clearing of its scope, nor when
        another took it over. Without one (`no-cache`) it replaces what is there, and someone else's lease stays.
        """
        ...

    async def claim(self, key: CacheKey, lease_id: str, *, max_age_s: float | None = None) -> Claim:
        """In one step: the entry if it is there by now, else the lease if nobody holds it, else the duty to wait.

        Who waits asks again every 20 ms, and is known by that to the leader. An entry found here counts as a hit in
        place of the miss that `get` counted. Where the store is down everyone leads.
        """
        ...

    async def renew(self, key: CacheKey, lease_id: str) -> bool:
        """Keeps the lease for another `LEASE_S`; says whether anyone has waited for it within `WANTED_S`."""
        ...

    async def release(self, key: CacheKey, lease_id: str) -> None:
        """Ends the lease without an entry: the next claim leads. Someone else's lease stays.

        That one is then no longer waited for, unless someone else who waits asks within `LAST_CALL_US`.
        """
        ...

    async def joined(self, key: CacheKey, hits: int) -> None:
        """So many requests that missed were answered by the flight of another: misses become hits of the entry."""
        ...

    async def clear(self, *, tenant_id: str | None = None, model: str | None = None) -> int:
        """Drops the entries of a tenant, of a model, of both, or all; says how many were live.

        An operator must know that it did not work: raises `StoreUnavailable`.
        """
        ...

    async def stats(self) -> CacheStats:
        """Live entries and the look-ups of all workers; raises `StoreUnavailable`."""
        ...

    async def entries(self, limit: int) -> list[EntryFacts]:
        """The live entries with the most hits, most first; raises `StoreUnavailable`."""
        ...

    async def aclose(self) -> None: ...


class CacheIndex(Protocol):
    """What an operator asks about entries that are kept in Redis: one row an entry, written in batches by all workers.

    It says what there should be. An entry that Redis evicted is listed until it expires; one whose worker was killed
    before its row was written is listed at its next hit. Every method raises `StoreUnavailable`.
    """

    async def record(self, facts: Sequence[EntryFacts]) -> None:
        """Entries that are new or have new hits, in the order of their digests; `hit_count` is the new hits.

        Of two with one digest the later one counts; they are the same entry if both were made at the same time.
        """
        ...

    async def forget(
        self, *, tenant_id: str | None = None, model: str | None = None, made_until_us: int | None = None
    ) -> int:
        """Drops the rows of a tenant, of a model, of both, or all; says how many were live.

        With `made_until_us` those alone of entries made until then.
        """
        ...

    async def sweep(self, *, rows_max: int) -> int:
        """Drops rows of expired entries, at most so many; says how many."""
        ...

    async def totals(self) -> tuple[int, int]:
        """Live entries and their bytes."""
        ...

    async def most_hit(self, limit: int) -> list[EntryFacts]:
        """The live entries with the most hits, most first."""
        ...
