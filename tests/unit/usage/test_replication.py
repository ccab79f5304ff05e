"""A file stays until the replica has its rows, and what was lost with a primary is shipped again."""

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.core.settings import UsageSettings
from aiservice.usage import Ledger, folders
from aiservice.usage.delivery import Delivery
from aiservice.usage.model import LedgerCounts, UsageRecord
from aiservice.usage.recovery import Adopter
from aiservice.usage.replication import LOST_AFTER_S, WITNESSES_MAX, Replication, Standing, Unseen
from aiservice.usage.service import REPLICA_LAG_S_MAX
from aiservice.usage.shipper import Shipper
from aiservice.usage.spool import Spool, SpoolShape
from aiservice.usage.sync import SpoolSync

SMALL = SpoolShape(file_bytes_max=4_096, reserve_bytes=8_192)
BATCH = 10
SEEDS = 400 if os.environ.get("LONG") else 25


class Worker:
    """Spool, shipper and adopter of one process, whose loops the tests turn by hand."""

    def __init__(self, root: Path, store, clock: ManualClock, write: Callable[..., int] = os.pwrite) -> None:
        self.counts = LedgerCounts()
        self.clock = clock
        self.spool = Spool(root, clock=clock, shape=SMALL, write=write)
        replication, delivery = Replication(store, clock), Delivery(store, self.counts)
        self.shipper = Shipper(
            self.spool,
            SpoolSync(self.spool, self.counts),
            delivery,
            settings=UsageSettings(batch_rows=BATCH),
            counts=self.counts,
            replication=replication,
        )
        self.adopter = Adopter(root, delivery, self.counts, batch_rows=BATCH, replication=replication)

    def end(self, record: UsageRecord) -> None:
        self.shipper.add(record, self.spool.append_end(record))

    @property
    def files(self) -> list[Path]:
        return folders.spool_files(self.spool.folder)

    def die(self) -> None:
        """What the kernel does for a dead process: its locks are free."""
        self.adopter.close()
        os.close(self.spool._lock)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def worker(root, replicated, clock, disk) -> Worker:
    return Worker(root, replicated, clock, disk.write)


@pytest.fixture
def fill(worker, make_record) -> Callable[[int], list[UsageRecord]]:
    """Ends requests until there are so many files."""

    def fill(files: int) -> list[UsageRecord]:
        rows = []
        while len(worker.spool.files) < files:
            rows.append(make_record())
            worker.end(rows[-1])
        return rows

    return fill


async def test_files_go_when_the_replica_has_their_rows(worker, fill, replicated):
    rows = fill(4)
    await worker.shipper.ship(is_all=True)
    await worker.shipper.confirm()
    assert replicated.row_count == len(rows)
    assert len(worker.files) == 4
    assert worker.shipper.oldest_us is None
    assert worker.shipper.oldest_unseen_us == rows[0].ended_at_us

    await replicated.replicate(1)
    await worker.shipper.confirm()
    assert len(worker.files) == 4
    assert worker.shipper.oldest_unseen_us == rows[BATCH].ended_at_us
    await replicated.replicate()
    await worker.shipper.confirm()

    assert worker.files == [worker.spool.current.path]
    assert worker.shipper.oldest_unseen_us is None


async def test_one_id_of_each_batch_is_asked_for(worker, fill, replicated):
    rows = fill(2)
    await worker.shipper.ship(is_all=True)
    await replicated.replicate()

    await worker.shipper.confirm()

    assert sum(replicated.questions) <= len(rows) // BATCH + 2


async def test_a_replica_that_is_away_keeps_the_files_and_holds_up_no_shipping(worker, fill, replicated, make_record):
    rows = fill(3)
    replicated.is_replica_down = True
    await worker.shipper.ship(is_all=True)
    with pytest.raises(StoreUnavailable):
        await worker.shipper.confirm()
    worker.end(make_record())
    await worker.shipper.ship(is_all=True)

    assert replicated.row_count == len(rows) + 1
    assert len(worker.files) == 3


