"""The corridor that every door walks: admit -> look up -> dispatch -> record.

A door hands in a `Visit` (who asks, under which request id, when), a `Generation` and the cache policy, and gets
an `Answer`: the facts for its headers and the chunks. This is the only place that sees two rooms at once.

What it promises: nothing is served unmetered (the start record is on disk before the engine is called, the end
record before the last chunk is handed out); an engine that fails gives the request back; a client that leaves
closes the engine's connection and is recorded with the tokens so far. When the limiter's store is down the call is
refused with 503; when the cache is down it is a miss; when the ledger's disk is full new calls are refused with 503.
"""

from aiservice.gateway.model import Answer, CacheState, Visit
from aiservice.gateway.pipeline import Corridor
from aiservice.gateway.recorder import Recorder

__all__ = ["Answer", "CacheState", "Corridor", "Recorder", "Visit"]
