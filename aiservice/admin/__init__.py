"""What an operator sees and sets, over the rooms below.

`Stats` sums up the ledger, the cache, the keys and the engines. It keeps nothing of its own; when the
database is down it raises `StoreUnavailable` like the rooms it asks.
Flow: `api/admin.py` comes in, the rooms' services answer, plain values go back.
"""

from aiservice.admin.stats import Stats, Summary

__all__ = ["Stats", "Summary"]
