"""Brings a GGUF file into DATA_DIR/models: from a path or an address, verified by its SHA-256.

The command line is a client of other people's servers here, not an engine: the standard library's client will do.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

from aiservice.core.errors import EngineError, FieldInvalid

MAGIC = b"GGUF"
PART_BYTES = 1024 * 1024
READ_TIMEOUT_S = 60.0

# Called with the bytes that are there so far and the size, None while it is unknown.
Report = Callable[[int, int | None], None]


def is_address(name: str) -> bool:
    return urlsplit(name).scheme in ("http", "https")


def is_gguf(name: str) -> bool:
    """Whether a name means a file or its address rather than a model of an engine."""
    return is_address(name) or name.lower().endswith(".gguf")


def fetch(source: str, models_dir: Path, *, sha256: str | None, report: Report) -> Path:
    """The file's new path; nothing is left behind when it is not the file that was meant.

    Raises `FieldInvalid` for a source, checksum or file that will not do, `EngineError` when it cannot be read.
    """
    if is_address(source) and sha256 is None:
        raise FieldInvalid("A model from an address needs --sha256, which its publisher names.", param="sha256")
    target = models_dir / _file_name(source)
    part = target.with_name(f"{target.name}.part")
    models_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with _opened(source) as (stream, size), part.open("wb") as file:
            digest = _copy(stream, file, size=size, report=report)
        _check(part, digest, sha256)
        part.replace(target)
    except (URLError, HTTPException, OSError) as error:
        raise EngineError(f"{source} cannot be fetched: {_reason(error)}.") from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _file_name(source: str) -> str:
    path = unquote(urlsplit(source).path) if is_address(source) else source
    name = Path(path).name
    if not name.lower().endswith(".gguf"):
        raise FieldInvalid(f"{source} does not end in .gguf.", param="name")
    return name


@contextmanager
def _opened(source: str) -> Iterator[tuple[BinaryIO, int | None]]:
    if is_address(source):
        # Only http and https come here.
        with urlopen(source, timeout=READ_TIMEOUT_S) as answer:  # noqa: S310
            length = answer.headers.get("Content-Length", "")
            yield answer, int(length) if length.isdigit() else None
    else:
        path = Path(source).expanduser()
        with path.open("rb") as file:
            yield file, path.stat().st_size


def _copy(stream: BinaryIO, file: BinaryIO, *, size: int | None, report: Report) -> str:
    digest, done = hashlib.sha256(), 0
    while part := stream.read(PART_BYTES):
        file.write(part)
        digest.update(part)
        done += len(part)
        report(done, size)
    if size is not None and done != size:
        raise EngineError(f"The file was cut off after {done} of {size} bytes; try again.")
    return digest.hexdigest()


def _check(path: Path, digest: str, sha256: str | None) -> None:
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise FieldInvalid("The file is no GGUF file.", param="name")
    if sha256 is not None and digest != sha256.strip().lower():
        raise FieldInvalid(f"The file's SHA-256 is {digest}, not the one that was given.", param="sha256")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(getattr(reason, "strerror", None) or reason)
