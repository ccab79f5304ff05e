"""Stamps hold until something changes, for every process, whatever becomes of who changed it."""

from pathlib import Path

import pytest

from aiservice.cache.stamps import ERA, SIZE_BYTES, SLOTS, Stamps, slot_of

DIGEST = "a" * 64
OTHER = "b" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stamps"


def opened(path: Path) -> Stamps:
    stamps = Stamps(path)
    stamps.open()
    return stamps


def test_a_mark_holds_until_its_slot_changes(path: Path) -> None:
    first, second = opened(path), Stamps(path)
    second.open()
    mark, other = second.mark_of(DIGEST), second.mark_of(OTHER)
    assert mark is not None
    assert other is not None
    assert second.holds(mark)
    with first.changing(slot_of(DIGEST)):
        assert not second.holds(mark), "from before the commit on"
        assert second.mark_of(DIGEST) is None
        assert second.holds(other)
    assert not second.holds(mark)
    again = second.mark_of(DIGEST)
    assert again is not None
    assert second.holds(again)


def test_a_new_era_ends_every_mark(path: Path) -> None:
    first, second = opened(path), opened(path)
    mark = first.mark_of(DIGEST)
    assert mark is not None
    with second.changing(ERA):
        assert not first.holds(mark)
        assert first.mark_of(DIGEST) is None
    assert not first.holds(mark)
    mark = first.mark_of(DIGEST)
    assert mark is not None
    era = first.era
    opened(path)
    assert first.era != era, "opening begins one"
    assert not first.holds(mark)


def test_a_change_that_fails_is_settled_too(path: Path) -> None:
    stamps = opened(path)
    mark = stamps.mark_of(DIGEST)
    assert mark is not None
    with pytest.raises(ZeroDivisionError), stamps.changing(slot_of(DIGEST)):
        raise ZeroDivisionError
    assert not stamps.holds(mark)
    assert stamps.mark_of(DIGEST) is not None
    assert not stamps.is_torn


@pytest.mark.parametrize("slot", [ERA, slot_of(DIGEST)])
def test_what_a_dead_writer_left_is_noticed_and_mended(path: Path, slot: int) -> None:
    dead, living = opened(path), opened(path)
    change = dead.changing(slot)
    change.__enter__()
    assert living.mark_of(DIGEST) is None
    assert living.is_torn
    mark = living.mark_of(OTHER)
    assert (mark is None) == (slot == ERA)
    living.mend()
    assert not living.is_torn
    assert living.mark_of(DIGEST) is not None
    assert mark is None or living.holds(mark), "what was whole is left alone"
    change.__exit__(None, None, None)


def test_no_number_returns(path: Path) -> None:
    """A writer that overtakes another cannot bring an old number back, so that no lock is needed."""
    stamps = opened(path)
    seen = set()
    for _ in range(1_000):
        with stamps.changing(slot_of(DIGEST)):
            pass
        mark = stamps.mark_of(DIGEST)
        assert mark is not None
        seen.add(mark)
    assert len(seen) == 1_000


def test_the_era_has_its_own_slot_and_the_others_are_all_used() -> None:
    slots = {slot_of(f"{number:064x}") for number in range(100_000)}
    assert slots == set(range(1, SLOTS))
    assert ERA == 0


@pytest.mark.parametrize("content", [b"", b"short", b"x" * (SIZE_BYTES + 1)])
def test_a_file_of_another_size_is_written_anew(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    stamps = opened(path)
    assert path.stat().st_size == SIZE_BYTES
    assert stamps.mark_of(DIGEST) is not None
    assert stamps.era % 2 == 0


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Is a directory"):
        Stamps(tmp_path).open()


def test_nothing_can_be_asked_after_the_end(path: Path) -> None:
    stamps = opened(path)
    stamps.close()
    stamps.close()
    with pytest.raises(ValueError, match="released"):
        stamps.mark_of(DIGEST)
