"""The text of an API key: `vpn_<kid>_<secret><check>`, in base 62 after the prefix.

12 characters of `kid` (public, finds the row), 43 of secret (256 bits), 6 of CRC32 over all before them. The check is
for scanners and typing errors and is no security. An operator's key begins with `vpnadm_`. There is no dash, so that
a double click selects a key whole.
"""

import re
import secrets
import zlib

PREFIX = "vpn_"
PREFIX_ADMIN = "vpnadm_"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
KID_LENGTH = 12
SECRET_LENGTH = 43
CHECK_LENGTH = 6
KEY_LENGTH_MAX = len(PREFIX_ADMIN) + KID_LENGTH + 1 + SECRET_LENGTH + CHECK_LENGTH

_FORM = re.compile(r"(?:vpn|vpnadm)_([0-9A-Za-z]{12})_[0-9A-Za-z]{49}")


def make(*, is_admin: bool = False) -> str:
    """A new key from the system's random numbers."""
    prefix = PREFIX_ADMIN if is_admin else PREFIX
    body = f"{prefix}{_random(KID_LENGTH)}_{_random(SECRET_LENGTH)}"
    return body + _check(body)


def parse(text: str) -> str | None:
    """The `kid` of a key, None when the text has not the form of one or its check is wrong."""
    form = _FORM.fullmatch(text)
    if form is None or text[-CHECK_LENGTH:] != _check(text[:-CHECK_LENGTH]):
        return None
    return form[1]


def _random(length: int) -> str:
    return _base62(secrets.randbelow(len(ALPHABET) ** length), length)


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
