"""The response cache: the same request of the same tenant is answered from what was kept.

Promises: an entry is given only to a request that is the same in every value that can change the answer, within one
tenant, untampered and younger than its TTL; only whole, good answers are kept; the size of all together is bounded, the
least used leave first (in Redis by its own settings); after a clearing no worker gives an entry from before it.

One of equal requests leads by `claim` and makes the answer, those of all workers and instances wait for it; a dead
leader is replaced when its lease lapses, and a clearing ends the leases, so that an answer begun before is not kept.

Flow: `ResponseCache.policy` reads the caller's Cache-Control, `key` names the request, `look_up` finds, `keep` keeps.
While the store is away, frozen, full or read-only a look-up is a miss, everyone leads, an answer is not kept, and
`failures` counts it: no request fails by it. Only an operator's `clear`, `stats` and `entries` then raise
`StoreUnavailable`. A file that cannot be read is made anew; a Redis that is back empty or evicts has misses, no more.
"""

from aiservice.cache.key import request_key
from aiservice.cache.model import RENEW_EVERY_S, CacheKey, CachePolicy, CacheStats, Claim, Entry, EntryFacts
from aiservice.cache.policy import POLICY_DEFAULT, read_policy
from aiservice.cache.port import Cache, CacheIndex
from aiservice.cache.service import ResponseCache

__all__ = [
    "POLICY_DEFAULT",
    "RENEW_EVERY_S",
    "Cache",
    "CacheIndex",
    "CacheKey",
    "CachePolicy",
    "CacheStats",
    "Claim",
    "Entry",
    "EntryFacts",
    "ResponseCache",
    "read_policy",
    "request_key",
]
