"""The form of a key: what is made is read, and nothing else is."""

import re
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from aiservice.keys.secret import ALPHABET, KEY_LENGTH_MAX, make, parse

CHARACTERS = st.characters(max_codepoint=0x10FFFF)


def test_a_key_has_the_published_form():
    key, admin_key = make(), make(is_admin=True)

    assert re.fullmatch(r"vpn_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}", key)
    assert len(key) == 66
    assert re.fullmatch(r"vpnadm_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}", admin_key)
    assert len(admin_key) == KEY_LENGTH_MAX == 69


def test_a_made_key_gives_its_kid():
    for is_admin in (False, True):
        key = make(is_admin=is_admin)
        assert parse(key) == key.split("_")[1][:12]


def test_the_check_is_crc32_in_base_62():
    key = make()

    value = 0
    for character in key[-6:]:
        value = value * 62 + ALPHABET.index(character)
    assert value == zlib.crc32(key[:-6].encode())


def test_keys_differ():
    assert len({make()[4:] for _ in range(200)}) == 200


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 65), character=CHARACTERS, is_admin=st.booleans())
def test_a_changed_character_is_refused(position: int, character: str, is_admin: bool):
    key = make(is_admin=is_admin)
    changed = key[:position] + character + key[position + 1 :]

    assert (parse(changed) is None) == (changed != key)


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, 66), character=CHARACTERS)
def test_a_character_more_or_less_is_refused(position: int, character: str):
    key = make()

    assert parse(key[:position] + character + key[position:]) is None
    assert parse(key[: max(position - 1, 0)] + key[max(position, 1) :]) is None


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 64))
def test_swapped_neighbours_are_refused(position: int):
    key = make()
    swapped = key[:position] + key[position + 1] + key[position] + key[position + 2 :]

    assert (parse(swapped) is None) == (swapped != key)


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_any_other_text_is_refused(text: str):
    assert parse(text) is None


def test_another_prefix_is_another_key():
    """The check covers the prefix: a key cannot be made an operator's by its first letters."""
    assert parse(make().replace("vpn_", "vpnadm_")) is None
    assert parse(make() + "\n") is None
