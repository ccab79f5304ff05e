"""What dead workers left: ends, lost requests, damaged files, several adopters, a real kill -9."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aiservice.core.clock import SystemClock
from aiservice.usage import folders
from aiservice.usage.delivery import Delivery
from aiservice.usage.model import LedgerCounts, UsageMark
from aiservice.usage.recovery import WORKER_LOST, Adopter, Leftover, lost
from aiservice.usage.spool import Spool, SpoolShape

SMALL = SpoolShape(file_bytes_max=4_096, reserve_bytes=4_096)

# Starts one request after another, ends those with an even number, and says what is done after it is done.
CHILD = """
import itertools, os, sys
from pathlib import Path
from aiservice.core.clock import SystemClock
from aiservice.core.ids import uuid7
from aiservice.usage.model import UsageMark, UsageRecord, UsageStart
from aiservice.usage.spool import Spool, SpoolShape

clock = SystemClock()
spool = Spool(Path(sys.argv[1]), clock=clock, shape=SpoolShape(file_bytes_max=20_000, reserve_bytes=4_096))
for number in itertools.count():
    at_us = clock.now_us()
    id = uuid7(at_us)
    spool.append_start(UsageStart(id, id, "t", None, "/ai/generate", "m", 3, at_us))
    os.write(1, f"start {id}\\n".encode())
    spool.append_mark(UsageMark(id, number))
    if number % 2 == 0:
        spool.append_end(UsageRecord(id, id, "t", None, "/ai/generate", "m", 3, 4, 0, False, 5, 200, None, at_us))
        os.write(1, f"end {id}\\n".encode())
