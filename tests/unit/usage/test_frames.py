"""The file format: what was written is read, what was damaged is cut, and nothing wrong is ever read."""

import itertools
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiservice.usage import frames
from aiservice.usage.frames import Header, SpoolReader, frame
from aiservice.usage.model import UsageMark, UsageRecord, UsageStart

WORKER = "01977a2b-0000-7000-8000-00000000000a"
HEADER = Header(WORKER, 3, 41)
DAMAGES = 10_000
NEXT_SEQ = 41 + 36


def written(*entries: frames.Entry) -> bytes:
    """A file of these entries."""
    frames_ = [frame(entry, seq, HEADER.salt) for seq, entry in enumerate(entries, HEADER.first_seq)]
    return HEADER.to_bytes() + b"".join(frames_)


def turns(
    make_start: Callable[..., UsageStart], make_record: Callable[..., UsageRecord], *, count: int
) -> list[frames.Entry]:
    """Starts, marks and ends in turn."""
    entries: list[frames.Entry] = []
    for number in range(count):
        start = make_start()
        entries += (start, UsageMark(start.id, number, 10), make_record(start, completion_tokens=number))
    return entries


def framed(payload: bytes) -> bytes:
    """Any bytes as the record that would follow `whole`."""
    length = len(payload)
    return struct.pack("<II", length, zlib.crc32(payload, HEADER.salt ^ length ^ NEXT_SEQ)) + payload


@pytest.fixture
def whole(make_start, make_record) -> bytes:
    return written(*turns(make_start, make_record, count=12))


def read(path: Path, data: bytes) -> tuple[list[frames.Entry], SpoolReader]:
    # A file that was emptied first would be flushed to the disk when it is closed, ten thousand times.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(descriptor, data, 0)
    os.truncate(descriptor, len(data))
    os.close(descriptor)
    reader = SpoolReader(path)
    return list(reader), reader


def test_what_was_written_is_read(tmp_path, make_start, make_record):
    start = make_start(user_id=None, prompt_price_nano=150)
    entries = [start, UsageMark(start.id, 7, 2_000), make_record(error_message="engines.failed", model_used=None)]

    found, reader = read(tmp_path / "f", written(*entries))

    assert found == entries
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


def test_ten_thousand_truncations_and_bit_flips(tmp_path, make_start, make_record):
    """What stands before the damage is read and nothing after it; only a cut between two records goes unseen."""
    entries = turns(make_start, make_record, count=3)
    ends = list(itertools.accumulate(len(frame(entry, 0, 0)) for entry in entries))
    whole, chance = written(*entries), random.Random(7)
    for _ in range(DAMAGES):
        damaged = bytearray(whole)
        if chance.random() < 0.3:
            at = chance.randrange(len(whole))
            del damaged[at:]
        else:
            bits = [chance.randrange(len(whole) * 8) for _ in range(chance.choice((1, 1, 1, 2, 8)))]
            for bit in set(bits):
                damaged[bit // 8] ^= 1 << bit % 8
            at = min(bits) // 8
        before = sum(frames.HEADER_BYTES + end <= at for end in ends)
        found, reader = read(tmp_path / "damaged", bytes(damaged))
        assert found == entries[:before]
        is_cut_between = len(damaged) in (0, frames.HEADER_BYTES + (0, *ends)[before])
        assert (reader.damage is None) == is_cut_between


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
        (framed(b"\x93\x09\x01\x02"), "undecodable"),
        (framed(b"\xff" * 9), "undecodable"),
        (frame(UsageMark("id", 1), NEXT_SEQ + 1, HEADER.salt), "corrupt"),
        (frame(UsageMark("id", 1), NEXT_SEQ, HEADER.salt ^ 1), "corrupt"),
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
    body = bytearray(HEADER.to_bytes()[:-4])
    body[8] += 1

    assert frames.read_header(bytes(body) + struct.pack("<I", zlib.crc32(body))) is None
    assert frames.read_header(HEADER.to_bytes()) == HEADER
