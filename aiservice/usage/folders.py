"""Where spool files lie: DATA_DIR/spool/<worker id>/, each folder locked for the life of its worker.

The lock is flock on a file of the folder: the kernel lets go of it when the process dies, however it dies. It needs a
local disk; folders of workers in several containers that share a volume on one machine work too.
"""

import fcntl
import os
from collections.abc import Iterator
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
    for folder in sorted(root.iterdir()):
        if is_uuid(folder.name):
            yield folder


def claim(folder: Path) -> int | None:
    """Locks a folder and gives the lock's descriptor; None when somebody holds it or has just removed it.

    A lock file that was unlinked between open and flock locks nothing, so the one that has the name must be ours.
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


def backlog_bytes(root: Path) -> int:
    """The size of all spool files of all workers together."""
    total = 0
    for folder in worker_folders(root):
        for path in spool_files(folder):
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                continue
    return total


def free_bytes(root: Path) -> int:
    status = os.statvfs(root)
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
