"""The writer: order, rotation, the full disk and its reserve, the lock."""

import errno
import os
from contextlib import suppress
from pathlib import Path, PosixPath

import pytest

from aiservice.core.clock import SystemClock
from aiservice.core.errors import ShuttingDown, SpoolFull
from aiservice.usage import folders
from aiservice.usage.frames import Entry, SpoolReader
from aiservice.usage.model import UsageMark, UsageRecord
from aiservice.usage.spool import Spool, SpoolShape

SMALL = SpoolShape(reserve_bytes=4_096)


def entries(folder: Path) -> list[Entry]:
    """All entries of a folder; asserts that nothing is damaged and that the sequence has no gap."""
    found: list[Entry] = []
    next_seq = None
    for path in folders.spool_files(folder):
        reader = SpoolReader(path)
        found += list(reader)
        assert reader.damage is None
        assert reader.header is not None
        assert next_seq in (None, reader.header.first_seq)
        next_seq = reader.next_seq
    return found


def test_a_record_is_in_the_file_when_append_returns(spool, make_start, make_record):
    start = make_start()
    spool.append_start(start)
    mark = UsageMark(start.id, 5, 1_200)
    spool.append_mark(mark)
    record = make_record(start)
    spool.append_end(record)

    assert entries(spool.folder) == [start, mark, record]
    assert (spool.seq, spool.open_count) == (3, 0)


def test_a_mark_of_an_unknown_request_is_nothing(spool, make_start):
    spool.append_mark(UsageMark(make_start().id, 5))

    assert spool.seq == 0


def test_a_new_file_begins_with_what_is_open(spool, make_start, make_record):
    streaming = make_start()
    spool.append_start(streaming)
    mark = UsageMark(streaming.id, 9)
    spool.append_mark(mark)
    while len(spool.files) == 1:
        spool.append_end(make_record())
    end = make_record(streaming, completion_tokens=20)
    spool.append_end(end)

    assert len(entries(spool.folder)) == spool.seq
    assert list(SpoolReader(spool.current.path)) == [streaming, mark, end]


def test_a_request_whose_start_fills_the_file_is_open_in_the_next_one_too(spool, make_start):
    while len(spool.files) == 1:
        last = make_start()
        spool.append_start(last)

    assert last in list(SpoolReader(spool.current.path))


def test_a_request_whose_end_fills_the_file_is_not_open_in_the_next_one(spool, make_start, make_record):
    start = make_start()
    spool.append_start(start)
    spool.current.rotate_at = spool.current.end + 1
    spool.append_end(make_record(start))

    assert len(spool.files) == 2
    assert list(SpoolReader(spool.current.path)) == []


def test_many_open_requests_do_not_rotate_for_ever(spool, make_start):
    for _ in range(100):
        spool.append_start(make_start())

    assert len(spool.files) < 6
    assert spool.open_count == 100


def test_renew_begins_a_file_early_only_when_there_is_much(root, make_record):
    spool = Spool(root, clock=SystemClock(), shape=SMALL)
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
    spool.append_mark(UsageMark(running[1].id, 3))
    for end in ends[1:]:
        spool.append_end(end)
    assert [e for e in entries(spool.folder) if isinstance(e, UsageRecord)] == ends


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

    spool.append_mark(UsageMark(start.id, 3))

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
    ended = [entry for entry in entries(spool.folder) if isinstance(entry, UsageRecord)]
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


def test_a_record_that_does_not_fit_into_the_reserve_stays_open(root, disk, make_start, make_record):
    spool = Spool(root, clock=SystemClock(), shape=SpoolShape(reserve_bytes=400), write=disk.write)
    spool.append_start(start := make_start())
    disk.is_full = True

    with pytest.raises(SpoolFull):
        spool.append_end(make_record(start, error_message="e" * 400))

    assert spool.opened(start.id) == start
    spool.append_end(end := make_record(start))
    assert entries(spool.folder) == [start, start, end]


@pytest.mark.parametrize("writes_part", [False, True])
def test_a_rotation_without_room_goes_on_in_the_old_file(spool, disk, make_record, writes_part):
    disk.is_full, disk.writes_part = True, writes_part

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


class CrowdedPath(PosixPath):
    """A place on a disk that may have no room for another folder."""

    is_full = True

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if CrowdedPath.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().mkdir(mode, parents, exist_ok)


def test_a_disk_without_room_for_the_folder_is_a_full_one(root):
    CrowdedPath.is_full = True
    spool, other = (Spool(CrowdedPath(root), clock=SystemClock(), shape=SMALL) for _ in range(2))
    assert (spool.is_open, spool.is_full, root.exists()) == (False, True, False)
    assert not spool.open()
    spool.publish(5)
    other.close()
    CrowdedPath.is_full = False

    assert spool.open()

    assert (spool.is_open, spool.is_full) == (True, False)


class StolenPath(PosixPath):
    """A place where a lock's file is another one as soon as it was opened."""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        if self.name == folders.LOCK_NAME:
            self.rename(self.with_suffix(".taken"))
            self.touch()
        return super().stat(follow_symlinks=follow_symlinks)


def test_a_folder_that_others_always_take_is_given_up(root):
    root.mkdir()

    with pytest.raises(SpoolFull, match="no spool folder could be locked"):
        Spool(StolenPath(root), clock=SystemClock(), shape=SMALL)


def test_a_folder_whose_lock_cannot_be_made_is_not_left_behind(tmp_path):
    """The path is as long as one may be."""
    root = tmp_path / "spool"
    while len(str(root)) < 4_056:
        root /= "x" * min(200, 4_055 - len(str(root)))

    with pytest.raises(SpoolFull, match="name too long"):
        Spool(root, clock=SystemClock(), shape=SMALL)

    assert list(root.iterdir()) == []


def test_each_spool_has_a_locked_folder_of_its_own(root, spool):
    other = Spool(root, clock=SystemClock(), shape=SMALL)

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
        spool.append_end(make_record())
