"""Compares all that the ledger has: rows with their sums, spools with themselves and with the rows, dead letters."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from aiservice.core.errors import Unexpected
from aiservice.usage import folders
from aiservice.usage.inspection import Inspection
from aiservice.usage.model import DeadLetter, Difference
from aiservice.usage.port import UsageStore
from aiservice.usage.threads import run_to_end

_BATCH = 500


@dataclass(frozen=True, slots=True)
class SpoolStanding:
    """A worker's spool. `waiting` of its records have no row yet, `running` of its requests have not ended."""

    worker_id: str
    is_alive: bool
    files: int
    running: int
    waiting: int
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What was found. `set_aside`: damaged spool files that wait for an operator; `letters` are counted by reason."""

    differences: Sequence[Difference]
    spools: Sequence[SpoolStanding]
    set_aside: Sequence[str]
    letters: Mapping[str, int]

    @property
    def agrees(self) -> bool:
        """Whether nothing is wrong. What waits in a spool is not: its worker, or the one that adopts it, ships it."""
        return not (self.differences or self.set_aside or self.letters or any(spool.faults for spool in self.spools))


@dataclass(frozen=True, slots=True)
class Repair:
    """How many dead letters became rows, and how many were refused again."""

    revived: int
    refused: int


async def reconcile(store: UsageStore, root: Path, *, from_us: int) -> Reconciliation:
    """Compares sums from the hour of `from_us` on, and all else. Right while the service runs.

    Raises `StoreUnavailable`.
    """
    inspections = await run_to_end(lambda: [Inspection(folder) for folder in folders.worker_folders(root)])
    spools = [await _standing(store, inspection) for inspection in inspections]
    letters = Counter([letter.reason async for letter in _letters(store)])
    set_aside = await run_to_end(folders.set_aside_names, root)
    return Reconciliation(await store.differences(from_us), spools, set_aside, letters)


async def repair(store: UsageStore, *, from_us: int) -> Repair:
    """Makes the sums from the hour of `from_us` on anew from the rows, and tries dead letters again.

    Raises `StoreUnavailable`.
    """
    await store.recompute(from_us)
    revived = refused = 0
    async for letter in _letters(store):
        try:
            await store.revive(letter)
        except Unexpected:
            refused += 1
        else:
            revived += 1
    return Repair(revived, refused)


async def _standing(store: UsageStore, inspection: Inspection) -> SpoolStanding:
    """Reads the spool first and asks the store after: what was shipped between the two does not wait."""
    waiting, ended = 0, inspection.ended_ids()
    while ids := await run_to_end(lambda: list(islice(ended, _BATCH))):
        waiting += len(await store.absent(ids))
    return SpoolStanding(
        worker_id=inspection.worker_id,
        is_alive=inspection.is_alive,
        files=inspection.file_count,
        running=len(inspection.open_ids),
        waiting=waiting,
        faults=tuple(inspection.faults),
    )


async def _letters(store: UsageStore) -> AsyncIterator[DeadLetter]:
    after_id = 0
    while letters := await store.letters(after_id=after_id, limit=_BATCH):
        for letter in letters:
            yield letter
        after_id = letters[-1].id