"""


def adopter(root: Path, store, counts: LedgerCounts | None = None) -> Adopter:
    counts = counts or LedgerCounts()
    return Adopter(root, Delivery(store, counts), counts, batch_rows=10)


def kill(spool: Spool) -> None:
    """What the kernel does for a dead process: nothing is flushed, and its locks are free."""
    os.close(spool._lock)


async def test_ends_become_rows_and_starts_become_lost_requests(spool, store, make_start, make_record):
    ended, silent, hit = make_start(), make_start(), make_record(response_cached=True)
    running = make_start(prompt_price_nano=100, completion_price_nano=1_000)
    for start in (ended, running, silent):
        spool.append_start(start)
    spool.append_mark(UsageMark(running.id, 9, 500))
    spool.append_mark(mark := UsageMark(running.id, 17, 1_500))
    end = make_record(ended)
    spool.append_end(end)
    spool.append_end(hit)
    kill(spool)
    counts = LedgerCounts()

    await adopter(spool.root, store, counts).adopt_all()

    assert store.rows == {
        end.id: end,
        hit.id: hit,
        running.id: lost(running, mark),
        silent.id: lost(silent, None),
    }
    row = store.rows[running.id]
    assert (row.status_code, row.error_message, row.prompt_tokens) == (500, WORKER_LOST, running.prompt_tokens)
    assert (row.completion_tokens, row.created_at_us, row.response_time_ms) == (17, running.created_at_us, 1_500)
    assert row.cost_nano == running.prompt_tokens * 100 + 17 * 1_000
    assert (store.rows[silent.id].response_time_ms, store.rows[silent.id].cost_nano) == (0, 0)
    assert (counts.adopted_folders, counts.lost_requests, counts.damaged_files) == (1, 2, 0)
    assert list(spool.root.iterdir()) == []


async def test_a_living_worker_is_left_alone(spool, store, make_start):
    spool.append_start(make_start())

    await adopter(spool.root, store).adopt_all()

    assert store.row_count == 0
    assert spool.folder.exists()


async def test_a_start_carried_over_many_files_is_one_row(spool, store, make_start, make_record):
    running, late = make_start(), make_start()
    spool.append_start(running)
    spool.append_start(late)
    others = []
    while len(spool.files) < 4:
        others.append(make_record())
        spool.append_end(others[-1])
    spool.append_end(make_record(late))
    kill(spool)

    await adopter(spool.root, store).adopt_all()

    assert store.row_count == len(others) + 2
    assert store.rows[running.id].error_message == WORKER_LOST
    assert store.rows[late.id].status_code == 200


async def test_a_row_that_was_shipped_before_the_death_stays_as_it_was(spool, store, make_start, make_record):
    """The end was cut off by damage after its row was committed: the start must not make a second row."""
    start = make_start()
    spool.append_start(start)
    end = make_record(start)
    await store.insert([end])
    kill(spool)

    await adopter(spool.root, store).adopt_all()

    assert store.rows == {start.id: end}
    assert store.row_count == 1


async def test_the_store_is_down_and_comes_back(spool, store, make_record):
    rows = [make_record() for _ in range(25)]
    for row in rows:
        spool.append_end(row)
    kill(spool)
    store.is_down = True
    with pytest.raises(Exception, match="store"):
        await adopter(spool.root, store).adopt_all()
    assert spool.folder.exists()
    store.is_down = False

    await adopter(spool.root, store).adopt_all()

    assert store.row_count == 25
    assert not spool.folder.exists()


async def test_several_adopters_make_each_row_once(root, store, make_record):
    spools = [Spool(root, clock=SystemClock(), shape=SMALL) for _ in range(4)]
    for spool in spools:
        for _ in range(30):
            spool.append_end(make_record())
        kill(spool)
    counts = [LedgerCounts() for _ in range(5)]

    await asyncio.gather(*(adopter(root, store, each).adopt_all() for each in counts))

    assert store.row_count == 120
    assert sum(each.adopted_folders for each in counts) == 4
    assert sum(each.repeated_rows for each in counts) == 0
    assert list(root.iterdir()) == []


async def test_a_damaged_file_is_cut_and_kept_aside(spool, store, make_record):
    rows = [make_record() for _ in range(10)]
    for row in rows:
        spool.append_end(row)
    kill(spool)
    path = spool.current.path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    counts = LedgerCounts()

    await adopter(spool.root, store, counts).adopt_all()

    kept = spool.root / folders.DAMAGED_NAME / f"{spool.worker_id}-{path.name}"
    assert kept.read_bytes() == data
    assert 0 < store.row_count < 10
    assert list(store.rows.values()) == rows[: store.row_count]
    assert counts.damaged_files == 1
    assert not spool.folder.exists()


async def test_a_record_that_was_cut_by_the_death_is_no_damage(spool, store, make_record):
    rows = [make_record() for _ in range(3)]
    for row in rows:
        spool.append_end(row)
    kill(spool)
    os.truncate(spool.current.path, spool.current.end - 5)
    counts = LedgerCounts()

    await adopter(spool.root, store, counts).adopt_all()

    assert list(store.rows.values()) == rows[:2]
    assert counts.damaged_files == 0
    assert list(spool.root.iterdir()) == []


async def test_a_folder_that_cannot_be_locked_does_not_hold_up_others(root, spool, store, make_record, caplog):
    spool.append_end(make_record())
    kill(spool)
    odd = root / "01977a2b-0000-7000-8000-00000000000a"
    (odd / folders.LOCK_NAME).mkdir(parents=True)

    await adopter(root, store).adopt_all()

    assert store.row_count == 1
    assert list(root.iterdir()) == [odd]
    assert "cannot be adopted now: Is a directory" in caplog.text


async def test_a_folder_without_files_is_removed(root, store):
    (root / "01977a2b-0000-7000-8000-00000000000a").mkdir(parents=True)

    await adopter(root, store).adopt_all()

    assert list(root.iterdir()) == []


def test_a_file_without_header_has_no_rows(spool, make_record):
    spool.append_end(make_record())
    path = folders.file_path(spool.folder, 9)
    path.write_bytes(b"AISPOOL")
    leftover = Leftover([*folders.spool_files(spool.folder)])

    assert len(list(leftover.rows())) == 1
    assert leftover.damaged == []


def test_a_gap_between_files_is_said(spool, make_record, caplog):
    for _ in range(3):
        spool.append_end(make_record())
        spool.rotate()
    paths = folders.spool_files(spool.folder)
    whole = list(Leftover(paths).rows())
    assert caplog.records == []

    rest = list(Leftover([paths[0], paths[2]]).rows())

    assert (len(whole), len(rest)) == (3, 2)
    assert "sequence 2 is followed by" in caplog.text


async def test_a_worker_that_makes_its_folder_while_others_adopt_gets_one(root, store):
    """A folder between its making and its locking looks like an orphan."""
    made: list[Spool] = []

    async def make() -> None:
        made.append(await asyncio.to_thread(lambda: Spool(root, clock=SystemClock(), shape=SMALL)))

    root.mkdir()
    for _ in range(10):
        await asyncio.gather(make(), make(), *(adopter(root, store).adopt_all() for _ in range(3)))

    assert {spool.folder for spool in made} == set(folders.worker_folders(root))
    assert len(made) == 20


async def test_kill_9_loses_nothing(root, store):
    with subprocess.Popen([sys.executable, "-c", CHILD, str(root)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(400)]
        os.kill(child.pid, signal.SIGKILL)
        said += [line for line in child.stdout if line.endswith("\n")]
    started = {line.split()[1] for line in said if line.startswith("start")}
    ended = {line.split()[1] for line in said if line.startswith("end")}

    await adopter(root, store).adopt_all()

    rows = store.rows
    assert len(started) > 200
    assert started <= rows.keys()
    assert len(rows.keys() - started) <= 1
    assert store.row_count == len(rows)
    assert ended <= {id for id, row in rows.items() if row.status_code == 200}
    lost_ids = {id for id, row in rows.items() if row.error_message == WORKER_LOST}
    assert len((started - ended) - lost_ids) <= 1
    assert sum(rows[id].completion_tokens % 2 == 0 for id in lost_ids) <= 1
    assert list(root.iterdir()) == []
