"""Makers of records, and a store that fails as told."""

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from aiservice.core.clock import SystemClock
from aiservice.core.errors import StoreUnavailable, Unexpected
from aiservice.core.ids import uuid7
from aiservice.usage.memory import MemoryUsageStore
from aiservice.usage.model import UsageRecord, UsageStart
from aiservice.usage.spool import Spool, SpoolShape

NOW_US = 1_750_000_000_000_000
KEY_ID = "01977a2b-0000-7000-8000-000000000001"
SMALL = SpoolShape(file_bytes_max=4_096, reserve_bytes=8_192)


class ScriptedStore(MemoryUsageStore):
    """Down while `is_down`, refuses batches that hold an id of `poison`, counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.poison: set[str] = set()
        self.refuses_letters = False
        self.batches: list[int] = []

    @property
    def rows(self) -> dict[str, UsageRecord]:
        return {id: row for (id, _), row in self._rows.items()}

    @property
    def row_count(self) -> int:
        return len(self._rows)

    async def insert(self, rows: Sequence[UsageRecord]) -> int:
        self.batches.append(len(rows))
        if self.is_down:
            raise StoreUnavailable(detail="down")
        if any(row.id in self.poison for row in rows):
            raise Unexpected(detail="this row does not fit")
        return await super().insert(rows)

    async def bury(self, record: UsageRecord, reason: str) -> None:
        if self.refuses_letters:
            raise Unexpected(detail="no letters today")
        await super().bury(record, reason)


class ReplicatedStore(ScriptedStore):
    """With a replica that has the transactions that it was told to take over, in their order."""

    has_replica = True

    def __init__(self) -> None:
        super().__init__()
        self.is_replica_down = False
        # So many inserts are committed without a word.
        self.mute = 0
        self.questions: list[int] = []
        self._replica = MemoryUsageStore()
        self._log: list[tuple[Sequence[UsageRecord], str | None]] = []

    @property
    def replicated(self) -> dict[str, UsageRecord]:
        return {id: row for (id, _), row in self._replica._rows.items()}

    async def insert(self, rows: Sequence[UsageRecord]) -> int:
        new = await super().insert(rows)
        if new:
            self._log.append((rows, None))
        if self.mute:
            self.mute -= 1
            raise StoreUnavailable(detail="the connection broke after the commit")
        return new

    async def bury(self, record: UsageRecord, reason: str) -> None:
        await super().bury(record, reason)
        self._log.append(([record], reason))

    async def unreplicated(self, ids: Sequence[str]) -> Sequence[str]:
        self.questions.append(len(ids))
        if self.is_replica_down:
            raise StoreUnavailable(detail="the replica is down")
        return await self._replica.absent(ids)

    async def replicate(self, count: int = 1_000_000) -> None:
        """Brings so many more transactions to the replica."""
        for rows, reason in self._log[:count]:
            if reason is None:
                await self._replica.insert(rows)
            else:
                await self._replica.bury(rows[0], reason)
        del self._log[:count]

    def fail_over(self) -> None:
        """The primary is gone with what it alone had, and the replica is primary and replica from now on."""
        self._rows = self._replica._rows = dict(self._replica._rows)
        self.dead_letters = self._replica.dead_letters = dict(self._replica.dead_letters)
        self._log.clear()


class FullDisk:
    """Stands for `os.pwrite` on a disk that has room only where blocks are there already, while `is_full`."""

    def __init__(self) -> None:
        self.is_full = False
        self.writes_part = False

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        room = os.fstat(descriptor).st_size - offset
        if not self.is_full or room >= len(data):
            return os.pwrite(descriptor, data, offset)
        if self.writes_part:
            return os.pwrite(descriptor, data[: len(data) // 2], offset)
        raise OSError(28, "No space left on device")


@pytest.fixture
def make_start() -> Callable[..., UsageStart]:
    numbers = itertools.count()

    def make(**fields: object) -> UsageStart:
        at_us = NOW_US + next(numbers) * 1_000
        start = UsageStart(uuid7(at_us), KEY_ID, "tenant-1", "user-1", "/ai/generate", "smollm2:135m", 12, at_us)
        return replace(start, **fields)

    return make


@pytest.fixture
def make_record() -> Callable[..., UsageRecord]:
    numbers = itertools.count()

    def make(start: UsageStart | None = None, **fields: object) -> UsageRecord:
        at_us = start.created_at_us if start else NOW_US + next(numbers) * 1_000
        record = UsageRecord(
            id=start.id if start else uuid7(at_us),
            api_key_id=KEY_ID,
            tenant_id="tenant-1",
            user_id="user-1",
            endpoint="/ai/generate",
            model_used="smollm2:135m",
            prompt_tokens=34,
            completion_tokens=100,
            tokens_saved=0,
            response_cached=False,
            response_time_ms=812,
            status_code=200,
            error_message=None,
            created_at_us=at_us,
            cost_nano=5,
        )
        return replace(record, **fields)

    return make


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def disk() -> FullDisk:
    return FullDisk()


@pytest.fixture
def spool(root: Path, disk: FullDisk) -> Spool:
    return Spool(root, clock=SystemClock(), shape=SMALL, write=disk.write)


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
def replicated() -> ReplicatedStore:
    return ReplicatedStore()