async def test_what_was_lost_with_the_primary_is_shipped_again(worker, fill, replicated, clock, caplog):
    rows = fill(4)
    await worker.shipper.ship(is_all=True)
    await replicated.replicate(3)
    replicated.fail_over()
    assert 2 * BATCH < replicated.row_count < len(rows)
    await worker.shipper.confirm()
    assert not worker.shipper.has_rows.is_set()

    for _ in range(4):
        clock.advance_s(LOST_AFTER_S)
        await worker.shipper.confirm()
        await worker.shipper.ship(is_all=True)
        await replicated.replicate()
    await worker.shipper.confirm()

    assert replicated.replicated == replicated.rows == {row.id: row for row in rows}
    assert worker.counts.dead_letters == 0
    assert "gone with the primary" in caplog.text
    assert worker.files == [worker.spool.current.path]


async def test_rows_of_the_file_that_still_grows_are_shipped_again_too(worker, replicated, clock, make_record):
    lost, kept = make_record(), make_record()
    worker.end(lost)
    await worker.shipper.ship(is_all=True)
    replicated.fail_over()
    worker.end(kept)
    clock.advance_s(LOST_AFTER_S)

    await worker.shipper.confirm()
    assert worker.shipper.oldest_us == worker.shipper.oldest_unseen_us == lost.ended_at_us
    await worker.shipper.ship(is_all=True)

    assert replicated.rows.keys() == {lost.id, kept.id}


async def test_a_replica_that_is_late_has_nothing_shipped_again(worker, fill, replicated, clock):
    fill(3)
    await worker.shipper.ship(is_all=True)
    before = list(replicated.batches)
    for _ in range(5):
        clock.advance_s(LOST_AFTER_S)
        await worker.shipper.confirm()
        await worker.shipper.ship(is_all=True)

    assert replicated.batches == before
    await replicated.replicate()
    await worker.shipper.confirm()
    assert len(worker.files) == 1


@pytest.mark.parametrize("there", [0, 2, 3])
async def test_a_batch_that_was_there_in_part_has_its_file_read(worker, replicated, make_record, there):
    """One of its rows says nothing of the others: they came by different transactions."""
    rows = [make_record() for _ in range(4)]
    await replicated.insert([rows[there]])
    await replicated.replicate()
    for row in rows:
        worker.end(row)
    await worker.shipper.ship(is_all=True)
    await worker.shipper.confirm()
    await worker.shipper.confirm()
    assert len(worker.files) == 2

    await replicated.replicate()
    await worker.shipper.confirm()
    assert worker.files == [worker.spool.current.path]


async def test_a_batch_in_parts_on_a_full_disk_waits_for_room(worker, disk, replicated, make_record):
    row = make_record()
    await replicated.insert([row])
    worker.end(row)
    await worker.shipper.ship(is_all=True)
    await replicated.replicate()
    disk.is_full = True
    await worker.shipper.confirm()
    assert worker.shipper.oldest_unseen_us == row.ended_at_us
    disk.is_full = False
    await worker.shipper.confirm()

    assert worker.shipper.oldest_unseen_us is None


async def test_letters_count_as_rows(worker, fill, replicated, clock):
    rows = fill(2)
    replicated.poison = {rows[1].id}
    await worker.shipper.ship(is_all=True)
    await replicated.replicate(1)
    replicated.fail_over()
    clock.advance_s(LOST_AFTER_S)
    await worker.shipper.confirm()
    assert len(worker.files) == 2
    clock.advance_s(LOST_AFTER_S)
    await worker.shipper.confirm()
    await worker.shipper.ship(is_all=True)
    await replicated.replicate()
    await worker.shipper.confirm()

    assert replicated.dead_letters.keys() == {rows[1].id}
    assert replicated.rows.keys() | replicated.dead_letters.keys() == {row.id for row in rows}
    assert len(worker.files) == 1


