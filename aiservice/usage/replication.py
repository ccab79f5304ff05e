"""What a replica of the database is seen to have of the shipped rows: until then they stay in the spool.

A primary may die after it said that a batch is committed, and its replica may take over without that batch. Positions
in the log tell nothing of it, for the new primary goes on from its own; rows that are asked for do.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import islice

from aiservice.core.clock import Clock
from aiservice.usage.model import UsageRecord
from aiservice.usage.port import UsageStore
from aiservice.usage.threads import run_to_end

# A replica that has had nothing of what waits for so long is late, or the rows are gone: the primary is asked.
LOST_AFTER_S = 5.0
WITNESSES_MAX = 256
_BATCH = 500

Read = Callable[[], Iterator[UsageRecord]]


class Standing(Enum):
    """`LOST`: rows are neither on the replica nor on whatever is the primary now."""

    SEEN = "seen"
    WAITS = "waits"
    LOST = "lost"


class Unseen:
    """What was shipped from a file, or from several, and the replica is not known to have; falsy without any.

    Its witnesses are one id of each batch, with the time at which the batch's first request ended: a batch was one
    transaction, so that a copy which has one of its rows has all. Where no id proves a batch, or there are too many of
    them, `must_be_read` says to ask for all ids that are in the file.
    """

    __slots__ = ("must_be_read", "read_us", "since_s", "witnesses")

    def __init__(self) -> None:
        self.witnesses: dict[str, int] = {}
        self.must_be_read = False
        self.read_us = 0
        self.since_s = 0.0

    def __bool__(self) -> bool:
        return self.must_be_read or bool(self.witnesses)

    @property
    def oldest_us(self) -> int:
        """When the oldest of it ended."""
        moments = list(islice(self.witnesses.values(), 1))
        return min([*moments, self.read_us] if self.must_be_read else moments)

    def add(self, witness: str | None, ended_us: int, *, now_s: float) -> None:
        """A batch whose first request ended then; without a witness the file has to be read."""
        if not self:
            self.since_s = now_s
        if witness is not None and len(self.witnesses) < WITNESSES_MAX and not self.must_be_read:
            self.witnesses[witness] = ended_us
        elif not self.must_be_read:
            self.read_us = min([*self.witnesses.values(), ended_us])
            self.must_be_read = True
            self.witnesses.clear()

    def forget(self, ids: Iterable[str], *, now_s: float) -> None:
        """The replica has these witnesses: it moves. Those that were given up while it was asked are passed over."""
        for id in ids:
            if self.witnesses.pop(id, None) is not None:
                self.since_s = now_s

    def clear(self) -> None:
        self.witnesses.clear()
        self.must_be_read = False


class Replication:
    """Asks the replica. Every method raises `StoreUnavailable` when it, or the primary, cannot be asked."""

    def __init__(self, store: UsageStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def note(self, unseen: Unseen, witness: str | None, ended_us: int) -> None:
        """A batch was shipped."""
        unseen.add(witness, ended_us, now_s=self.now_s)

    @property
    def now_s(self) -> float:
        return self._clock.monotonic_s()

    async def absent(self, ids: Sequence[str]) -> Sequence[str]:
        """Those of the ids that the replica has not."""
        return await self._store.unreplicated(ids)

    async def standing(self, unseen: Unseen, read: Read | None) -> Standing:
        """How the replica stands to it; `read` gives the rows of its files, None while they still grow."""
        if asked := list(unseen.witnesses):
            absent = await self.absent(asked)
            unseen.forget(set(asked).difference(absent), now_s=self.now_s)
            if absent:
                return await self._late_or_lost(unseen)
        if unseen.must_be_read and read is not None:
            await self._look_into(unseen, read())
        return Standing.WAITS if unseen else Standing.SEEN

    async def _look_into(self, unseen: Unseen, rows: Iterator[UsageRecord]) -> None:
        """Reads up to the first ids that are absent: those are witnesses for the files until they are seen."""
        while ids := await run_to_end(lambda: [row.id for row in islice(rows, _BATCH)]):
            if absent := await self.absent(ids):
                unseen.witnesses = dict.fromkeys(absent, unseen.read_us)
                return
        unseen.must_be_read = False

    async def _late_or_lost(self, unseen: Unseen) -> Standing:
        if self.now_s - unseen.since_s < LOST_AFTER_S:
            return Standing.WAITS
        if await self._store.absent(list(unseen.witnesses)):
            return Standing.LOST
        unseen.since_s = self.now_s
        return Standing.WAITS


class Held:
    """Shipped rows that no file has: memory keeps them until the replica has them too."""

    def __init__(self) -> None:
        self._records: dict[str, tuple[UsageRecord, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._records)

    @property
    def records(self) -> Iterator[UsageRecord]:
        return (record for record, _ in self._records.values())

    def add(self, record: UsageRecord, *, now_s: float) -> None:
        """A row that was shipped just now."""
        self._records[record.id] = record, now_s

    async def sorted_out(self, replication: Replication) -> tuple[Sequence[UsageRecord], Sequence[UsageRecord]]:
        """Gives up, and gives, those that the replica has, and those that it should have long since.

        The latter are so few that they are shipped again without asking where they are.
        """
        asked = dict(self._records)
        absent = set(await replication.absent(list(asked))) if asked else set()
        seen = [record for id, (record, _) in asked.items() if id not in absent]
        due_s = replication.now_s - LOST_AFTER_S
        overdue = [record for id, (record, at_s) in asked.items() if id in absent and at_s <= due_s]
        for record in (*seen, *overdue):
            del self._records[record.id]
        return seen, overdue
