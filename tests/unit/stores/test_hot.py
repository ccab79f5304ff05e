"""A hot file survives damage, deletion, another version and a lock, and its users agree on one file."""

import fcntl
import sqlite3
import threading
from pathlib import Path

import pytest

from aiservice.core.errors import StoreUnavailable
from aiservice.stores.databases import open_hot
from aiservice.stores.hot import HotFile

SCHEMA = "create table notes (text text not null);"


def open_file(path: Path, *, version: int = 1) -> HotFile:
    return HotFile(path, schema=SCHEMA, version=version, lock_wait_s=0.2)


def add(file: HotFile, text: str) -> None:
    file.run(lambda text: file.cursor.execute("insert into notes (text) values (?)", (text,)), text)


def notes(file: HotFile) -> list[str]:
    rows = file.run(lambda _: file.cursor.execute("select text from notes order by text").fetchall(), None)
    return [text for (text,) in rows]


def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    file = open_file(tmp_path / "hot.db")
    add(file, "kept")
    file.close()
    assert notes(open_file(tmp_path / "hot.db")) == ["kept"]


def test_a_file_that_is_no_database_is_made_anew_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "hot.db"
    path.write_bytes(b"this is no database" * 1000)
    file = open_file(path)
    assert notes(file) == []
    add(file, "works")
    assert notes(file) == ["works"]


def test_a_file_of_another_version_is_made_anew(tmp_path: Path) -> None:
    old = open_file(tmp_path / "hot.db", version=1)
    add(old, "old")
    old.close()
    assert notes(open_file(tmp_path / "hot.db", version=2)) == []


def damage(path: Path) -> None:
    """Overwrites everything behind the file's header, in the database and in what is not yet in it."""
    with open_hot(path, synchronous="OFF") as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xee" * (size - 100))


def test_a_file_damaged_in_use_is_made_anew_and_every_user_goes_over_to_it(tmp_path: Path) -> None:
    path = tmp_path / "hot.db"
    first, second = open_file(path), open_file(path)
    add(first, "lost")
    # A connection that keeps pages in memory would not see the damage before it reads the file again.
    for file in (first, second):
        file.cursor.execute("pragma cache_size = 0")
    damage(path)
    add(first, "new")
    assert notes(first) == ["new"]
    second.follow()
    assert notes(second) == ["new"]
    add(second, "both")
    assert notes(first) == ["both", "new"]


def test_a_deleted_file_is_made_anew_by_the_first_that_looks(tmp_path: Path) -> None:
    path = tmp_path / "hot.db"
    file = open_file(path)
    add(file, "lost")
    for part in tmp_path.glob("hot.db*"):
        part.unlink()
    file.follow()
    assert notes(file) == []


def test_a_file_without_its_tables_is_made_anew(tmp_path: Path) -> None:
    file = open_file(tmp_path / "hot.db")
    file.cursor.execute("drop table notes")
    assert notes(file) == []


def test_following_an_unchanged_file_keeps_the_connection(tmp_path: Path) -> None:
    file = open_file(tmp_path / "hot.db")
    cursor = file.cursor
    file.follow()
    assert file.cursor is cursor


def test_a_locked_file_is_unavailable_and_works_again_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "hot.db"
    file = open_file(path)
    other = open_hot(path, synchronous="OFF")
    other.execute("begin immediate")
    with pytest.raises(StoreUnavailable) as caught:
        add(file, "refused")
    assert caught.value.retry_after_s == 1
    other.execute("rollback")
    add(file, "taken")
    assert notes(file) == ["taken"]


def test_work_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    file = open_file(tmp_path / "hot.db")

    def fail(_: None) -> None:
        file.cursor.execute("begin immediate")
        file.cursor.execute("insert into notes (text) values ('half')")
        raise KeyError("half way")

    with pytest.raises(KeyError):
        file.run(fail, None)
    assert notes(file) == []


def test_a_closed_file_is_a_mistake_and_says_so(tmp_path: Path) -> None:
    file = open_file(tmp_path / "hot.db")
    file.close()
    with pytest.raises(sqlite3.ProgrammingError):
        notes(file)


def test_a_folder_that_is_missing_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        open_file(tmp_path / "nowhere" / "hot.db")


def test_a_folder_that_vanishes_in_use_is_unavailable(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    file = open_file(folder / "hot.db")
    for part in folder.iterdir():
        part.unlink()
    folder.rmdir()
    with pytest.raises(StoreUnavailable):
        file.follow()


def test_a_value_of_a_wrong_type_is_a_mistake_and_says_so(tmp_path: Path) -> None:
    file = open_file(tmp_path / "hot.db")
    add(file, "kept")
    with pytest.raises(sqlite3.Error, match=r"not supported|unsupported"):
        file.run(lambda _: file.cursor.execute("insert into notes (text) values (?)", (object(),)), None)
    assert notes(file) == ["kept"]


def test_work_that_fails_on_a_new_file_too_is_unavailable(tmp_path: Path) -> None:
    file = open_file(tmp_path / "hot.db")
    with pytest.raises(StoreUnavailable, match="no such table"):
        file.run(lambda _: file.cursor.execute("select * from elsewhere"), None)
    assert notes(file) == []


def test_a_file_that_one_program_keeps_for_itself_is_unavailable_and_unharmed(tmp_path: Path) -> None:
    path = tmp_path / "hot.db"
    file = open_file(path)
    add(file, "kept")
    file.close()
    owner = sqlite3.connect(path, isolation_level=None)
    owner.execute("pragma locking_mode = exclusive")
    owner.execute("begin immediate")
    with pytest.raises(StoreUnavailable, match="locked"):
        open_file(path)
    owner.execute("rollback")
    owner.close()
    assert notes(open_file(path)) == ["kept"]


def test_one_worker_waits_while_another_opens_the_file(tmp_path: Path) -> None:
    with (tmp_path / "hot.db.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        release = threading.Timer(0.03, fcntl.flock, (lock, fcntl.LOCK_UN))
        release.start()
        assert notes(open_file(tmp_path / "hot.db")) == []
        release.join()


def test_a_worker_does_not_wait_for_ever_for_another(tmp_path: Path) -> None:
    with (tmp_path / "hot.db.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match="held by another process"):
            open_file(tmp_path / "hot.db")


def test_a_ruined_file_that_cannot_be_made_anew_is_unavailable(tmp_path: Path) -> None:
    file = open_file(tmp_path / "hot.db")
    file.cursor.execute("drop table notes")
    with (tmp_path / "hot.db.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match="held by another process"):
            notes(file)
    assert notes(file) == []
