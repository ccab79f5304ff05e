"""What the ledger has is compared while workers live, after they died, and where something is wrong."""

import os

import pytest

from aiservice.core.clock import SystemClock
from aiservice.usage import folders, reconcile, repair
from aiservice.usage.inspection import Inspection
from aiservice.usage.model import Difference, UsageMark
from aiservice.usage.spool import Spool, SpoolShape

SMALL = SpoolShape(file_bytes_max=4_096, reserve_bytes=4_096)


def kill(spool: Spool) -> None:
    os.close(spool._lock)


async def test_of_nothing_all_agrees(store, tmp_path):
    found = await reconcile(store, tmp_path / "never made", from_us=0)

    assert found.agrees
    assert (found.spools, found.set_aside, found.letters) == ([], [], {})


async def test_what_waits_or_runs_in_living_and_dead_spools_is_no_difference(root, store, make_start, make_record):
    living, dead = (Spool(root, clock=SystemClock(), shape=SMALL) for _ in range(2))
    shipped, waiting = make_record(), make_record()
    for spool in (living, dead):
        start = make_start()
        spool.append_start(start)
        spool.append_mark(UsageMark(start.id, 3))
    for record in (shipped, waiting):
        living.append_end(record)
    await store.insert([shipped])
    ended = make_start()
    dead.append_start(ended)
    dead.append_end(make_record(ended))
    kill(dead)

    found = await reconcile(store, root, from_us=0)

    assert found.agrees
    first, second = sorted(found.spools, key=lambda spool: not spool.is_alive)
    assert (first.worker_id, first.is_alive, first.files, first.running, first.waiting) == (
        living.worker_id,
        True,
        1,
        1,
        1,
    )
    assert (second.is_alive, second.running, second.waiting, second.faults) == (False, 1, 1, ())


async def test_many_files_have_one_sequence_and_a_missing_one_is_a_gap(root, store, spool, make_start, make_record):
    spool.append_start(make_start())
    while len(spool.files) < 4:
        spool.append_end(make_record())
    assert (await reconcile(store, root, from_us=0)).spools[0].faults == ()

    folders.spool_files(spool.folder)[1].unlink()

    found = await reconcile(store, root, from_us=0)
    assert not found.agrees
    [fault] = found.spools[0].faults
    assert fault.startswith("0000000003.spool begins with ")


@pytest.mark.parametrize("is_alive", [True, False])
async def test_a_damaged_record_is_a_fault_and_the_next_file_no_second_one(root, store, spool, make_record, is_alive):
    for _ in range(5):
        spool.append_end(make_record())
    spool.rotate()
    spool.append_end(make_record())
    path = folders.spool_files(spool.folder)[0]
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    if not is_alive:
        kill(spool)

    found = await reconcile(store, root, from_us=0)

    assert not found.agrees
    assert found.spools[0].faults == ("0000000001.spool is damaged (corrupt)",)
    assert found.spools[0].waiting == 5


def test_a_record_that_is_being_written_is_read_again(spool, make_record):
    """A reader may see a part of a record: what follows it is not damaged once it is whole."""
    spool.append_end(make_record())
    spool.append_end(make_record())
    path = spool.current.path
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + bytes(20))
    inspection = Inspection(spool.folder, pause=lambda _: path.write_bytes(whole))

    assert len(list(inspection.ended_ids())) == 2
    assert inspection.faults == []


def test_a_file_that_was_shipped_meanwhile_is_no_gap(spool, make_record):
    while len(spool.files) < 4:
        spool.append_end(make_record())
    inspection = Inspection(spool.folder)
    ended = inspection.ended_ids()
    next(ended)
    for path in folders.spool_files(spool.folder)[:2]:
        path.unlink()

    assert len(list(ended)) > 0
    assert (inspection.faults, inspection.file_count) == ([], 3)


def test_a_file_whose_header_was_cut_is_empty(spool, make_record):
    spool.append_end(make_record())
    folders.file_path(spool.folder, 2).write_bytes(b"AISPOOL\n")
    kill(spool)
    inspection = Inspection(spool.folder)

    assert len(list(inspection.ended_ids())) == 1
    assert inspection.faults == []


async def test_letters_and_files_set_aside_are_differences(root, store, spool, make_record):
    await store.bury(make_record(), "it does not fit")
    await store.bury(make_record(), "it does not fit")
    kept = folders.set_aside(spool.current.path, root)

    found = await reconcile(store, root, from_us=0)

    assert not found.agrees
    assert found.letters == {"it does not fit": 2}
    assert found.set_aside == [kept.name]


async def test_a_sum_that_differs_is_a_difference(root, store):
    difference = Difference("ai_usage_totals", 200, {"requests": 1})

    async def differences(from_us: int) -> list[Difference]:
        assert from_us == 7
        return [difference]

    store.differences = differences

    found = await reconcile(store, root, from_us=7)

    assert not found.agrees
    assert found.differences == [difference]


async def test_repair_tries_letters_again(store, make_record):
    fits, poison = make_record(), make_record()
    store.poison = {poison.id}
    await store.bury(fits, "the disk was full")
    await store.bury(poison, "it does not fit")

    done = await repair(store, from_us=0)

    assert (done.revived, done.refused) == (1, 1)
    assert store.rows == {fits.id: fits}
    assert store.dead_letters.keys() == {poison.id}
