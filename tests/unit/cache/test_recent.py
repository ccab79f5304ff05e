"""What a worker remembers: as long as it holds, within its bound, the least recently used leaving first."""

from pathlib import Path

import pytest

from aiservice.cache import Entry
from aiservice.cache.recent import RecentEntries
from aiservice.cache.stamps import ERA, Stamps, slot_of
from tests.unit.cache.workers import ANSWER

ENTRY = Entry(ANSWER, created_at_us=1_000_000, expires_at_us=9_000_000, hit_count=5)


@pytest.fixture
def stamps(tmp_path: Path) -> Stamps:
    stamps = Stamps(tmp_path / "stamps")
    stamps.open()
    return stamps


@pytest.fixture
def recent(stamps: Stamps) -> RecentEntries:
    return RecentEntries(stamps, bytes_max=1_000)


def add(recent: RecentEntries, stamps: Stamps, digest: str, *, size: int = 100, serial: int = 1) -> None:
    recent.add(digest, ENTRY, serial, mark=stamps.mark_of(digest), size=size)


def found(recent: RecentEntries, digests: str) -> str:
    return "".join(digest for digest in digests if recent.find(digest, None, 1_000_000) is not None)


def test_what_was_added_is_found_with_one_more_hit(recent: RecentEntries, stamps: Stamps) -> None:
    add(recent, stamps, "a")
    kept = recent.find("a", None, 1_000_000)
    assert kept is not None
    assert (kept.completion, kept.created_at_us, kept.expires_at_us) == (ANSWER, 1_000_000, 9_000_000)
    assert (kept.hit_count, kept.serial) == (6, 1)
    assert recent.find("b", None, 1_000_000) is None


def test_age_and_expiry_are_looked_at_each_time(recent: RecentEntries, stamps: Stamps) -> None:
    add(recent, stamps, "a")
    assert recent.find("a", None, 8_999_999) is not None
    assert recent.find("a", None, 9_000_000) is None
    assert recent.find("a", 2, 3_000_000) is not None
    assert recent.find("a", 2, 3_000_001) is None
    assert recent.find("a", 0, 500_000) is not None, "a clock that went back makes nothing older"


@pytest.mark.parametrize("slot", [ERA, slot_of("a")])
def test_what_no_longer_holds_is_not_found(recent: RecentEntries, stamps: Stamps, slot: int) -> None:
    add(recent, stamps, "a")
    with stamps.changing(slot):
        add(recent, stamps, "a")
        assert found(recent, "a") == ""
    assert found(recent, "a") == ""
    add(recent, stamps, "a")
    assert found(recent, "a") == "a"


def test_the_least_recently_used_leaves(recent: RecentEntries, stamps: Stamps) -> None:
    for digest in "abcdefghij":
        add(recent, stamps, digest)
    assert found(recent, "abcdefghij") == "abcdefghij", "exactly the bound"
    assert found(recent, "a") == "a"
    add(recent, stamps, "k", size=101)
    assert found(recent, "abcdefghijk") == "adefghijk", "two left, and the one just used stayed"


def test_replacing_counts_once_and_what_is_too_large_leaves_itself(recent: RecentEntries, stamps: Stamps) -> None:
    for _ in range(20):
        add(recent, stamps, "a", size=900)
    add(recent, stamps, "b", size=100)
    assert found(recent, "ab") == "ab"
    add(recent, stamps, "c", size=1_001)
    assert found(recent, "abc") == ""
    add(recent, stamps, "a", size=1_000)
    assert found(recent, "a") == "a", "nothing is still counted"


def test_after_a_clearing_the_bound_is_free_again(recent: RecentEntries, stamps: Stamps) -> None:
    add(recent, stamps, "a", size=1_000)
    recent.clear()
    assert found(recent, "a") == ""
    add(recent, stamps, "b", size=500)
    add(recent, stamps, "c", size=500)
    assert found(recent, "bc") == "bc"


def test_hits_from_elsewhere_count_for_the_same_entry_alone(recent: RecentEntries, stamps: Stamps) -> None:
    add(recent, stamps, "a", serial=7)
    recent.count("a", 7, 10)
    recent.count("a", 8, 100)
    recent.count("b", 7, 1_000)
    kept = recent.find("a", None, 1_000_000)
    assert kept is not None
    assert kept.hit_count == 16