async def test_a_file_is_read_again_until_nothing_in_it_is_absent(replicated, clock, make_record):
    """What is absent first is waited for; more may be behind it."""
    rows = [make_record() for _ in range(1_200)]
    early, late = rows[10], rows[1_100]
    await replicated.insert([row for row in rows if row not in (early, late)])
    await replicated.replicate()
    await replicated.insert([early])
    await replicated.insert([late])
    replication, unseen = Replication(replicated, clock), Unseen()
    replication.note(unseen, None, rows[0].ended_at_us)

    assert await replication.standing(unseen, lambda: iter(rows)) is Standing.WAITS
    assert list(unseen.witnesses) == [early.id]
    await replicated.replicate(1)
    assert await replication.standing(unseen, None) is Standing.WAITS
    assert await replication.standing(unseen, lambda: iter(rows)) is Standing.WAITS
    assert list(unseen.witnesses) == [late.id]
    assert unseen.oldest_us == rows[0].ended_at_us
    await replicated.replicate()
    assert await replication.standing(unseen, lambda: iter(rows)) is Standing.SEEN


async def test_witnesses_that_are_given_up_while_the_replica_is_asked(replicated, clock, make_record):
    rows = [make_record() for _ in range(WITNESSES_MAX + 1)]
    await replicated.insert(rows)
    await replicated.replicate()
    unseen = Unseen()

    class Busy:
        """While it answers, one batch more is shipped: one id too many."""

        async def unreplicated(self, ids):
            replication.note(unseen, rows[-1].id, rows[-1].ended_at_us)
            return await replicated.unreplicated(ids)

    replication = Replication(Busy(), clock)
    for row in rows[:-1]:
        replication.note(unseen, row.id, row.ended_at_us)

    assert await replication.standing(unseen, None) is Standing.WAITS
    assert unseen.must_be_read
    assert not unseen.witnesses


async def test_memory_keeps_a_bounded_number_of_ids_whatever_the_replica_does(root, replicated, clock, make_record):
    worker = Worker(root, replicated, clock)
    worker.spool.current.rotate_at = 10**9
    rows = [make_record() for _ in range(WITNESSES_MAX + 20)]
    for row in rows:
        worker.end(row)
        await worker.shipper.ship(is_all=True)
        assert len(worker.spool.current.unseen.witnesses) <= WITNESSES_MAX

    assert worker.shipper.oldest_unseen_us == rows[0].ended_at_us
    await worker.shipper.confirm()
    assert len(worker.files) == 2
    await replicated.replicate(len(rows) - 1)
    await worker.shipper.confirm()
    assert len(worker.files) == 2
    await replicated.replicate()
    await worker.shipper.confirm()
    assert len(worker.files) == 1


async def test_rows_that_were_read_back_are_asked_for_one_by_one(worker, replicated, make_record):
    worker.shipper.rows_max = 3
    rows = [make_record() for _ in range(6)]
    for row in rows:
        worker.end(row)
    await worker.shipper.ship(is_all=True)
    await worker.shipper.confirm()
    assert worker.shipper.oldest_unseen_us == rows[0].ended_at_us

    await replicated.replicate()
    await worker.shipper.confirm()

    assert worker.files == [worker.spool.current.path]


async def test_rows_that_leave_memory_while_their_file_has_unseen_ones(worker, replicated, make_record):
    early = make_record()
    worker.end(early)
    await worker.shipper.ship(is_all=True)
    worker.shipper.rows_max = 0
    worker.end(make_record())
    assert worker.shipper.oldest_us == early.ended_at_us

    await worker.shipper.ship(is_all=True)

    assert (worker.counts.shipped_rows, worker.counts.repeated_rows) == (2, 1)


