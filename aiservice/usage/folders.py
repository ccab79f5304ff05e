"""Where spool files lie: DATA_DIR/spool/<worker id>/, each folder locked for the life of its worker.

The lock is flock on a file of the folder: the kernel lets go of it when the process dies, however it dies. It needs a
local disk; folders of workers in several containers that share a volume on one machine work too.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from aiservice.core.ids import is_uuid

LOCK_NAME = "lock"
RESERVE_NAME = "reserve"
DAMAGED_NAME = "damaged"
_SUFFIX = ".spool"


def file_path(folder: Path, number: int) -> Path:
    return folder / f"{number:010d}{_SUFFIX}"


def spool_files(folder: Path) -> list[Path]:
    """The folder's spool files, oldest first."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def worker_folders(root: Path) -> Iterator[Path]:
    """The folders of all workers, living or dead, in the order in which they were made (ids are UUIDv7)."""
    if root.is_dir():
        yield from (folder for folder in sorted(root.iterdir()) if is_uuid(folder.name))


def claim(folder: Path) -> int | None:
    """Locks a folder and gives the lock's descriptor; None when somebody holds it or has just removed it.

    A lock file that was unlinked between open and flock locks nothing, so the one that has the name must be ours.
    Raises `OSError` when there is no lock file and none can be made.
    """
    lock = folder / LOCK_NAME
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), lock.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def is_claimed(folder: Path) -> bool:
    """Whether a process holds the folder's lock. Looks only: a shared lock, and no lock file is made."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def set_moment(lock: int, until_us: int) -> None:
    """Says to all who look at a lock's file that what its worker recorded before this moment is shipped."""
    os.utime(lock, ns=(until_us * 1_000, until_us * 1_000))


def oldest_moment_us(root: Path, *, but: Path) -> int | None:
    """The earliest moment that the workers but one have said, the dead ones too; None where there are no others."""
    moments = []
    for folder in worker_folders(root):
        if folder != but:
            with suppress(FileNotFoundError):
                moments.append((folder / LOCK_NAME).stat().st_mtime_ns // 1_000)
    return min(moments, default=None)


def remove(folder: Path) -> None:
    """Removes a claimed folder that holds no spool file any more.

    Whoever claims the folder between the two last steps has put a lock of his own there, finds it empty and removes it.
    """
    (folder / RESERVE_NAME).unlink(missing_ok=True)
    (folder / LOCK_NAME).unlink(missing_ok=True)
    try:
        folder.rmdir()
    except FileNotFoundError:
        return
    except OSError:
        if not (folder / LOCK_NAME).exists():
            raise


def set_aside(path: Path, root: Path) -> Path:
    """Moves a damaged file where no recovery looks, for the operator to examine; gives its new path."""
    kept = root / DAMAGED_NAME / f"{path.parent.name}-{path.name}"
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    return path.rename(kept)


def set_aside_names(root: Path) -> list[str]:
    """The damaged files that were set aside."""
    return sorted(path.name for path in (root / DAMAGED_NAME).glob(f"*{_SUFFIX}"))


def backlog_bytes(root: Path) -> int:
    """The size of all spool files of all workers together."""
    total = 0
    for folder in worker_folders(root):
        for path in spool_files(folder):
            with suppress(FileNotFoundError):
                total += path.stat().st_size
    return total


def free_bytes(root: Path) -> int:
    """What the disk has left; on a full one there may be no root yet."""
    status = os.statvfs(root if root.is_dir() else root.parent)
    return status.f_bavail * status.f_frsize


def allocate(path: Path, size: int) -> int:
    """Makes a file whose blocks are there already and gives its descriptor; leaves nothing behind on `OSError`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        os.close(descriptor)
        path.unlink()
        raise
    return descriptor


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
