"""The writer: order, rotation, the full disk and its reserve, the lock."""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from aiservice.core.clock import SystemClock
from aiservice.core.errors import ShuttingDown, SpoolFull
from aiservice.usage import folders
from aiservice.usage.frames import EndEntry, Entry, ProgressEntry, SpoolReader, StartEntry
from aiservice.usage.spool import Spool, SpoolShape


def entries(folder: Path) -> list[Entry]:
    """All entries of a folder; asserts that nothing is damaged and that the sequence has no gap."""
    found: list[Entry] = []
    for path in folders.spool_files(folder):
        reader = SpoolReader(path)
        found += list(reader)
        assert reader.damage is None
    assert [entry.seq for entry in found] == list(range(found[0].seq, found[0].seq + len(found)))
    return found


def test_a_record_is_in_the_file_when_append_returns(spool, make_start, make_record):
    start = make_start()
    spool.append_start(start)
    spool.append_progress(start.id, 5)
    record = make_record(start)
    spool.append_end(record)

    first, second, third = entries(spool.folder)

    assert isinstance(first, StartEntry)
    assert first.start() == start
    assert second == ProgressEntry(2, start.id, 5)
    assert isinstance(third, EndEntry)
    assert third.record() == record
    assert (spool.seq, spool.open_count) == (3, 0)


def test_progress_of_an_unknown_request_is_nothing(spool, make_start):
    spool.append_progress(make_start().id, 5)

    assert spool.seq == 0


def test_a_new_file_begins_with_what_is_open(spool, make_start, make_record):
    streaming = make_start()
    spool.append_start(streaming)
    spool.append_progress(streaming.id, 9)
    while len(spool.files) == 1:
        spool.append_end(make_record())
    spool.append_end(make_record(streaming, completion_tokens=20))

    last = list(SpoolReader(spool.current.path))

    assert len(entries(spool.folder)) == spool.seq
    assert isinstance(last[0], StartEntry)
    assert last[0].start() == streaming
    assert isinstance(last[1], ProgressEntry)
    assert (last[1].id, last[1].completion_tokens) == (streaming.id, 9)
    assert isinstance(last[2], EndEntry)
    assert len(last) == 3


def test_many_open_requests_do_not_rotate_for_ever(spool, make_start):
    for _ in range(100):
        spool.append_start(make_start())

    assert len(spool.files) < 6
    assert spool.open_count == 100


def test_renew_begins_a_file_early_only_when_there_is_much(root, make_record):
    spool = Spool(root, clock=SystemClock(), shape=SpoolShape(reserve_bytes=4_096))
    spool.append_end(make_record())
    spool.renew()
    assert len(spool.files) == 1
    while spool.current.end < 1_100_000:
        spool.append_end(make_record(error_message="e" * 100))

    spool.renew()
    spool.renew()

    assert len(spool.files) == 2


@pytest.mark.parametrize("writes_part", [False, True])
def test_on_a_full_disk_running_requests_end_in_the_reserve(spool, disk, make_start, make_record, writes_part):
    running = [make_start() for _ in range(5)]
    for start in running:
        spool.append_start(start)
    disk.is_full, disk.writes_part = True, writes_part

    ends = [make_record(start) for start in running]
    spool.append_end(ends[0])

    assert spool.is_full
    with pytest.raises(SpoolFull) as caught:
        spool.append_start(make_start())
    assert (caught.value.status, caught.value.retry_after_s) == (503, 5)
    with pytest.raises(SpoolFull):
        spool.append_end(make_record())
    spool.append_progress(running[1].id, 3)
    for end in ends[1:]:
        spool.append_end(end)
    assert [e.record() for e in entries(spool.folder) if isinstance(e, EndEntry)] == ends


def test_a_start_that_finds_the_disk_full_still_gets_in(spool, disk, make_start):
    disk.is_full = True

    spool.append_start(make_start())

    assert spool.is_full
    assert spool.open_count == 1


def test_a_mark_that_finds_the_disk_full_ends_no_stream(spool, disk, make_start, make_record):
    start = make_start()
    spool.append_start(start)
    disk.is_full = True
    os.ftruncate(spool._reserve, 0)

    spool.append_progress(start.id, 3)

    assert spool.is_full
    assert spool.open_count == 1


def test_when_the_reserve_is_used_up_the_request_stays_open(spool, disk, make_start, make_record):
    starts = [make_start() for _ in range(40)]
    for start in starts:
        spool.append_start(start)
    disk.is_full = True
    left = 40
    with suppress(SpoolFull):
        for start in starts:
            spool.append_end(make_record(start))
            left -= 1

    assert spool.open_count == left
    assert 0 < left < 40
    ended = [entry for entry in entries(spool.folder) if isinstance(entry, EndEntry)]
    assert len(ended) == 40 - left


def test_room_again_brings_new_requests_back(spool, disk, make_start, make_record):
    start = make_start()
    spool.append_start(start)
    disk.is_full = True
    spool.append_end(make_record(start))
    disk.is_full = False

    spool.set_reserve(spool.allocate_reserve())
    spool.append_start(make_start())

    assert not spool.is_full
    assert len(entries(spool.folder)) == spool.seq


def test_a_rotation_without_room_goes_on_in_the_old_file(spool, disk, make_record):
    disk.is_full = True

    assert not spool.rotate()

    disk.is_full = False
    spool.append_end(make_record())
    assert len(spool.files) == 1
    assert len(entries(spool.folder)) == 1


def test_above_the_cap_nothing_new_is_taken(spool, make_start, make_record):
    running = make_start()
    spool.append_start(running)
    spool.set_over_cap(True)

    with pytest.raises(SpoolFull):
        spool.append_start(make_start())
    spool.append_end(make_record(running))
    spool.set_over_cap(False)
    spool.append_start(make_start())


def test_no_reserve_means_full_from_the_start(root, make_start):
    spool = Spool(root, clock=SystemClock(), shape=SpoolShape(reserve_bytes=1 << 60))

    with pytest.raises(SpoolFull):
        spool.append_start(make_start())


def test_a_folder_that_cannot_be_made_is_a_full_spool(tmp_path):
    (tmp_path / "spool").write_text("a file stands where the folder should be")

    with pytest.raises(SpoolFull, match="exists"):
        Spool(tmp_path / "spool", clock=SystemClock())


def test_each_spool_has_a_locked_folder_of_its_own(root, spool):
    other = Spool(root, clock=SystemClock(), shape=SpoolShape(reserve_bytes=4_096))

    assert other.folder != spool.folder
    assert folders.claim(spool.folder) is None


def test_close_removes_a_folder_that_nobody_needs(spool, root):
    spool.rotate()
    spool.close()

    assert list(root.iterdir()) == []


def test_close_leaves_what_is_open_for_adoption(spool, make_start):
    start = make_start()
    spool.append_start(start)
    spool.close()

    lock = folders.claim(spool.folder)
    assert lock is not None
    os.close(lock)
    assert len(entries(spool.folder)) == 1
    assert not (spool.folder / folders.RESERVE_NAME).exists()


def test_a_closed_spool_refuses(spool, make_start, make_record):
    spool.close()

    with pytest.raises(ShuttingDown):
        spool.append_start(make_start())
    with pytest.raises(ShuttingDown):
        spool.append_end(replace(make_record()))
