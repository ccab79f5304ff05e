"""The corridor that every door walks: admit -> look up -> dispatch -> record.

Of equal requests that run at once one calls the engine, in all workers together; the others get its answer.

A door hands in a `Visit` (who asks, under which request id, when), a `Generation` or `Embedding` and the cache policy,
and gets an `Answer`: the facts for its headers and the chunks. This is the only place that sees two rooms at once.

What it promises: nothing is served unmetered (the start record is on disk before the engine is called, the end
record before the last chunk is handed out); an engine that fails gives the request back; a client that leaves
closes the engine's connection and is recorded with the tokens so far. A request with an idempotency key runs once,
to its end, and is answered the same for 24 h; where that cannot be promised it is refused with 503. When the
limiter's store is down the call is refused with 503; when the cache is down it is a miss; when the ledger's disk is
full new calls are refused with 503. An answer that breaks the JSON schema it was asked for is metered, not given out.
"""

from aiservice.gateway.idempotency import Idempotency
from aiservice.gateway.model import Answer, CacheState, Spent, Visit
from aiservice.gateway.pipeline import Corridor
from aiservice.gateway.port import Attempt, Found, IdempotencyStore
from aiservice.gateway.recorder import Recorder
from aiservice.gateway.work import Consultant

__all__ = [
    "Answer",
    "Attempt",
    "CacheState",
    "Consultant",
    "Corridor",
    "Found",
    "Idempotency",
    "IdempotencyStore",
    "Recorder",
    "Spent",
    "Visit",
]
