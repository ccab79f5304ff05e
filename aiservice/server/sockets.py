"""Unix sockets under DATA_DIR/run, whose paths the kernel wants short."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATH_BYTES_MAX = 100


@contextmanager
def socket_in(run_dir: Path, name: str) -> Iterator[Path]:
    """`run_dir`/NAME.sock; when that is long, one in a temporary folder, told to the workers by `run_dir`/NAME.path.

    The file is not made here, and removed at the end.
    """
    pointer, path = run_dir / f"{name}.path", run_dir / f"{name}.sock"
    pointer.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="aiservice-") as folder:
        if len(os.fsencode(path)) > PATH_BYTES_MAX:
            path = Path(folder) / f"{name}.sock"
            pointer.write_text(str(path), encoding="utf-8")
        yield path
        path.unlink(missing_ok=True)
        pointer.unlink(missing_ok=True)
