"""The policy of the cache: what may be read from it and what may be kept in it."""

from aiservice.cache.key import request_key
from aiservice.cache.model import CacheKey, CachePolicy, CacheStats, Claim, Entry, EntryFacts
from aiservice.cache.policy import read_policy
from aiservice.cache.port import Cache
from aiservice.core.settings import CacheSettings
from aiservice.core.types import Asked, Chunk, Completion

# An answer that a filter ended is not what another caller should get.
_FINISHED = ("stop", "length", "tool_calls")


class ResponseCache:
    """Joins key, policy and store. A TTL of 0 switches it off: nothing is read or kept, every call is a bypass."""

    def __init__(self, settings: CacheSettings, cache: Cache) -> None:
        self._is_on = settings.ttl_s > 0
        self._cache = cache

    @property
    def failures(self) -> int:
        """How often the store could not be used since this process started."""
        return self._cache.failures

    @property
    def era(self) -> int:
        """A number that is another after every clearing, in all workers at once."""
        return self._cache.era

    def policy(self, header: str | None) -> CachePolicy:
        """What a request's Cache-Control comes to; raises `InvalidRequest` where it cannot be read.

        `may_read` and `may_write` false is a bypass; only `may_read` false (no-cache) asks for a new answer to keep.
        """
        policy = read_policy(header)
        if self._is_on:
            return policy
        return CachePolicy(may_read=False, may_write=False, only_if_cached=policy.only_if_cached)

    def key(self, asked: Asked, *, tenant_id: str, model: str, model_digest: str) -> CacheKey:
        """The key of a request within a tenant; `model` and its digest as resolved."""
        return request_key(asked, tenant_id=tenant_id, model=model, model_digest=model_digest)

    async def look_up(self, key: CacheKey, policy: CachePolicy) -> Entry | None:
        """The kept answer, or None where there is none, it is too old, or the policy forbids to look."""
        if not (policy.may_read and self._is_on):
            return None
        return await self._cache.get(key, max_age_s=policy.max_age_s)

    async def claim(self, key: CacheKey, lease_id: str, policy: CachePolicy, *, waited_s: float = 0) -> Claim:
        """After a look-up that found nothing: to make the answer, to ask again in 20 ms, or the entry after all.

        What was made within the `waited_s` since the request came is fresh for it, whatever its policy says.
        """
        max_age_s = None if policy.max_age_s is None else max(policy.max_age_s, waited_s)
        return await self._cache.claim(key, lease_id, max_age_s=max_age_s)

    async def renew(self, key: CacheKey, lease_id: str) -> bool:
        """Keeps the lease, each `RENEW_EVERY_S`; says whether another worker waits for the answer."""
        return await self._cache.renew(key, lease_id)

    async def release(self, key: CacheKey, lease_id: str) -> None:
        """Gives the lease up, or the waiting for another's: there will be no answer, or nobody for it."""
        await self._cache.release(key, lease_id)

    async def joined(self, key: CacheKey, hits: int) -> None:
        """So many requests that missed were answered by another's flight; said after the answer was kept."""
        await self._cache.joined(key, hits)

    async def keep(self, key: CacheKey, completion: Completion, lease_id: str | None = None) -> None:
        """Keeps a whole answer and ends its lease. Errors and answers that were cut off never come here.

        Empty ones, and such as a filter ended, are not kept.
        """
        if self._is_on and all(map(_is_worth_keeping, completion.choices)):
            await self._cache.put(key, completion, lease_id=lease_id)
        elif lease_id is not None:
            await self._cache.release(key, lease_id)

    async def clear(self, *, tenant_id: str | None = None, model: str | None = None) -> int:
        """Drops the entries of a tenant, a model, both, or all; raises `StoreUnavailable`."""
        return await self._cache.clear(tenant_id=tenant_id, model=model)

    async def stats(self) -> CacheStats:
        """Counts over all workers; raises `StoreUnavailable`."""
        return await self._cache.stats()

    async def entries(self, limit: int) -> list[EntryFacts]:
        """The live entries with the most hits, most first; raises `StoreUnavailable`."""
        return await self._cache.entries(limit)

    async def aclose(self) -> None:
        await self._cache.aclose()


def _is_worth_keeping(choice: Chunk) -> bool:
    return choice.finish_reason in _FINISHED and bool(choice.text or choice.tool_calls or choice.vectors)
