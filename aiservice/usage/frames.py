"""The spool's file format: a header, then records that each stand or fall by their own checksum.

header   magic 8s, version u16, worker id 16s, file number u32, sequence of the first record u64, CRC32 u32
record   length u32, CRC32 u32, payload (a msgpack array: 1, 2 or 3 for start, mark or end, then the fields of its type)

Little endian. Sequences are gap-free over all files of a worker, so a record's own is not written. Its CRC32 starts
from the header's CRC32, the length and the sequence, xored: neither a flipped length nor bytes of another file or place
pass for a record. A length of 0 ends the records: a file that was allocated beforehand goes on with zeros.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import msgspec

from aiservice.usage.model import UsageMark, UsageRecord, UsageStart

VERSION = 2
TORN = "torn"
_MAGIC = b"AISPOOL\n"
_HEADER = struct.Struct("<8sH16sIQ")
_HEADER_CRC = struct.Struct("<I")
_FRAME = struct.Struct("<II")
HEADER_BYTES = _HEADER.size + _HEADER_CRC.size
FRAME_BYTES = _FRAME.size
# Far above any record: a length beyond it is no length.
_PAYLOAD_BYTES_MAX = 65_536

Entry = UsageStart | UsageMark | UsageRecord

_crc32 = zlib.crc32
_pack_frame = _FRAME.pack
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


def frame(entry: Entry, seq: int, salt: int) -> bytes:
    """A record as it stands, `seq`-th of its worker, in a file whose header has the CRC32 `salt`.

    Raises `UnicodeEncodeError` and `OverflowError` for what no file can hold.
    """
    payload = _encode(entry)
    length = len(payload)
    return _pack_frame(length, _crc32(payload, salt ^ length ^ seq)) + payload


@dataclass(frozen=True, slots=True)
class Header:
    """The start of a file. `salt` is its CRC32."""

    worker_id: str
    file_number: int
    first_seq: int

    @property
    def salt(self) -> int:
        return _crc32(self._body())

    def to_bytes(self) -> bytes:
        return self._body() + _HEADER_CRC.pack(self.salt)

    def _body(self) -> bytes:
        return _HEADER.pack(_MAGIC, VERSION, UUID(self.worker_id).bytes, self.file_number, self.first_seq)


def read_header(contents: bytes) -> Header | None:
    """The header of a file, or None where it is not whole, not ours, or of another version."""
    if len(contents) < HEADER_BYTES:
        return None
    if _HEADER_CRC.unpack_from(contents, _HEADER.size)[0] != _crc32(contents[: _HEADER.size]):
        return None
    magic, version, worker, file_number, first_seq = _HEADER.unpack_from(contents)
    if magic != _MAGIC or version != VERSION:
        return None
    return Header(str(UUID(bytes=worker)), file_number, first_seq)


class SpoolReader:
    """The entries of one file in order, up to the first that is torn or corrupt: nothing after it is trusted.

    After iteration `damage` says what stopped it (None: the file was read to its end) and `next_seq` what would follow.
    `TORN` is what a death amid a write leaves: a record that nobody was told of.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: Header | None = None
        self.next_seq = 0
        self.damage: str | None = None

    def __iter__(self) -> Iterator[Entry]:
        contents = self.path.read_bytes()
        self.header = header = read_header(contents)
        if header is None:
            self.damage = self._header_damage(contents)
            return
        self.next_seq = header.first_seq
        salt, position = header.salt, HEADER_BYTES
        while (entry := self._entry_at(contents, position, salt)) is not None:
            yield entry
            position += FRAME_BYTES + _FRAME.unpack_from(contents, position)[0]

    def _header_damage(self, contents: bytes) -> str | None:
        if not contents.strip(b"\0"):
            return None
        return TORN if len(contents) < HEADER_BYTES else "header"

    def _entry_at(self, contents: bytes, position: int, salt: int) -> Entry | None:
        """The entry at a position; None, with the reason in `damage`, where there is none."""
        if len(contents) - position < FRAME_BYTES:
            self.damage = TORN if contents[position:].strip(b"\0") else None
            return None
        length, crc = _FRAME.unpack_from(contents, position)
        if length == 0:
            self.damage = "corrupt" if contents[position:].strip(b"\0") else None
            return None
        payload = contents[position + FRAME_BYTES : position + FRAME_BYTES + length]
        if len(payload) < length:
            self.damage = TORN if length <= _PAYLOAD_BYTES_MAX else "corrupt"
            return None
        if _crc32(payload, salt ^ length ^ self.next_seq) != crc:
            self.damage = "corrupt"
            return None
        return self._decoded(payload)

    def _decoded(self, payload: bytes) -> Entry | None:
        try:
            entry: Entry = _decode(payload)
        except msgspec.MsgspecError:
            self.damage = "undecodable"
            return None
        self.next_seq += 1
        return entry
