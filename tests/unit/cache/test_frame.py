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


def framing_of(seal: Seal, *, bytes_max: int = 1_000_000) -> Framing:
    return Framing(seal, bytes_max=bytes_max)


def frame_of(seal: Seal, payload: bytes = PAYLOAD) -> bytes:
    return framing_of(seal).made(KEY, payload, eras=ERAS, created_us=CREATED_US, expires_us=EXPIRES_US)


def test_a_frame_is_read_as_it_was_made(seal: Seal) -> None:
    frame = frame_of(seal)
    read = framing_of(seal).read(KEY, frame)
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
        assert framing_of(seal).read(KEY, bytes(changed)) is None, position


def test_nothing_else_can_be_read(seal: Seal) -> None:
    frame = frame_of(seal)
    framing = framing_of(seal)
    assert [framing.read(KEY, frame[:end]) for end in range(len(frame))] == [None] * len(frame)
    assert framing.read(KEY, frame + b"x") is None
    chance = random.Random(1)
    assert [framing.read(KEY, chance.randbytes(chance.randrange(200))) for _ in range(1_000)] == [None] * 1_000


def test_it_is_of_its_key_alone(seal: Seal) -> None:
    frame = frame_of(seal)
    assert framing_of(seal).read(replace(KEY, digest="b" * 64), frame) is None


def test_another_secret_or_kind_of_seal_cannot_read_it(seal: Seal) -> None:
    frame = frame_of(seal)
    others = [MacSeal(b"another" * 5), AesSeal(b"another" * 5), MacSeal(SECRET), AesSeal(SECRET)]
    read = [framing_of(other).read(KEY, frame) is not None for other in others]
    assert read == [False, False, isinstance(seal, MacSeal), isinstance(seal, AesSeal)]


def test_a_payload_of_another_version_cannot_be_read(seal: Seal) -> None:
    assert framing_of(seal).read(KEY, frame_of(seal, b'{"other": 1}')) is None


def test_its_head_stands_where_the_script_reads_it(seal: Seal) -> None:
    frame = frame_of(seal)
    times = frame[1 + ERAS_BYTES : HEAD_BYTES - 1]
    assert (int.from_bytes(times[:8], "big"), int.from_bytes(times[8:], "big")) == (CREATED_US, EXPIRES_US)


def test_the_same_bytes_are_read_once(seal: Seal) -> None:
    framing, frame = framing_of(seal), frame_of(seal)
    read = framing.read(KEY, frame)
    assert read is not None
    assert framing.read(KEY, bytes(bytearray(frame))) is read
    changed = frame[:-1] + bytes([frame[-1] ^ 1])
    assert framing.read(KEY, changed) is None
    assert framing.read(replace(KEY, tenant_id="other", digest="b" * 64), frame) is None
    newer = frame_of(seal, written(replace(ANSWER, engine="another")))
    again = framing.read(KEY, newer)
    assert again is not None
    assert again.completion.engine == "another"


def test_what_was_read_is_remembered_up_to_a_bound(seal: Seal) -> None:
    keys = [replace(KEY, digest=f"{number:064x}") for number in range(4)]
    size = size_bytes(PAYLOAD)
    framing = framing_of(seal, bytes_max=2 * size)
    frames = [framing.made(key, PAYLOAD, eras=ERAS, created_us=CREATED_US, expires_us=EXPIRES_US) for key in keys]
    first = [framing.read(key, frame) for key, frame in zip(keys[:2], frames[:2], strict=True)]
    assert framing.read(keys[0], frames[0]) is first[0]
    assert framing.read(keys[2], frames[2]) is not None
    assert framing.read(keys[0], frames[0]) is first[0]
    assert framing.read(keys[1], frames[1]) is not first[1]
