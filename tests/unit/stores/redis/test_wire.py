"""Which of Redis's errors pass and which are our own; scripts and their digests; the slots of keys."""

import hashlib
from pathlib import Path

import pytest
from hiredis import ReplyError
from hypothesis import given
from hypothesis import strategies as st
from redis.cluster import key_slot

from aiservice.core.errors import StoreUnavailable, Unexpected
from aiservice.stores.redis.cluster import slot_of
from aiservice.stores.redis.script import Script
from aiservice.stores.redis.wire import code_of, is_estranged, meaning

WRAPPED = "ERR Error running script (call to f_2fa): @user_script:1: @user_script: 1: -{} You can't do this."


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("READONLY You can't write against a read only replica.", "READONLY"),
        ("MOVED 3999 127.0.0.1:6381", "MOVED"),
        ("ERR", "ERR"),
        ("", ""),
        (WRAPPED.format("OOM"), "OOM"),
        (WRAPPED.format("READONLY"), "READONLY"),
        (WRAPPED.format("MISCONF"), "MISCONF"),
        ("@user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
        # What a script says of its own accord is no code.
        ("ERR Error running script (call to f_2fa): @user_script:1: user_script:1: OOM in a text of ours", "ERR"),
        ("ERR Error running script (call to f_2fa): @user_script:1: WRONGTYPE Operation against a key", "ERR"),
        ("ERR unknown command `OOM`", "ERR"),
    ],
)
def test_codes(text: str, code: str):
    assert code_of(ReplyError(text)) == code


def test_what_passes_is_unavailable_and_what_is_ours_is_not():
    assert isinstance(meaning(ReplyError("OOM command not allowed")), StoreUnavailable)
    assert isinstance(meaning(ReplyError("WRONGTYPE Operation")), Unexpected)
    assert meaning(ReplyError("OOM command not allowed")).retry_after_s == 1


def test_a_long_error_is_cut():
    """It may quote what was sent."""
    detail = meaning(ReplyError("ERR unknown command `x`, with args beginning with: " + "y" * 1_000)).detail

    assert detail is not None
    assert len(detail) == len("Redis: ") + 200


def test_servers_that_are_to_be_left():
    codes = ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "OOM", "BUSY", "MISCONF", "ERR", "MOVED"]

    assert [code for code in codes if is_estranged(code)] == ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH"]


def test_a_script_s_digest_is_redis_s(tmp_path: Path):
    (tmp_path / "take.lua").write_text("return 'é'", encoding="utf-8")

    script = Script.of(tmp_path / "take.lua")

    assert script == Script("return 'é'")
    assert script.sha == hashlib.sha1("return 'é'".encode()).hexdigest()


@pytest.mark.parametrize(
    ("key", "slot"),
    [("foo", 12182), ("123456789", 12739), ("", 0), ("{user1000}.following", 3443), ("foo{{bar}}zap", 4015)],
)
def test_slots_as_the_documentation_of_redis_has_them(key: str, slot: int):
    assert slot_of(key) == slot


@given(st.text(alphabet="{}a:4é"))
def test_slots_are_those_of_redis_py(key: str):
    assert slot_of(key) == key_slot(key.encode())
