"""What the ledger asks of the database it ships to."""

from collections.abc import Sequence
from typing import Protocol

from aiservice.usage.model import DeadLetter, Difference, GroupBy, UsageGroup, UsageRecord, UsageTotals


class UsageStore(Protocol):
    """`ai_usage_logs` and its sums. Every method raises `StoreUnavailable` when the database is down.

    The writing ones raise `Unexpected`, with the reason as `detail`, for what the database refuses. `has_replica`: a
    copy of it may take its place, so that what is shipped is kept until it is there too.
    """

    @property
    def has_replica(self) -> bool: ...

    async def insert(self, rows: Sequence[UsageRecord]) -> int:
        """Inserts rows and adds the new ones to the sums, in one transaction; says how many were new.

        A row whose id and time are there is skipped. One refused row refuses all.
        """
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
        """Sums per group over from <= created_at < to, in order of the group's key.

        Whole hours cost the same however many rows they have.
        """
        ...

    async def totals(self) -> UsageTotals:
        """Sums over all rows, at the same cost however many there are."""
        ...

    async def absent(self, ids: Sequence[str]) -> Sequence[str]:
        """Those of the ids that have neither a row nor a dead letter."""
        ...

    async def unreplicated(self, ids: Sequence[str]) -> Sequence[str]:
        """Those of the ids that have neither on the replica; none of them where there is no replica."""
        ...

    async def differences(self, from_us: int) -> Sequence[Difference]:
        """Where the sums differ from the rows at one moment: rollups from the hour of `from_us` on, and all totals."""
        ...

    async def recompute(self, from_us: int) -> None:
        """Makes the same sums anew from the rows, in one transaction."""
        ...

    async def letters(self, *, after_id: int, limit: int) -> Sequence[DeadLetter]:
        """Dead letters in order of their numbers, those above `after_id`."""
        ...

    async def revive(self, letter: DeadLetter) -> None:
        """Inserts a dead letter's row and removes the letter, in one transaction."""
        ...
