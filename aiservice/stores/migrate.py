"""Brings the main database to the revision that this version of the service needs, and back."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from aiservice.core.errors import StartRefused
from aiservice.stores.databases import BUSY_TIMEOUT_MS, MAIN_FILE, main_url

HEAD = "0003"
BASE = "base"
LOCK_FILE = "migrate.lock"
SCRIPTS_DIR = Path(__file__).with_name("migrations")


def is_current(data_dir: Path) -> bool:
    """Whether the database is there and at HEAD; about a millisecond, so that every start may ask.

    Raises `StartRefused` when the file is no database.
    """
    return revision_of(data_dir) == HEAD


def revision_of(data_dir: Path) -> str | None:
    """The revision of the database, None where there is none yet. Raises `StartRefused` as `is_current` does."""
    path = data_dir / MAIN_FILE
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000)) as connection:
            return _revision_in(connection)
    except sqlite3.DatabaseError as error:
        raise StartRefused(f"{path} cannot be read as a database ({error}); {_remedy(error)}.") from error


def upgrade(data_dir: Path, revision: str = HEAD) -> None:
    """Makes the folder and the database where they are missing and applies what is missing, each revision whole.

    Processes that do this at once wait for each other. Raises `StartRefused` when the folder cannot be written,
    the file is no database, or a newer version of the service made it.
    """
    with _alone_in(data_dir):
        found = revision_of(data_dir)
        if found == revision:
            return
        _run("upgrade", data_dir, revision)


def downgrade(data_dir: Path, revision: str = BASE) -> None:
    """Undoes revisions down to the one named. Undoing the first one drops every table. Raises as `upgrade` does."""
    with _alone_in(data_dir):
        _run("downgrade", data_dir, revision)


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
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartRefused(f"DATA_DIR {data_dir} cannot be written: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _run(direction: str, data_dir: Path, revision: str) -> None:
    # Alembic costs a start 140 ms and is needed only where a revision is missing.
    from alembic import command, config, util  # noqa: PLC0415

    scripts = config.Config()
    # The option is read with interpolation, so a percent sign in the path is doubled.
    scripts.set_main_option("script_location", str(SCRIPTS_DIR).replace("%", "%%"))
    engine = _open(data_dir)
    try:
        with engine.connect() as connection:
            scripts.attributes["connection"] = connection
            getattr(command, direction)(scripts, revision)
    except util.CommandError as error:
        raise StartRefused(
            f"The database in {data_dir} was not made by this version of the service: {error}"
        ) from error
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
