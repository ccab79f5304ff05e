"""An entry as bytes: what was put in comes out, and nothing else ever does."""

import random

import pytest
from msgspec.structs import replace

from aiservice.cache.eras import ERAS_BYTES, fresh
from aiservice.cache.frame import HEAD_BYTES, Framing, is_of
from aiservice.cache.payload import size_bytes, written
from aiservice.cache.seal import AesSeal, MacSeal, Seal
from tests.unit.cache.workers import ANSWER, KEY, SECRET

PAYLOAD = written(ANSWER)
CREATED_US, EXPIRES_US = 1_750_000_000_000_000, 1_750_003_600_000_000
ERAS = fresh()


@pytest.fixture(params=[MacSeal, AesSeal])
def seal(request: pytest.FixtureRequest) -> Seal:
    made: Seal = request.param(SECRET)
    return made


def frame_of(seal: Seal, payload: bytes = PAYLOAD) -> bytes:
    return Framing(seal).made(KEY, payload, eras=ERAS, created_us=CREATED_US, expires_us=EXPIRES_US)


def test_a_frame_is_read_as_it_was_made(seal: Seal) -> None:
    frame = frame_of(seal)
    read = Framing(seal).read(KEY, frame)
    assert read is not None
    assert (read.completion, read.created_at_us, read.expires_at_us) == (ANSWER, CREATED_US, EXPIRES_US)
    assert read.bytes == size_bytes(PAYLOAD)
    assert is_of(frame, ERAS)
    assert not is_of(frame, fresh())
    assert not is_of(frame, ERAS[1:])
    assert not is_of(b"", ERAS)


def test_no_bit_of_it_can_be_changed(seal: Seal) -> None:
    frame = frame_of(seal)
    for position in range(8 * len(frame)):
        changed = bytearray(frame)
        changed[position // 8] ^= 1 << position % 8
        assert Framing(seal).read(KEY, bytes(changed)) is None, position


def test_nothing_else_can_be_read(seal: Seal) -> None:
    frame = frame_of(seal)
    framing = Framing(seal)
    assert [framing.read(KEY, frame[:end]) for end in range(len(frame))] == [None] * len(frame)
    assert framing.read(KEY, frame + b"x") is None
    chance = random.Random(1)
    assert [framing.read(KEY, chance.randbytes(chance.randrange(200))) for _ in range(1_000)] == [None] * 1_000


def test_it_is_of_its_key_alone(seal: Seal) -> None:
    frame = frame_of(seal)
    assert Framing(seal).read(replace(KEY, digest="b" * 64), frame) is None


def test_another_secret_or_kind_of_seal_cannot_read_it(seal: Seal) -> None:
    frame = frame_of(seal)
    others = [MacSeal(b"another" * 5), AesSeal(b"another" * 5), MacSeal(SECRET), AesSeal(SECRET)]
    read = [Framing(other).read(KEY, frame) is not None for other in others]
    assert read == [False, False, isinstance(seal, MacSeal), isinstance(seal, AesSeal)]


def test_a_payload_of_another_version_cannot_be_read(seal: Seal) -> None:
    assert Framing(seal).read(KEY, frame_of(seal, b'{"other": 1}')) is None


def test_its_head_stands_where_the_script_reads_it(seal: Seal) -> None:
    frame = frame_of(seal)
    times = frame[1 + ERAS_BYTES : HEAD_BYTES - 1]
    assert (int.from_bytes(times[:8], "big"), int.from_bytes(times[8:], "big")) == (CREATED_US, EXPIRES_US)
