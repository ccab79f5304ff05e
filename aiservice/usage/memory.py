"""The ledger's store in memory: the twin that tests and trials run on."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from msgspec.structs import asdict

from aiservice.core.ids import iso_utc
from aiservice.usage.model import DeadLetter, Difference, GroupBy, UsageGroup, UsageRecord, UsageTotals
from aiservice.usage.sums import by_hour


class MemoryUsageStore:
    """Rows in a dictionary, summed up when they are asked for: so that the sums never differ from them.

    `dead_letters` are (row, reason) by id.
    """

    has_replica = False

    def __init__(self) -> None:
        self.dead_letters: dict[str, tuple[UsageRecord, str]] = {}
        self._rows: dict[tuple[str, int], UsageRecord] = {}
        self._numbers: dict[str, int] = {}

    async def insert(self, rows: Sequence[UsageRecord]) -> int:
        by_hour(rows)
        before = len(self._rows)
        for row in rows:
            self._rows.setdefault((row.id, row.created_at_us), row)
        return len(self._rows) - before

    async def bury(self, record: UsageRecord, reason: str) -> None:
        self.dead_letters.setdefault(record.id, (record, reason[:500]))
        self._numbers.setdefault(record.id, len(self._numbers) + 1)

    async def absent(self, ids: Sequence[str]) -> Sequence[str]:
        known = {id for id, _ in self._rows} | self.dead_letters.keys()
        return [id for id in ids if id not in known]

    async def unreplicated(self, ids: Sequence[str]) -> Sequence[str]:
        return []

    async def differences(self, from_us: int) -> Sequence[Difference]:
        return []

    async def recompute(self, from_us: int) -> None:
        """There is nothing to do."""

    async def letters(self, *, after_id: int, limit: int) -> Sequence[DeadLetter]:
        letters = [(self._numbers[id], *letter) for id, letter in self.dead_letters.items()]
        return [DeadLetter(n, asdict(row), reason) for n, row, reason in sorted(letters) if n > after_id][:limit]

    async def revive(self, letter: DeadLetter) -> None:
        row = letter.row()
        await self.insert([row])
        del self.dead_letters[row.id]

    async def page(
        self, *, tenant_id: str, api_key_id: str | None, cursor: str | None, limit: int
    ) -> Sequence[UsageRecord]:
        rows = self._of(tenant_id, api_key_id)
        below = [row for row in rows if cursor is None or row.id < cursor]
        return sorted(below, key=attrgetter("id"), reverse=True)[:limit]

    async def series(
        self, *, tenant_id: str, api_key_id: str | None, from_us: int, to_us: int, group_by: GroupBy
    ) -> Sequence[UsageGroup]:
        groups: dict[str, list[UsageRecord]] = {}
        for row in self._of(tenant_id, api_key_id):
            if from_us <= row.created_at_us < to_us:
                groups.setdefault(_group_key(row, group_by), []).append(row)
        return [_sum(key, rows) for key, rows in sorted(groups.items())]

    async def totals(self) -> UsageTotals:
        rows = self._rows.values()
        statuses = sorted({row.status_code for row in rows})
        return UsageTotals(
            requests=len(rows),
            cached=sum(row.response_cached for row in rows),
            prompt_tokens=sum(row.prompt_tokens for row in rows),
            completion_tokens=sum(row.completion_tokens for row in rows),
            tokens_saved=sum(row.tokens_saved for row in rows),
            response_time_ms_total=sum(row.response_time_ms for row in rows),
            by_status={status: sum(row.status_code == status for row in rows) for status in statuses},
        )

    def _of(self, tenant_id: str, api_key_id: str | None) -> Iterable[UsageRecord]:
        return (
            row
            for row in self._rows.values()
            if row.tenant_id == tenant_id and (api_key_id is None or row.api_key_id == api_key_id)
        )


def _group_key(row: UsageRecord, group_by: GroupBy) -> str:
    keys: Mapping[GroupBy, str] = {
        "day": iso_utc(row.created_at_us)[:10],
        "model": row.model_used or "",
        "endpoint": row.endpoint,
        "key": row.api_key_id,
    }
    return keys[group_by]


def _sum(key: str, rows: Sequence[UsageRecord]) -> UsageGroup:
    return UsageGroup(
        key=key,
        requests=len(rows),
        prompt_tokens=sum(row.prompt_tokens for row in rows),
        completion_tokens=sum(row.completion_tokens for row in rows),
        cached=sum(row.response_cached for row in rows),
        cost_nano=sum(row.cost_nano for row in rows),
        response_time_ms_total=sum(row.response_time_ms for row in rows),
    )
