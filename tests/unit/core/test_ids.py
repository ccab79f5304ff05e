"""Ids sort by time, carry their version, and never repeat."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiservice.core.ids import is_uuid, iso_utc, uuid7

MOMENTS_US = st.integers(min_value=0, max_value=(1 << 48) * 1000 - 1)


@given(MOMENTS_US)
def test_version_variant_and_time(now_us: int):
    made = UUID(uuid7(now_us))

    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert made.int >> 80 == now_us // 1000


@given(MOMENTS_US, MOMENTS_US)
def test_text_order_is_time_order(one_us: int, other_us: int):
    early, late = sorted((one_us, other_us))

    assert late // 1000 == early // 1000 or uuid7(early) < uuid7(late)


def test_ids_of_one_moment_differ():
    assert len({uuid7(1_750_000_000_000_000) for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("01977420-dc00-7000-8000-000000000000", True),
        ("01977420-DC00-7000-8000-000000000000", True),
        ("01977420dc0070008000000000000000", False),
        ("{01977420-dc00-7000-8000-000000000000}", False),
        ("urn:uuid:01977420-dc00-7000-8000-000000000000", False),
        ("' or 1=1 --", False),
        ("", False),
    ],
)
def test_is_uuid(text: str, expected: bool):
    assert is_uuid(text) is expected


@pytest.mark.parametrize(
    ("us", "expected"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_769_889_820_125_999, "2026-01-31T20:03:40.125Z"),
        (1_769_889_820_000_000, "2026-01-31T20:03:40.000Z"),
    ],
)
def test_iso_utc(us: int, expected: str):
    assert iso_utc(us) == expected


@given(st.integers(min_value=0, max_value=4_102_444_800_000_000))
def test_iso_utc_reads_back(us: int):
    read = datetime.fromisoformat(iso_utc(us))

    assert read.tzinfo == UTC
    assert abs(read.timestamp() * 1_000_000 - us) <= 1_001