async def test_a_damaged_file_is_set_aside_when_its_rows_are_seen(worker, replicated, make_record, clock, caplog):
    worker.shipper.rows_max = 0
    rows = [make_record() for _ in range(8)]
    for row in rows:
        worker.end(row)
    data = bytearray(worker.spool.current.path.read_bytes())
    data[-3] ^= 1
    worker.spool.current.path.write_bytes(data)

    await worker.shipper.ship(is_all=True)
    replicated.fail_over()
    for _ in range(2):
        clock.advance_s(LOST_AFTER_S)
        await worker.shipper.confirm()
    await worker.shipper.ship(is_all=True)
    assert folders.set_aside_names(worker.spool.root) == []
    await replicated.replicate()
    await worker.shipper.confirm()

    assert replicated.rows.keys() == {row.id for row in rows[:-1]}
    assert len(folders.set_aside_names(worker.spool.root)) == 1
    assert worker.counts.damaged_files == 1
    assert caplog.text.count("is damaged") == 1


async def test_what_only_memory_has_is_kept_until_it_is_seen(worker, replicated, clock, make_start, make_record):
    start = make_start()
    worker.spool.append_start(start)
    row = make_record(start)
    worker.shipper.add_unspooled(row)
    await worker.shipper.ship(is_all=True)
    await worker.shipper.confirm()
    assert worker.spool.open_count == 1
    assert worker.shipper.oldest_unseen_us == row.ended_at_us
    replicated.fail_over()
    clock.advance_s(LOST_AFTER_S)
    await worker.shipper.confirm()
    assert worker.shipper.has_rows.is_set()
    await worker.shipper.ship(is_all=True)
    await replicated.replicate()
    await worker.shipper.confirm()

    assert replicated.rows == {row.id: row}
    assert worker.spool.open_count == 0


async def test_a_dead_worker_s_folder_stays_until_its_rows_are_seen(root, replicated, clock, make_start, make_record):
    dead, worker = Worker(root, replicated, clock), Worker(root, replicated, clock)
    rows = [make_record() for _ in range(60)]
    for row in rows:
        dead.end(row)
    start = make_start()
    dead.spool.append_start(start)
    dead.spool.publish(5_000)
    dead.die()
    await worker.adopter.adopt_all()
    assert replicated.row_count == 61
    assert dead.spool.folder.exists()
    assert folders.oldest_moment_us(root, but=worker.spool.folder) == 5_000
    await replicated.replicate(3)
    replicated.fail_over()
    for _ in range(3):
        await worker.adopter.adopt_all()
        clock.advance_s(LOST_AFTER_S)
    assert replicated.row_count == 61
    await replicated.replicate()
    await worker.adopter.adopt_all()

    assert not dead.spool.folder.exists()
    assert replicated.replicated.keys() == {row.id for row in rows} | {start.id}
    assert (worker.counts.adopted_folders, worker.counts.lost_requests) == (1, 1)


async def test_an_adopter_that_ends_leaves_the_folder_to_the_next(root, replicated, clock, make_record):
    dead, first, second = (Worker(root, replicated, clock) for _ in range(3))
    dead.end(make_record())
    dead.die()
    await first.adopter.adopt_all()
    await second.adopter.adopt_all()
    assert second.counts.adopted_folders == 0
    first.adopter.close()
    await second.adopter.adopt_all()
    await replicated.replicate()
    await second.adopter.adopt_all()

    assert (second.counts.adopted_folders, second.counts.repeated_rows) == (1, 1)
    assert not dead.spool.folder.exists()


async def settled(worker: Worker, store, clock: ManualClock) -> None:
    """Everything works again, for as long as it takes."""
    store.is_down, store.is_replica_down, store.mute = False, False, 0
    async with asyncio.timeout(30):
        while (
            any(file.is_needed for file in worker.spool.files)
            or len(list(folders.worker_folders(worker.spool.root))) > 1
        ):
            await worker.shipper.ship(is_all=True)
            await store.replicate()
            await worker.shipper.confirm()
            await worker.adopter.adopt_all()
            clock.advance_s(LOST_AFTER_S)


