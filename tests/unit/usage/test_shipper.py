"""Batches, files that go when all is committed, and rows that do not stay in memory."""

import pytest

from aiservice.core.errors import StoreUnavailable
from aiservice.core.settings import UsageSettings
from aiservice.usage import folders
from aiservice.usage.delivery import Delivery
from aiservice.usage.model import LedgerCounts
from aiservice.usage.shipper import Shipper
from aiservice.usage.sync import SpoolSync


@pytest.fixture
def counts() -> LedgerCounts:
    return LedgerCounts()


@pytest.fixture
def make_shipper(spool, store, counts):
    def make(*, rows_max: int = 1_000) -> Shipper:
        sync, delivery = SpoolSync(spool, counts), Delivery(store, counts)
        shipper = Shipper(spool, sync, delivery, settings=UsageSettings(batch_rows=10), counts=counts)
        shipper.rows_max = rows_max
        return shipper

    return make


async def test_whole_batches_first_and_the_rest_when_asked(make_shipper, spool, store, make_record):
    shipper = make_shipper()
    for _ in range(9):
        row = make_record()
        shipper.add(row, spool.append_end(row))
    assert not shipper.is_batch_full.is_set()
    row = make_record()
    shipper.add(row, spool.append_end(row))
    assert shipper.is_batch_full.is_set()
    row = make_record()
    shipper.add(row, spool.append_end(row))

    await shipper.ship(is_all=False)
    assert store.batches == [10]
    assert not shipper.is_empty
    await shipper.ship(is_all=True)

    assert store.batches == [10, 1]
    assert shipper.is_empty
    assert not shipper.has_rows.is_set()


async def test_a_file_goes_when_its_rows_are_committed(make_shipper, spool, store, make_start, make_record):
    shipper = make_shipper()
    streaming = make_start()
    spool.append_start(streaming)
    while len(spool.files) < 4:
        row = make_record()
        shipper.add(row, spool.append_end(row))
    store.is_down = True
    with pytest.raises(StoreUnavailable):
        await shipper.ship(is_all=True)
    assert len(folders.spool_files(spool.folder)) == 4
    store.is_down = False

    await shipper.ship(is_all=True)

    assert folders.spool_files(spool.folder) == [spool.current.path]
    assert spool.opened(streaming.id) == streaming


@pytest.mark.parametrize("rows_max", [0, 5, 40])
async def test_rows_beyond_the_bound_are_read_back_from_their_file(
    make_shipper, spool, store, counts, make_record, rows_max
):
    shipper = make_shipper(rows_max=rows_max)
    rows = [make_record() for _ in range(120)]
    for row in rows:
        shipper.add(row, spool.append_end(row))
    assert sum(len(file.rows) for file in spool.files) <= rows_max
    assert not shipper.is_empty

    await shipper.ship(is_all=True)

    assert store.rows == {row.id: row for row in rows}
    assert counts.repeated_rows == 0
    assert len(folders.spool_files(spool.folder)) == 1
    assert shipper.is_empty


async def test_an_open_file_that_cannot_be_closed_waits(make_shipper, spool, store, disk, make_record):
    shipper = make_shipper(rows_max=0)
    row = make_record()
    shipper.add(row, spool.append_end(row))
    disk.is_full = True
    await shipper.ship(is_all=True)
    assert store.row_count == 0
    disk.is_full = False

    await shipper.ship(is_all=True)

    assert store.row_count == 1


async def test_a_file_that_is_damaged_when_read_back_is_kept_aside(make_shipper, spool, store, counts, make_record):
    shipper = make_shipper(rows_max=0)
    rows = [make_record() for _ in range(8)]
    for row in rows:
        shipper.add(row, spool.append_end(row))
    path = spool.current.path
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)

    await shipper.ship(is_all=True)

    assert store.rows.keys() == {row.id for row in rows[:-1]}
    assert counts.damaged_files == 1
    assert [kept.read_bytes() for kept in (spool.root / folders.DAMAGED_NAME).iterdir()] == [data]
    assert folders.spool_files(spool.folder) == [spool.current.path]


async def test_a_row_in_memory_only_keeps_its_start_until_it_is_committed(
    make_shipper, spool, store, make_start, make_record
):
    shipper = make_shipper()
    start = make_start()
    spool.append_start(start)
    shipper.add_unspooled(make_record(start))
    store.is_down = True
    with pytest.raises(StoreUnavailable):
        await shipper.ship(is_all=False)
    assert spool.open_count == 1
    assert not shipper.is_empty
    store.is_down = False

    await shipper.ship(is_all=False)

    assert store.rows[start.id].status_code == 200
    assert spool.open_count == 0
    assert shipper.is_empty


async def test_rows_that_no_longer_stay_in_memory_while_their_file_is_shipped(make_shipper, spool, store, make_record):
    shipper = make_shipper(rows_max=3)
    rows = [make_record() for _ in range(6)]
    shipper.add(rows[0], spool.append_end(rows[0]))
    insert = store.insert

    async def insert_and_more(batch):
        store.insert = insert
        for row in rows[1:]:
            shipper.add(row, spool.append_end(row))
        return await insert(batch)

    store.insert = insert_and_more

    await shipper.ship(is_all=True)

    assert store.rows == {row.id: row for row in rows}
    assert shipper.is_empty


async def test_the_oldest_that_waits(make_shipper, spool, store, make_start, make_record):
    shipper = make_shipper(rows_max=2)
    assert shipper.oldest_us is None
    rows = [make_record(response_time_ms=number) for number in range(5)]
    for row in rows:
        shipper.add(row, spool.append_end(row))
        assert shipper.oldest_us == rows[0].ended_at_us
    assert spool.current.is_evicted
    early = make_record(make_start(), created_at_us=1_000, response_time_ms=1)
    shipper.add_unspooled(early)
    assert shipper.oldest_us == 2_000

    await shipper.ship(is_all=True)

    assert shipper.oldest_us is None
    shipper.add(row := make_record(), spool.append_end(row))
    assert shipper.oldest_us == row.ended_at_us
