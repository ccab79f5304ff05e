"""The response cache: the same request of the same tenant is answered from what was kept.

Promises: an entry is given only to a request that is the same in every value that can change the answer, within one
tenant, untampered and younger than its TTL; only whole, good answers are kept; the size of all entries together is
bounded, the least recently used leave first; after a clearing no worker gives an entry from before it.

One of equal requests leads by `claim` and makes the answer, the others of all workers wait for it; a dead leader is
replaced when its lease lapses, and a clearing ends the leases, so that an answer begun before it is not kept.

Flow: `ResponseCache.policy` reads the caller's Cache-Control, `key` names the request, `look_up` finds, `keep` keeps.
When the store cannot be used a look-up is a miss, everyone leads, an answer is not kept, and `failures` counts it: no
request fails by it. Only an operator's `clear`, `stats` and `entries` then raise `StoreUnavailable`. A file that cannot
be read is made anew.
"""

from aiservice.cache.key import request_key
from aiservice.cache.model import RENEW_EVERY_S, CacheKey, CachePolicy, CacheStats, Claim, Entry, EntryFacts
from aiservice.cache.policy import POLICY_DEFAULT, read_policy
from aiservice.cache.port import Cache
from aiservice.cache.service import ResponseCache

__all__ = [
    "POLICY_DEFAULT",
    "RENEW_EVERY_S",
    "Cache",
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