async def suffer(worker: Worker, store, clock: ManualClock, chance: random.Random) -> None:
    """Something happens to databases or time, or a loop turns."""
    names = ("ship", "confirm", "adopt", "replicate", "fail", "down", "mute", "wait")
    match chance.choices(names, (6, 6, 2, 3, 1, 2, 1, 3))[0]:
        case "ship":
            await worker.shipper.ship(is_all=chance.random() < 0.5)
        case "confirm":
            await worker.shipper.confirm()
        case "adopt":
            await worker.adopter.adopt_all()
        case "replicate":
            await store.replicate(chance.choice((1, 2, 3, 1_000)))
        case "fail":
            store.fail_over()
        case "down":
            store.is_down, store.is_replica_down = chance.random() < 0.2, chance.random() < 0.3
        case "mute":
            store.mute = 1
        case "wait":
            clock.advance_s(chance.choice((0.25, 1, LOST_AFTER_S)))


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_happens_every_row_is_in_both_databases_once(root, replicated, clock, make_record, seed):
    chance = random.Random(seed)
    worker, said = Worker(root, replicated, clock), {}
    for _ in range(120):
        if chance.random() < 0.5:
            for _ in range(chance.choice((1, 3, 15))):
                row = make_record()
                worker.end(row)
                said[row.id] = row
        if chance.random() < 0.03:
            worker.die()
            worker = Worker(root, replicated, clock)
            worker.shipper.rows_max = chance.choice((15, 1_000, 1_000))
        try:
            await suffer(worker, replicated, clock, chance)
        except StoreUnavailable:
            continue
    await settled(worker, replicated, clock)

    assert replicated.rows == replicated.replicated == said
    assert worker.counts.dead_letters == worker.counts.damaged_files == 0


async def test_a_ledger_keeps_its_spool_until_the_replica_has_all(root, replicated, clock, make_record):
    spool = Spool(root, clock=clock, shape=SMALL)
    ledger = Ledger(replicated, spool, UsageSettings(batch_rows=BATCH, batch_interval_ms=10))
    running = asyncio.create_task(ledger.run())
    row = make_record(created_at_us=clock.now_us(), response_time_ms=0)
    ledger.end(row)
    async with asyncio.timeout(5):
        while not replicated.questions:
            await asyncio.sleep(0.01)
    clock.advance_s(REPLICA_LAG_S_MAX + 1)
    assert ledger.health.is_degraded
    assert ledger.health.replica_lag_s > REPLICA_LAG_S_MAX
    await replicated.replicate()
    async with asyncio.timeout(5):
        while ledger.health.is_degraded:
            await asyncio.sleep(0.01)
    await ledger.aclose()
    await running

    assert list(root.iterdir()) == []


async def test_a_ledger_that_ends_before_its_replica_leaves_its_spool(root, replicated, clock, make_record):
    spool = Spool(root, clock=clock, shape=SMALL)
    ledger = Ledger(replicated, spool, UsageSettings(batch_rows=BATCH))
    ledger.end(make_record())

    await ledger.aclose(timeout_s=0.2)

    assert replicated.row_count == 1
    assert len(folders.spool_files(spool.folder)) == 1


async def test_as_of_is_what_the_replica_has_whoever_answers(root, replicated, clock, make_record):
    """A primary that has more may be replaced at any time, and the answer with it."""
    ledger = Ledger(replicated, Spool(root, clock=clock, shape=SMALL), UsageSettings(batch_rows=BATCH))
    row = make_record(created_at_us=clock.now_us() - 5_000_000, response_time_ms=2_000)
    ledger.end(row)
    await ledger._shipper.ship(is_all=True)
    assert await ledger.as_of_us() == row.ended_at_us - 1_000
    await replicated.replicate()
    await ledger._shipper.confirm()
    assert await ledger.as_of_us() == clock.now_us()
