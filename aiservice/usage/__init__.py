"""The usage ledger: every request of a known key becomes exactly one row of `ai_usage_logs`.

A request is written to an append-only spool file of its worker before its engine is called (start) and before its
answer ends (end), so that kill -9 loses nothing. A shipper inserts the finished records in batches, idempotently, and
deletes a file only when its rows are committed. What a dead worker left behind is adopted by any living one: a start
without an end becomes a row with status 500 and `worker_lost`.

Database down: rows wait on disk and are retried, for ever. A row that it will not take goes to `usage_dead_letters`.
Disk full: new requests raise `SpoolFull` (503) while running ones are recorded in a reserve that was allocated
beforehand. Damaged files are cut at the first bad record and kept aside in `spool/damaged`.

Flow enters by `Ledger.start`, `progress` and `end` from the corridor and leaves by `UsageStore`, which adds new rows
to sums by the hour in the same transaction; reads pass through. `reconcile` compares all of it.
"""

from aiservice.usage.model import Difference, GroupBy, SpoolHealth, UsageGroup, UsageRecord, UsageStart, UsageTotals
from aiservice.usage.port import UsageStore
from aiservice.usage.reconciliation import Reconciliation, Repair, reconcile, repair
from aiservice.usage.service import Ledger
from aiservice.usage.spool import Spool, SpoolShape

__all__ = [
    "Difference",
    "GroupBy",
    "Ledger",
    "Reconciliation",
    "Repair",
    "Spool",
    "SpoolHealth",
    "SpoolShape",
    "UsageGroup",
    "UsageRecord",
    "UsageStart",
    "UsageStore",
    "UsageTotals",
    "reconcile",
    "repair",
]
