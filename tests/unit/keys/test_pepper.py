"""What is stored of a key, and the secret behind it."""

import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from aiservice.core.errors import StartRefused
from aiservice.keys.pepper import Peppers, load_pepper
from aiservice.keys.secret import make

PEPPERS = Peppers(b"p" * 32)


def test_the_mac_admits_its_key_only(row_of):
    text, other = make(), make()
    key = row_of(text)

    assert PEPPERS.admits(text, key)
    assert not PEPPERS.admits(other, key)
    assert not PEPPERS.admits(text, None)


def test_a_kid_cannot_stand_before_another_secret(row_of):
    """Only the whole key counts: the secret of one under the kid of another is nothing."""
    mine, theirs = make(), make()
    key = row_of(theirs)

    assert not PEPPERS.admits(theirs[:17] + mine[17:], key)
    assert not PEPPERS.admits(mine[:17] + theirs[17:], key)


def test_a_mac_of_another_version_or_pepper_is_refused(row_of):
    text = make()
    key = row_of(text)

    assert not PEPPERS.admits(text, replace(key, mac_version=2))
    assert not Peppers(b"q" * 32).admits(text, key)


def test_no_mac_is_no_key(row_of):
    text = make()

    assert not PEPPERS.admits(text, replace(row_of(text), mac_version=0, key_mac=bytes(32)))


def test_bcrypt_takes_the_whole_key():
    """bcrypt itself would cut or refuse 69 characters; the last one must count."""
    text = make(is_admin=True)
    stored = PEPPERS.hash(text, cost=4)

    assert stored.startswith("$2b$04$")
    assert PEPPERS.matches_hash(text, stored)
    assert not PEPPERS.matches_hash(text[:-1] + ("A" if text[-1] != "A" else "B"), stored)
    assert not Peppers(b"q" * 32).matches_hash(text, stored)


def test_a_given_pepper_is_used_and_nothing_is_written(tmp_path: Path):
    assert load_pepper("x" * 32, tmp_path) == b"x" * 32
    assert list(tmp_path.iterdir()) == []


def test_a_pepper_is_made_once(tmp_path: Path):
    first = load_pepper(None, tmp_path / "data")
    file = tmp_path / "data" / "secrets" / "key-pepper"

    assert load_pepper(None, tmp_path / "data") == first
    assert len(first) == 64
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["key-pepper"]


def test_racing_starts_get_the_same_pepper(tmp_path: Path):
    for number in range(5):
        folder = tmp_path / str(number)
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda _, folder=folder: load_pepper(None, folder), range(8)))
        assert len(found) == 1


def test_a_pepper_that_was_cut_is_refused(tmp_path: Path):
    load_pepper(None, tmp_path)
    (tmp_path / "secrets" / "key-pepper").write_text("short")

    with pytest.raises(StartRefused, match="cut short"):
        load_pepper(None, tmp_path)


def test_a_pepper_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "secrets").write_text("a file where the folder should be")

    with pytest.raises(StartRefused, match="cannot be made"):
        load_pepper(None, tmp_path)
