"""The spool's file format: a header, then records that each stand or fall by their own checksum.

header   magic 8s, version u16, worker id 16s, file number u32, sequence of the first record u64, CRC32 u32
record   length u32, CRC32 u32, payload (a msgpack array: tag, sequence, fields)

Little endian. A record's CRC32 starts from the header's CRC32 and the length, so that neither a flipped length nor
bytes of another file pass for a record. Sequences are gap-free over all files of a worker. A length of 0 ends the
records: a file that was allocated beforehand goes on with zeros.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import msgspec

from aiservice.usage.model import UsageRecord, UsageStart

VERSION = 1
TORN = "torn"
_MAGIC = b"AISPOOL\n"
_HEADER = struct.Struct("<8sH16sIQ")
_HEADER_CRC = struct.Struct("<I")
_FRAME = struct.Struct("<II")
HEADER_BYTES = _HEADER.size + _HEADER_CRC.size
FRAME_BYTES = _FRAME.size
# Far above any record: a length beyond it is no length.
_PAYLOAD_BYTES_MAX = 65_536

_crc32 = zlib.crc32
_pack_frame = _FRAME.pack


class StartEntry(msgspec.Struct, tag=1, array_like=True, frozen=True, gc=False):
    """A request that was admitted."""

    seq: int
    id: str
    api_key_id: str
    tenant_id: str
    user_id: str | None
    endpoint: str
    model: str
    prompt_tokens: int
    created_at_us: int

    def start(self) -> UsageStart:
        return UsageStart(
            self.id,
            self.api_key_id,
            self.tenant_id,
            self.user_id,
            self.endpoint,
            self.model,
            self.prompt_tokens,
            self.created_at_us,
        )


class ProgressEntry(msgspec.Struct, tag=2, array_like=True, frozen=True, gc=False):
    """How far a running stream has come."""

    seq: int
    id: str
    completion_tokens: int


class EndEntry(msgspec.Struct, tag=3, array_like=True, frozen=True, gc=False):
    """A request that is over; complete without its start."""

    seq: int
    id: str
    api_key_id: str
    tenant_id: str
    user_id: str | None
    endpoint: str
    model_used: str | None
    prompt_tokens: int
    completion_tokens: int
    tokens_saved: int
    response_cached: bool
    response_time_ms: int
    status_code: int
    error_message: str | None
    created_at_us: int
    cost_nano: int

    def record(self) -> UsageRecord:
        return UsageRecord(
            self.id,
            self.api_key_id,
            self.tenant_id,
            self.user_id,
            self.endpoint,
            self.model_used,
            self.prompt_tokens,
            self.completion_tokens,
            self.tokens_saved,
            self.response_cached,
            self.response_time_ms,
            self.status_code,
            self.error_message,
            self.created_at_us,
            self.cost_nano,
        )


Entry = StartEntry | ProgressEntry | EndEntry

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


def start_payload(seq: int, start: UsageStart) -> bytes:
    return _encode(
        StartEntry(
            seq,
            start.id,
            start.api_key_id,
            start.tenant_id,
            start.user_id,
            start.endpoint,
            start.model,
            start.prompt_tokens,
            start.created_at_us,
        )
    )


def progress_payload(seq: int, mark: tuple[str, int]) -> bytes:
    return _encode(ProgressEntry(seq, *mark))


def end_payload(seq: int, record: UsageRecord) -> bytes:
    return _encode(
        EndEntry(
            seq,
            record.id,
            record.api_key_id,
            record.tenant_id,
            record.user_id,
            record.endpoint,
            record.model_used,
            record.prompt_tokens,
            record.completion_tokens,
            record.tokens_saved,
            record.response_cached,
            record.response_time_ms,
            record.status_code,
            record.error_message,
            record.created_at_us,
            record.cost_nano,
        )
    )


def frame(payload: bytes, salt: int) -> bytes:
    """A record as it stands in a file whose header has the CRC32 `salt`."""
    length = len(payload)
    return _pack_frame(length, _crc32(payload, salt ^ length)) + payload


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
        if _crc32(payload, salt ^ length) != crc:
            self.damage = "corrupt"
            return None
        return self._decoded(payload)

    def _decoded(self, payload: bytes) -> Entry | None:
        try:
            entry: Entry = _decode(payload)
        except msgspec.MsgspecError:
            self.damage = "undecodable"
            return None
        if entry.seq != self.next_seq:
            self.damage = "out of sequence"
            return None
        self.next_seq += 1
        return entry
