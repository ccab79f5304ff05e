"""A small disk for the usage spool, and filling it to the last block."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_spool(data_dir: Path, size_mib: int) -> Iterator[None]:
    """Puts the spool of this DATA_DIR on a file system of its own."""
    spool = data_dir / "spool"
    spool.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(spool)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(spool)], check=True)


def fill(path: Path) -> None:
    """Makes a file that takes all the room that is left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return
