"""What the ledger asks of the database it ships to."""

from collections.abc import Sequence
from typing import Protocol

from aiservice.usage.model import GroupBy, UsageGroup, UsageRecord, UsageTotals


class UsageStore(Protocol):
    """`ai_usage_logs`. Every method raises `StoreUnavailable` when the database is down."""

    async def insert(self, rows: Sequence[UsageRecord]) -> int:
        """Inserts rows in one transaction, skipping ids that are there; says how many were new."""
        ...

    async def bury(self, record: UsageRecord, reason: str) -> None:
        """Puts a row that cannot be inserted into `usage_dead_letters`, once per id; `reason` is cut at 500."""
        ...

    async def page(
        self, *, tenant_id: str, api_key_id: str | None, cursor: str | None, limit: int
    ) -> Sequence[UsageRecord]:
        """A tenant's rows, or one key's, with an id below the cursor, newest first."""
        ...

    async def series(
        self, *, tenant_id: str, api_key_id: str | None, from_us: int, to_us: int, group_by: GroupBy
    ) -> Sequence[UsageGroup]:
        """Sums per group over from <= created_at < to, in order of the group's key."""
        ...

    async def totals(self) -> UsageTotals: ...
