"""An entry as bytes in Redis: a head with the eras it belongs to and its times, the seal's mark, and the answer."""

import struct
from collections import OrderedDict

import msgspec

from aiservice.cache import payload as payloads
from aiservice.cache.eras import ERAS_BYTES
from aiservice.cache.model import CacheKey
from aiservice.cache.seal import Seal, head_of
from aiservice.core.types import Completion

VERSION = 1
# Version, eras, created, expires, length of the mark. `claim.lua` reads it too.
_HEAD = struct.Struct(f">B{ERAS_BYTES}sQQB")
HEAD_BYTES = _HEAD.size
_ERAS = slice(1, 1 + ERAS_BYTES)


class Frame(msgspec.Struct, frozen=True, gc=False):
    """An answer and its times, microseconds since the epoch. `bytes` is what it counts towards the bound of all."""

    completion: Completion
    created_at_us: int
    expires_at_us: int
    bytes: int


class Framing:
    """Makes frames and reads them. What was changed, or is of another key, version or seal, cannot be read.

    What was read is remembered beside its bytes, up to `bytes_max` of them: of the same bytes the seal was seen to be
    whole and the answer is known, which is two thirds of the price of reading them.
    """

    def __init__(self, seal: Seal, *, bytes_max: int) -> None:
        self._seal = seal
        self._bytes_max = bytes_max
        self._bytes = 0
        self._known: OrderedDict[CacheKey, tuple[bytes, Frame]] = OrderedDict()

    def made(self, key: CacheKey, payload: bytes, *, eras: bytes, created_us: int, expires_us: int) -> bytes:
        """`eras` are `ERAS_BYTES` long."""
        mark, data = self._seal.closed(head_of(key, created_us, expires_us) + eras, key.tenant_id, payload)
        return _HEAD.pack(VERSION, eras, created_us, expires_us, len(mark)) + mark + data

    def read(self, key: CacheKey, frame: bytes) -> Frame | None:
        """The answer, expired or not; None if it cannot be read."""
        known = self._known.get(key)
        if known is not None and known[0] == frame:
            self._known.move_to_end(key)
            return known[1]
        read = self._read(key, frame)
        if read is not None:
            self._remember(key, frame, read)
        return read

    def _remember(self, key: CacheKey, frame: bytes, read: Frame) -> None:
        self._forget(key)
        self._known[key] = (frame, read)
        self._bytes += read.bytes
        while self._bytes > self._bytes_max:
            self._forget(next(iter(self._known)))

    def _forget(self, key: CacheKey) -> None:
        known = self._known.pop(key, None)
        if known is not None:
            self._bytes -= known[1].bytes

    def _read(self, key: CacheKey, frame: bytes) -> Frame | None:
        if len(frame) < HEAD_BYTES:
            return None
        version, eras, created_us, expires_us, mark_bytes = _HEAD.unpack_from(frame)
        end = HEAD_BYTES + mark_bytes
        head = head_of(key, created_us, expires_us) + eras
        payload = self._seal.opened(head, key.tenant_id, frame[end:], mark=frame[HEAD_BYTES:end])
        completion = None if payload is None or version != VERSION else payloads.read(payload)
        if payload is None or completion is None:
            return None
        return Frame(completion, created_us, expires_us, payloads.size_bytes(payload))


def is_of(frame: bytes, eras: bytes) -> bool:
    """Whether the entry belongs to these eras."""
    return frame[_ERAS] == eras
