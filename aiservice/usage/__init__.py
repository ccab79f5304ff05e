"""The usage ledger: every request of a known key becomes exactly one row of `ai_usage_logs`.

A request is written to an append-only spool file of its worker before its engine is called (start) and before its
answer ends (end): kill -9 loses nothing. A shipper inserts finished records in batches, idempotently, with sums by the
hour in the same transaction, and deletes a file when its rows are committed. What a dead worker left is adopted by a
living one: a start without an end becomes a row with status 500 and `worker_lost`.
Database away or silent: rows wait on disk and are sent again, for ever. A row that it will not take goes to
`usage_dead_letters`. Disk full, or the backlog at its cap: new requests raise `SpoolFull` (503) while running ones go
into a reserve. Damaged files are cut at the first bad record and kept aside in `spool/damaged`.
With a replica a file stays until its rows are seen there, and what was lost with the primary is shipped again. Reads
are answered by the replica once it has all that the primary has, or when the primary is away.
Flow enters by `Ledger.start`, `progress` and `end` from the corridor and leaves by `UsageStore`; reads pass through.
`reconcile` compares all of it.
"""

from aiservice.usage.model import (
    Difference,
    GroupBy,
    SpoolHealth,
    UsageGroup,
    UsageRecord,
    UsageStart,
    UsageTotals,
)
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
