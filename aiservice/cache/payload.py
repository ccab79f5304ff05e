"""An answer as bytes: how it is written, read back, sized and dated, the same for every backend."""

import random

import msgspec

from aiservice.core.settings import CacheSettings
from aiservice.core.types import Completion

# What an entry takes beside its answer: key, MAC, times, index rows.
OVERHEAD_BYTES = 512
JITTER_MILLIONTHS = 100_000
# What a worker remembers of the store's entries: this part of their bound, and no more than so much.
RECENT_PART = 8
RECENT_BYTES_MAX = 33_554_432

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Completion).decode


def written(completion: Completion) -> bytes:
    return _encode(completion)


def read(payload: bytes) -> Completion | None:
    """The answer, or None if the bytes are not one of this version's."""
    try:
        return _decode(payload)
    except msgspec.MsgspecError:
        return None


def size_bytes(payload: bytes) -> int:
    """What an entry counts towards the bound of all entries."""
    return len(payload) + OVERHEAD_BYTES


def is_too_large(payload: bytes, settings: CacheSettings) -> bool:
    return len(payload) > settings.entry_bytes_max or size_bytes(payload) > settings.bytes_max


def recent_bytes_max(settings: CacheSettings) -> int:
    return min(settings.bytes_max // RECENT_PART, RECENT_BYTES_MAX)


def lifetime_us(settings: CacheSettings, source: random.Random) -> int:
    """The TTL +/- 10 %, so that what was kept together does not expire together."""
    share = 1_000_000 - JITTER_MILLIONTHS + source.randrange(2 * JITTER_MILLIONTHS + 1)
    return settings.ttl_s * share
