"""UUID version 7 (RFC 9562, section 5.7): ids that sort by the time they were made."""

import os
from datetime import UTC, datetime
from uuid import UUID

_VARIANTS = "89ab"


def uuid7(now_us: int) -> str:
    """A UUIDv7 for the given time in microseconds; milliseconds and 74 random bits."""
    time = f"{now_us // 1000:012x}"
    random = os.urandom(10)
    digits = random.hex()
    variant = _VARIANTS[random[9] & 3]
    return f"{time[:8]}-{time[8:]}-7{digits[:3]}-{variant}{digits[3:6]}-{digits[6:18]}"


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
