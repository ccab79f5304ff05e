"""UUID version 7 (RFC 9562, section 5.7): ids that sort by the time they were made."""

import os
from datetime import UTC, datetime
from uuid import UUID

_RANDOM_BITS = 74
_RANDOM_MASK = (1 << _RANDOM_BITS) - 1


def uuid7(now_us: int) -> str:
    """A UUIDv7 for the given time in microseconds; milliseconds and 74 random bits."""
    random = int.from_bytes(os.urandom(10), "big") & _RANDOM_MASK
    high, low = random >> 62, random & 0x3FFF_FFFF_FFFF_FFFF
    value = (now_us // 1000) << 80 | 0x7 << 76 | high << 64 | 0x2 << 62 | low
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def is_uuid(text: str) -> bool:
    """Whether the text is a UUID of any version in its usual form."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def iso_utc(us: int) -> str:
    """Microseconds since the epoch as ISO 8601 in UTC, to the millisecond: 2026-01-31T20:03:40.125Z."""
    moment = datetime.fromtimestamp(us / 1_000_000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
