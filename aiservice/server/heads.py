"""What a request's head says, and what llhttp lets through that could be read in two ways."""

from collections.abc import Mapping
from urllib.parse import unquote

import httptools

from aiservice.api.asgi import Headers

HEAD_BYTES_MAX = 65_536

_VERSIONS = ("1.1", "1.0")
_ONCE = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})


def ensure_sound(version: str, url: bytes, headers: Headers, *, names: Mapping[bytes, bytes]) -> None:
    """Raises `ValueError` for a head that is not taken; only an unusual one is looked at.

    Usual is HTTP/1.1 with a Host, no header twice, and not more than `HEAD_BYTES_MAX` read.
    """
    if version not in _VERSIONS or (version == "1.0" and b"transfer-encoding" in names):
        raise ValueError(f"HTTP/{version}")
    if b"host" not in names and version == "1.1":
        raise ValueError("no Host")
    if len(names) < len(headers) and any(_count(headers, name) > 1 for name in _ONCE):
        raise ValueError("a header twice that may stand once")
    if len(url) + sum(len(name) + len(value) + 4 for name, value in headers) > HEAD_BYTES_MAX:
        raise ValueError("the head is too large")


def target(method: str, url: bytes) -> tuple[str, bytes, bytes]:
    """Path, path as it was written, and query; raises `ValueError` for a target that is none.

    CONNECT has none: it asks for a tunnel, and where its body ends is everyone's own guess.
    """
    if method == "CONNECT":
        raise ValueError("no tunnels")
    if url[:1] == b"/" and b"#" not in url:
        raw_path, _, query = url.partition(b"?")
    else:
        parsed = httptools.parse_url(url)
        if parsed.path is None:
            raise ValueError("no path")
        raw_path, query = parsed.path, parsed.query or b""
    path = raw_path.decode("ascii")
    return unquote(path) if "%" in path else path, raw_path, query


def framing(names: Mapping[bytes, bytes]) -> bytes:
    """The header that says how long the body is; empty where there is no body."""
    if b"transfer-encoding" in names:
        return b"transfer-encoding: " + names[b"transfer-encoding"]
    length = names.get(b"content-length", b"0")
    return b"content-length: " + length if int(length) else b""


def _count(headers: Headers, name: bytes) -> int:
    return sum(other == name for other, _ in headers)
