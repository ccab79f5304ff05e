"""The ledger as the corridor uses it: run, full disk, store down, shutdown, reads."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from aiservice.core.clock import ManualClock, SystemClock
from aiservice.core.errors import FieldInvalid, ShuttingDown, SpoolFull
from aiservice.core.settings import UsageSettings
from aiservice.usage import Ledger, Spool, SpoolShape, folders
from aiservice.usage.model import NUMBER_MAX
from aiservice.usage.recovery import WORKER_LOST, Leftover

NOW_US = 1_750_000_000_000_000
SMALL = SpoolShape(file_bytes_max=4_096, reserve_bytes=8_192)
FAST = UsageSettings(batch_rows=50, batch_interval_ms=10)


@pytest.fixture
def ledger(store, spool) -> Ledger:
    return Ledger(store, spool, FAST)


@asynccontextmanager
async def running(ledger: Ledger) -> AsyncIterator[None]:
    work = asyncio.create_task(ledger.run())
    yield
    await ledger.aclose()
    await work


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():
            await asyncio.sleep(0.005)


async def test_every_request_becomes_one_row(ledger, store, spool, make_start, make_record):
    async with running(ledger):
        rows = []
        for number in range(120):
            start = make_start()
            ledger.start(start)
            ledger.progress(start.id, number)
            rows.append(make_record(start))
            ledger.end(rows[-1])
            rows.append(make_record(response_cached=True))
            ledger.end(rows[-1])
        await until(lambda: store.row_count == 240)

    assert store.rows == {row.id: row for row in rows}
    assert ledger.counts.shipped_rows == 240
    assert max(store.batches) <= 50
    assert list(spool.root.iterdir()) == []


async def test_a_lone_row_does_not_wait_for_others(ledger, store, make_record):
    async with running(ledger):
        ledger.end(make_record())
        await until(lambda: store.row_count == 1)


async def test_an_end_said_twice_is_one_row(ledger, store, make_start, make_record):
    start = make_start()
    ledger.start(start)
    ledger.end(make_record(start))
    ledger.end(make_record(start, status_code=500))
    await ledger.aclose()

    assert store.row_count == 1
    assert store.rows[start.id].status_code == 200


async def test_the_end_keeps_the_time_of_the_start(ledger, store, make_start, make_record):
    start = make_start()
    ledger.start(start)
    ledger.end(make_record(start, created_at_us=start.created_at_us + 5))
    await ledger.aclose()

    assert store.rows[start.id].created_at_us == start.created_at_us


async def test_text_and_numbers_that_nothing_can_hold_are_made_to_fit(ledger, store, make_start, make_record):
    start = make_start(user_id="\ud800", prompt_tokens=1 << 70)
    ledger.start(start)
    ledger.end(make_record(start, user_id="\ud800", cost_nano=1 << 70, error_message="a\0b\n" + "c" * 600))
    await ledger.aclose()

    row = store.rows[start.id]
    assert (row.user_id, row.cost_nano, row.error_message) == ("?", NUMBER_MAX, "a b " + "c" * 496)


async def test_the_store_is_down_and_comes_back(ledger, store, make_record):
    store.is_down = True
    async with running(ledger):
        rows = [make_record() for _ in range(70)]
        for row in rows:
            ledger.end(row)
        await until(lambda: bool(store.batches))
        assert store.row_count == 0
        store.is_down = False
        await until(lambda: store.row_count == 70)

    assert ledger.counts.dead_letters == 0


async def test_a_fault_in_a_loop_does_not_end_it(ledger, store, make_record, caplog):
    class Odd(Exception):
        pass

    insert, store.insert = store.insert, None

    async def fails_once(rows):
        store.insert = insert
        raise Odd

    store.insert = fails_once
    async with running(ledger):
        ledger.end(make_record())
        await until(lambda: store.row_count == 1)

    assert "a loop of the ledger failed" in caplog.text


async def test_on_a_full_disk_new_requests_are_refused_and_running_ones_recorded(
    ledger, store, disk, make_start, make_record
):
    async with running(ledger):
        starts = [make_start() for _ in range(10)]
        for start in starts:
            ledger.start(start)
        disk.is_full = True
        ledger.end(make_record(starts[0]))
        assert ledger.is_full
        assert ledger.health.is_degraded
        with pytest.raises(SpoolFull):
            ledger.start(make_start())
        with pytest.raises(SpoolFull):
            ledger.end(make_record())
        for start in starts[1:]:
            ledger.end(make_record(start))
        await until(lambda: store.row_count == 10)
        disk.is_full = False
        await until(lambda: not ledger.is_full)
        ledger.start(late := make_start())
        ledger.end(make_record(late))

    assert store.row_count == 11
    assert ledger.counts.unspooled_rows == 0


async def test_when_the_reserve_is_used_up_too_the_row_still_comes(ledger, store, spool, disk, make_start, make_record):
    starts = [make_start() for _ in range(40)]
    for start in starts:
        ledger.start(start)
    disk.is_full = True
    for start in starts:
        ledger.end(make_record(start))

    await ledger.aclose()

    assert ledger.counts.unspooled_rows > 0
    assert store.row_count == 40
    assert {row.status_code for row in store.rows.values()} == {200}
    assert list(spool.root.iterdir()) == []


async def test_a_backlog_above_the_cap_refuses_new_requests(store, spool, make_start, caplog):
    store.is_down = True
    ledger = Ledger(store, spool, UsageSettings(spool_bytes_max=1_048_576, batch_interval_ms=10))
    work = asyncio.create_task(ledger.run())
    other = spool.root / "01977a2b-0000-7000-8000-00000000000a"
    other.mkdir()
    lock = folders.claim(other)
    assert lock is not None
    folders.file_path(other, 1).write_bytes(bytes(600_000))
    await until(lambda: ledger.health.is_degraded)
    assert not ledger.is_full
    await until(lambda: "the usage spool is degraded" in caplog.text)
    folders.file_path(other, 2).write_bytes(bytes(600_000))
    await until(lambda: ledger.is_full)
    assert ledger.health.backlog_bytes > 1_048_576
    with pytest.raises(SpoolFull):
        ledger.start(make_start())

    await ledger.aclose()
    await work
    os.close(lock)


async def test_what_the_store_does_not_take_in_time_waits_for_the_next_worker(
    ledger, store, spool, make_start, make_record
):
    store.is_down = True
    async with running(ledger):
        ended, open_start = make_start(), make_start()
        ledger.start(ended)
        ledger.end(make_record(ended))
        ledger.start(open_start)

    rows = {row.id: row for row in Leftover(folders.spool_files(spool.folder)).rows()}
    assert rows[ended.id].status_code == 200
    assert rows[open_start.id].error_message == WORKER_LOST


async def test_a_store_that_hangs_does_not_hold_up_the_end(store, spool, make_record):
    async def hangs(rows):
        await asyncio.sleep(3_600)

    store.insert = hangs
    ledger = Ledger(store, spool, FAST)
    work = asyncio.create_task(ledger.run())
    ledger.end(make_record())
    await asyncio.sleep(0.05)

    await ledger.aclose(timeout_s=0.05)
    await work

    assert len(list(Leftover(folders.spool_files(spool.folder)).rows())) == 1


async def test_after_the_close_everything_is_refused(ledger, make_start, make_record):
    await ledger.aclose()

    with pytest.raises(ShuttingDown):
        ledger.start(make_start())
    with pytest.raises(ShuttingDown):
        ledger.end(make_record())


async def test_what_a_dead_worker_left_is_adopted(ledger, store, spool, make_start):
    dead = type(spool)(spool.root, clock=_Clock(), shape=spool._shape)
    start = make_start()
    dead.append_start(start)
    os.close(dead._lock)

    async with running(ledger):
        await until(lambda: ledger.counts.adopted_folders == 1)

    assert not dead.folder.exists()
    assert store.rows[start.id].error_message == WORKER_LOST
    assert ledger.counts.lost_requests == 1


async def test_as_of_is_when_the_oldest_row_that_waits_ended(store, root, disk, make_record):
    clock = ManualClock(NOW_US)
    ledger = Ledger(store, Spool(root, clock=clock, shape=SMALL), FAST)
    assert await ledger.as_of_us() == NOW_US
    store.is_down = True
    async with running(ledger):
        ledger.end(row := make_record(created_at_us=NOW_US - 5_000_000, response_time_ms=2_000))
        await until(lambda: bool(store.batches))
        assert await ledger.as_of_us() == row.ended_at_us - 1_000 == NOW_US - 3_001_000
        store.is_down = False
        await until(lambda: store.row_count == 1)
        assert await ledger.as_of_us() == NOW_US


async def test_as_of_knows_of_the_other_workers(store, root):
    clock = ManualClock(NOW_US)
    mine, other = (Ledger(store, Spool(root, clock=clock, shape=SMALL), FAST) for _ in range(2))
    clock.advance_s(60)
    async with running(other):
        await until(lambda: folders.oldest_moment_us(root, but=mine._spool.folder) == clock.now_us())
        clock.advance_s(60)
        assert await mine.as_of_us() == clock.now_us() - 60_000_000
        await until(lambda: folders.oldest_moment_us(root, but=mine._spool.folder) == clock.now_us())
        assert await mine.as_of_us() == clock.now_us()
    await mine.aclose()


async def test_a_dead_worker_holds_as_of_back_until_it_is_adopted(store, root, make_record):
    clock = ManualClock(NOW_US)
    dead, ledger = Spool(root, clock=clock, shape=SMALL), Ledger(store, Spool(root, clock=clock, shape=SMALL), FAST)
    dead.publish(NOW_US - 9)
    dead.append_end(make_record())
    os.close(dead._lock)
    assert await ledger.as_of_us() == NOW_US - 9

    async with running(ledger):
        await until(lambda: ledger.counts.adopted_folders == 1)
        await until(lambda: not dead.folder.exists())
        assert await ledger.as_of_us() == NOW_US


@pytest.mark.parametrize("is_closed_at_once", [True, False])
async def test_a_worker_that_starts_on_a_full_disk_refuses_until_there_is_room(
    store, root, disk, make_start, make_record, is_closed_at_once, caplog
):
    disk.is_full = True
    spool = Spool(root, clock=SystemClock(), shape=SMALL, write=disk.write)
    assert "the usage spool cannot begin" in caplog.text
    ledger = Ledger(store, spool, FAST)
    async with running(ledger):
        assert ledger.is_full
        assert ledger.health.is_degraded
        with pytest.raises(SpoolFull):
            ledger.start(make_start())
        with pytest.raises(SpoolFull):
            ledger.end(make_record())
        if not is_closed_at_once:
            await until(lambda: "the usage spool is degraded" in caplog.text)
            disk.is_full = False
            await until(lambda: not ledger.is_full)
            assert not ledger.health.is_full
            ledger.start(start := make_start())
            ledger.end(make_record(start))
            await until(lambda: store.row_count == 1)

    assert list(root.iterdir()) == []


async def test_a_disk_that_fails_at_the_end_does_not_hold_up_the_close(store, spool, make_record, caplog):
    broken, writable = os.pipe()
    ledger = Ledger(store, spool, FAST)
    ledger.end(make_record())
    os.dup2(writable, spool.current.descriptor)

    await ledger.aclose()

    assert "closed without a last sync" in caplog.text
    assert store.row_count == 1
    os.close(broken)
    os.close(writable)


async def test_synced_returns_when_all_is_on_disk(store, spool, make_record):
    ledger = Ledger(store, spool, UsageSettings(is_durable=True))
    ledger.end(make_record())

    await ledger.synced()

    assert ledger.is_durable
    assert not ledger._sync.is_dirty
    await ledger.aclose()


async def test_reads_pass_through(ledger, make_record):
    row = make_record()
    ledger.end(row)
    await ledger.aclose()
    span = {"from_us": row.created_at_us, "to_us": row.created_at_us + 1}

    assert await ledger.page(tenant_id="tenant-1") == [row]
    assert await ledger.page(tenant_id="tenant-1", cursor=row.id) == []
    assert [group.requests for group in await ledger.series(tenant_id="tenant-1", group_by="day", **span)] == [1]
    assert (await ledger.totals()).requests == 1
    with pytest.raises(FieldInvalid) as caught:
        await ledger.page(tenant_id="tenant-1", cursor="x' or 1=1")
    assert caught.value.param == "cursor"


class _Clock:
    def now_us(self) -> int:
        return 1_750_000_000_000_000

    def monotonic_s(self) -> float:
        return 0.0
