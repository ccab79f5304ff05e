"""The file format: what was written is read, what was damaged is cut, and nothing wrong is ever read."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiservice.usage import frames
from aiservice.usage.frames import EndEntry, Header, SpoolReader, StartEntry
from aiservice.usage.model import UsageRecord, UsageStart

WORKER = "01977a2b-0000-7000-8000-00000000000a"
HEADER = Header(WORKER, 3, 41)


def contents(make_start: Callable[..., UsageStart], make_record: Callable[..., UsageRecord], *, count: int) -> bytes:
    """A file of starts, marks and ends in turn."""
    parts, seq = [HEADER.to_bytes()], HEADER.first_seq
    for number in range(count):
        start = make_start()
        payloads = (
            frames.start_payload(seq, start),
            frames.progress_payload(seq + 1, (start.id, number)),
            frames.end_payload(seq + 2, make_record(start, completion_tokens=number)),
        )
        parts += [frames.frame(payload, HEADER.salt) for payload in payloads]
        seq += 3
    return b"".join(parts)


@pytest.fixture
def whole(make_start, make_record) -> bytes:
    return contents(make_start, make_record, count=12)


def read(path: Path, data: bytes) -> tuple[list[frames.Entry], SpoolReader]:
    path.write_bytes(data)
    reader = SpoolReader(path)
    return list(reader), reader


def test_what_was_written_is_read(tmp_path, make_start, make_record):
    start, record = make_start(user_id=None), make_record(error_message="engines.failed", model_used=None)
    data = HEADER.to_bytes() + b"".join(
        frames.frame(payload, HEADER.salt)
        for payload in (
            frames.start_payload(41, start),
            frames.progress_payload(42, (start.id, 7)),
            frames.end_payload(43, record),
        )
    )

    entries, reader = read(tmp_path / "f", data)

    assert isinstance(entries[0], StartEntry)
    assert entries[0].start() == start
    assert entries[1] == frames.ProgressEntry(42, start.id, 7)
    assert isinstance(entries[2], EndEntry)
    assert entries[2].record() == record
    assert (reader.header, reader.next_seq, reader.damage) == (HEADER, 44, None)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_gives_only_whole_right_entries(tmp_path, whole, data):
    original, _ = read(tmp_path / "whole", whole)
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)), label="length")])
    for bit in data.draw(st.lists(st.integers(0, max(0, len(damaged) * 8 - 1)), max_size=3), label="bits"):
        if damaged:
            damaged[bit // 8] ^= 1 << bit % 8

    entries, _ = read(tmp_path / "damaged", bytes(damaged))

    assert entries == original[: len(entries)]


def test_many_bit_flips_and_truncations(tmp_path, whole):
    """The same with cheap random numbers, and every flip inside the file costs at least the entry that it hit."""
    original, _ = read(tmp_path / "whole", whole)
    chance = random.Random(7)
    for _ in range(500):
        cut = chance.randrange(len(whole)) if chance.random() < 0.3 else len(whole)
        damaged = bytearray(whole[:cut])
        bit = chance.randrange(max(1, len(damaged) * 8))
        if damaged:
            damaged[bit // 8] ^= 1 << bit % 8
        entries, reader = read(tmp_path / "damaged", bytes(damaged))
        assert entries == original[: len(entries)]
        assert len(entries) < len(original)
        assert reader.damage is not None or not damaged


@pytest.mark.parametrize("tail", [b"", b"\0" * 3, b"\0" * 5_000])
def test_zeros_behind_the_records_are_the_end(tmp_path, whole, tail):
    entries, reader = read(tmp_path / "f", whole + tail)

    assert (len(entries), reader.damage) == (36, None)


@pytest.mark.parametrize(
    ("tail", "damage"),
    [
        (b"\x05\0", "torn"),
        (b"\x05\0\0\0abcd123", "torn"),
        (b"\xff\xff\xff\0abcd123", "corrupt"),
        (b"\0" * 8 + b"x" * 40, "corrupt"),
        (b"\x05\0\0\0abcd12345", "corrupt"),
        (frames.frame(b"\x93\x09\x01\x02", HEADER.salt), "undecodable"),
        (frames.frame(b"\xff" * 9, HEADER.salt), "undecodable"),
        (frames.frame(frames.progress_payload(70, ("id", 1)), HEADER.salt), "out of sequence"),
        (frames.frame(frames.progress_payload(77, ("id", 1)), HEADER.salt ^ 1), "corrupt"),
    ],
)
def test_a_bad_tail_is_cut_and_named(tmp_path, whole, tail, damage):
    entries, reader = read(tmp_path / "f", whole + tail)

    assert (len(entries), reader.damage) == (36, damage)


@pytest.mark.parametrize("data", [b"x" * 80, b"\1" + HEADER.to_bytes()])
def test_a_bad_header_spoils_the_file(tmp_path, data):
    entries, reader = read(tmp_path / "f", data)

    assert (entries, reader.header, reader.damage) == ([], None, "header")


def test_a_header_that_was_cut_is_torn(tmp_path):
    entries, reader = read(tmp_path / "f", HEADER.to_bytes()[:-1])

    assert (entries, reader.damage) == ([], frames.TORN)


@pytest.mark.parametrize("data", [b"", b"\0" * 200])
def test_a_file_that_was_never_written_is_empty(tmp_path, data):
    entries, reader = read(tmp_path / "f", data)

    assert (entries, reader.damage) == ([], None)


def test_another_version_is_not_read():
    changed = bytearray(HEADER.to_bytes())
    changed[8] = 9

    assert frames.read_header(bytes(changed)) is None
    assert frames.read_header(HEADER.to_bytes()) == HEADER
