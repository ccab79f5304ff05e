"""A SQLite file that one room owns, all workers share, and nobody mourns: unreadable, it is made anew."""

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from aiservice.core.errors import StoreUnavailable
from aiservice.stores.databases import open_hot

LOCK_WAIT_S_MAX = 2.0
LOCK_POLL_S = 0.005

A = TypeVar("A")
T = TypeVar("T")
logger = logging.getLogger(__name__)


class HotFile:
    """Runs a room's work on its file, inline: each piece of work is one short transaction of some 10 us.

    `schema` is the text that makes the tables and `version` its number: a file of another version is made anew too.
    A worker that finds the file ruined deletes and remakes it; the others notice by `follow` or by their own errors.
    """

    def __init__(
        self,
        path: Path,
        *,
        schema: str,
        version: int,
        synchronous: str = "OFF",
        lock_wait_s: float = LOCK_WAIT_S_MAX,
        on_open: Callable[[], None] | None = None,
    ) -> None:
        """Opens or makes the file; raises `StoreUnavailable` where that cannot be done.

        `lock_wait_s` bounds the wait for another worker that is opening it, which takes some 10 ms. `on_open` is called
        each time that the file was opened, at first and when it was made anew, while no other worker can open it.
        """
        self._path = path
        self._schema = schema
        self._version = version
        self._synchronous = synchronous
        self._lock_wait_s = lock_wait_s
        self._on_open = on_open
        self._inode: int | None = None
        self._connection: sqlite3.Connection
        self._cursor: sqlite3.Cursor
        try:
            self._open(is_ruined=False)
        except (sqlite3.Error, OSError) as error:
            raise _unavailable(error) from error

    @property
    def cursor(self) -> sqlite3.Cursor:
        return self._cursor

    def run(self, work: Callable[[A], T], argument: A) -> T:
        """The work's result. Work that failed is rolled back, and done once more if the file had to be made anew.

        Raises `StoreUnavailable` when the file is locked for longer than 50 ms, the disk is full and the like.
        """
        try:
            return self._attempt(work, argument)
        except sqlite3.Error as error:
            self._recover(error)
        try:
            return self._attempt(work, argument)
        except sqlite3.Error as error:
            raise _unavailable(error) from error

    def follow(self) -> None:
        """Goes over to the file that another worker has made anew, if one has; costs one look at the folder."""
        if _inode_of(self._path) == self._inode:
            return
        try:
            self._open(is_ruined=False)
        except (sqlite3.Error, OSError) as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        self._connection.close()

    def _attempt(self, work: Callable[[A], T], argument: A) -> T:
        try:
            return work(argument)
        except BaseException:
            # SQLite ends some failed transactions by itself, and a closed or ruined file cannot end one.
            with suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._cursor.execute("rollback")
            raise

    def _recover(self, error: sqlite3.Error) -> None:
        """Makes the file anew if it is at fault, else raises."""
        if not hasattr(error, "sqlite_errorcode"):
            # Not SQLite's word but Python's: a closed connection or a wrong type is our own mistake.
            raise error
        if not _is_ruin(error):
            raise _unavailable(error) from error
        logger.warning("%s cannot be read and is made anew: %s", self._path.name, error)
        try:
            self._open(is_ruined=True)
        except (sqlite3.Error, OSError) as again:
            raise _unavailable(again) from again

    def _open(self, *, is_ruined: bool) -> None:
        with self._alone():
            if is_ruined and _inode_of(self._path) == self._inode:
                self._delete()
            connection = self._connect()
            if self._on_open is not None:
                self._on_open()
            old = None if self._inode is None else self._connection
            self._connection = connection
            self._cursor = connection.cursor()
            self._inode = _inode_of(self._path)
        if old is not None:
            old.close()

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._connect_once()
        except sqlite3.DatabaseError as error:
            if not _is_ruin(error):
                raise
            logger.warning("%s cannot be read and is made anew: %s", self._path.name, error)
        self._delete()
        return self._connect_once()

    def _connect_once(self) -> sqlite3.Connection:
        connection = open_hot(self._path, synchronous=self._synchronous)
        (version,) = connection.execute("pragma user_version").fetchone()
        if version == self._version:
            return connection
        if version != 0:
            connection.close()
            self._delete()
            connection = open_hot(self._path, synchronous=self._synchronous)
        connection.executescript(f"begin;{self._schema};pragma user_version = {self._version:d};commit")
        return connection

    def _delete(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one worker at a time opens or remakes the file; changing the journal mode does not wait by itself."""
        with self._path.with_name(self._path.name + ".lock").open("a") as lock:
            waits = max(1, round(self._lock_wait_s / LOCK_POLL_S))
            while not _try_lock(lock.fileno()):
                waits -= 1
                if waits == 0:
                    raise TimeoutError(f"{self._path.name}.lock is held by another process")
                time.sleep(LOCK_POLL_S)
            yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _inode_of(path: Path) -> int | None:
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - on the hot path, and half the price
    except FileNotFoundError:
        return None


def _is_ruin(error: sqlite3.Error) -> bool:
    """Whether the file itself is at fault: damaged, no database, without our tables, or deleted under us."""
    code = error.sqlite_errorcode
    return code == sqlite3.SQLITE_READONLY_DBMOVED or code & 0xFF in (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,
    )


def _unavailable(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(detail=f"{type(error).__name__}: {error}", retry_after_s=1)
