"""Brings the main database to the revision that this version of the service needs, and back."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from aiservice.core.errors import StartRefused
from aiservice.core.settings import Settings
from aiservice.stores import migrate_postgres as owner
from aiservice.stores.databases import BUSY_TIMEOUT_MS, MAIN_FILE, main_url
from aiservice.stores.revisions import BASE, HEAD, SCRIPTS_DIR, apply

__all__ = ["BASE", "HEAD", "SCRIPTS_DIR", "downgrade", "is_current", "make_folder", "revision_of", "upgrade"]

LOCK_FILE = "migrate.lock"


def is_current(settings: Settings) -> bool:
    """Whether the database is there and at HEAD; in a file about a millisecond, so that every start may ask.

    On PostgreSQL also whether the application's role may do there what it has to. Raises `StartRefused` when the file
    is no database, or the server cannot be used.
    """
    if settings.stores.postgres_url is not None:
        return owner.is_current(settings)
    return revision_of(settings) == HEAD


def revision_of(settings: Settings) -> str | None:
    """The revision of the database, None where there is none yet. Raises `StartRefused` as `is_current` does."""
    if settings.stores.postgres_url is not None:
        return owner.revision_of(settings)
    path = settings.server.data_dir / MAIN_FILE
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000)) as connection:
            return _revision_in(connection)
    except sqlite3.DatabaseError as error:
        raise StartRefused(f"{path} cannot be read as a database ({error}); {_remedy(error)}.") from error


def upgrade(settings: Settings, revision: str = HEAD) -> None:
    """Makes the folder and the tables where they are missing and applies what is missing, each revision whole.

    Processes that do this at once wait for each other, on PostgreSQL those of all machines. Raises `StartRefused` when
    the folder cannot be written, the file is no database, a newer version of the service made it, or the server cannot
    be used.
    """
    with _alone_in(settings.server.data_dir):
        if settings.stores.postgres_url is not None:
            owner.upgrade(settings, revision)
        elif revision_of(settings) != revision:
            _run("upgrade", settings.server.data_dir, revision)


def downgrade(settings: Settings, revision: str = BASE) -> None:
    """Undoes revisions down to the one named. Undoing the first one drops every table. Raises as `upgrade` does."""
    with _alone_in(settings.server.data_dir):
        if settings.stores.postgres_url is not None:
            owner.downgrade(settings, revision)
        else:
            _run("downgrade", settings.server.data_dir, revision)


def make_folder(data_dir: Path) -> None:
    """Makes DATA_DIR where it is missing, for this user alone. Raises `StartRefused` where that cannot be done."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(data_dir, error) from error


def _unwritable(data_dir: Path, error: OSError) -> StartRefused:
    return StartRefused(f"DATA_DIR {data_dir} cannot be written: {error.strerror}.")


def _remedy(error: BaseException | None) -> str:
    """What helps against an error of SQLite. A full disk shows as an I/O error too: the index of the WAL needs room."""
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return "make room on its disk, or mend the disk"
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_READONLY:
            return "let this user read and write it, its folder and the files beside it"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "end the program that holds it"
        case _:
            return "restore it from a backup"


def _revision_in(connection: sqlite3.Connection) -> str | None:
    named = "select count(*) from sqlite_master where type = 'table' and name = 'alembic_version'"
    if connection.execute(named).fetchone()[0] == 0:
        return None
    row = connection.execute("select version_num from alembic_version").fetchone()
    return None if row is None else str(row[0])


@contextmanager
def _alone_in(data_dir: Path) -> Iterator[None]:
    make_folder(data_dir)
    try:
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(data_dir, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _run(direction: Literal["upgrade", "downgrade"], data_dir: Path, revision: str) -> None:
    engine = _open(data_dir)
    try:
        with engine.connect() as connection:
            apply(connection, direction, revision)
    except sa.exc.DBAPIError as error:
        raise StartRefused(
            f"The database in {data_dir} cannot be migrated ({error.orig}); {_remedy(error.orig)}."
        ) from error
    finally:
        engine.dispose()


def _open(data_dir: Path) -> sa.Engine:
    """A connection that says BEGIN itself: Python's driver would let a table be made outside of a transaction."""
    engine = sa.create_engine(main_url(data_dir), poolclass=sa.NullPool)
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    connection.execute(f"pragma busy_timeout = {BUSY_TIMEOUT_MS:d}")
    # Done here once: workers that opened a new file together would refuse each other the change of mode.
    connection.execute("pragma journal_mode = wal")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("begin immediate")
