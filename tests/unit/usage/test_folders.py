"""Locks that die with their process, and what lies in the spool's root."""

import os
from pathlib import PosixPath

import pytest

from aiservice.usage import folders

IDS = ("01977a2b-0000-7000-8000-00000000000b", "01977a2b-0000-7000-8000-00000000000a")


def test_one_holder_at_a_time(tmp_path):
    first = folders.claim(tmp_path)

    assert first is not None
    assert folders.claim(tmp_path) is None
    os.close(first)
    second = folders.claim(tmp_path)
    assert second is not None
    os.close(second)


def test_a_folder_that_is_gone_cannot_be_claimed(tmp_path):
    assert folders.claim(tmp_path / "gone") is None


def test_remove_leaves_a_folder_that_somebody_else_has_claimed_meanwhile(tmp_path):
    folder = tmp_path / IDS[0]
    folder.mkdir()
    (folder / "other").write_text("")
    lock = folders.claim(folder)
    assert lock is not None
    (folder / folders.LOCK_NAME).unlink()
    newer = folders.claim(folder)

    folders.set_aside(folder / "other", tmp_path)
    folders.remove(folder)

    assert newer is not None
    assert not folder.exists()
    folders.remove(folder)
    os.close(lock)
    os.close(newer)


class ClaimedPath(PosixPath):
    """A folder that somebody claims just before it is removed."""

    def rmdir(self) -> None:
        (self / folders.LOCK_NAME).touch()
        super().rmdir()


def test_remove_leaves_a_folder_that_is_claimed_at_the_last_moment(tmp_path):
    folders.remove(ClaimedPath(tmp_path))

    assert (tmp_path / folders.LOCK_NAME).exists()


def test_a_folder_that_holds_something_is_not_removed(tmp_path):
    folders.file_path(tmp_path, 1).touch()

    with pytest.raises(OSError, match="not empty"):
        folders.remove(tmp_path)


def test_only_worker_folders_count(tmp_path):
    for name in (*IDS, folders.DAMAGED_NAME):
        (tmp_path / name).mkdir()
        folders.file_path(tmp_path / name, 1).write_bytes(b"x" * 100)
    (tmp_path / IDS[0] / folders.RESERVE_NAME).write_bytes(b"x" * 1_000)

    assert [folder.name for folder in folders.worker_folders(tmp_path)] == sorted(IDS)
    assert folders.backlog_bytes(tmp_path) == 200


def test_an_allocation_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / "reserve"
    try:
        folders.allocate(path, 1 << 60)
    except OSError:
        assert not path.exists()
    else:
        raise AssertionError("an exbibyte was allocated")


def test_files_are_in_order_of_their_number(tmp_path):
    for number in (10, 9, 100):
        folders.file_path(tmp_path, number).write_bytes(b"")

    assert [int(path.stem) for path in folders.spool_files(tmp_path)] == [9, 10, 100]


def test_whether_a_folder_is_claimed_is_seen_without_a_trace(tmp_path):
    assert not folders.is_claimed(tmp_path)
    assert list(tmp_path.iterdir()) == []
    lock = folders.claim(tmp_path)
    assert lock is not None

    assert folders.is_claimed(tmp_path)

    os.close(lock)
    assert not folders.is_claimed(tmp_path)
    assert (tmp_path / folders.LOCK_NAME).exists()


def test_the_oldest_moment_of_the_others(tmp_path):
    mine, others = tmp_path / IDS[0], [tmp_path / IDS[1], tmp_path / IDS[0].replace("b", "c")]
    assert folders.oldest_moment_us(tmp_path, but=mine) is None
    for number, folder in enumerate((mine, *others)):
        folder.mkdir()
        lock = folders.claim(folder)
        assert lock is not None
        folders.set_moment(lock, 1_750_000_000_123_456 + number)
        os.close(lock)
    assert folders.oldest_moment_us(tmp_path, but=mine) == 1_750_000_000_123_457

    (others[0] / folders.LOCK_NAME).unlink()

    assert folders.oldest_moment_us(tmp_path, but=mine) == 1_750_000_000_123_458


def test_a_root_that_was_not_made_yet_has_no_folders_and_its_disk_has_room(tmp_path):
    assert list(folders.worker_folders(tmp_path / "spool")) == []
    assert folders.free_bytes(tmp_path / "spool") > 0
