"""What is stored of a key instead of the key: a MAC that admits in microseconds, and bcrypt.

Both are keyed with peppers that come from one secret outside of the database, so that a stolen database alone
lets nobody check a guess. bcrypt costs 64 ms and never runs in a request.
"""

import hmac
import os
import secrets
from base64 import b64encode
from pathlib import Path

import bcrypt

from aiservice.core.errors import StartRefused
from aiservice.keys.model import ApiKey

SECRETS_FOLDER = "secrets"
PEPPER_FILE = "key-pepper"
PEPPER_LENGTH_MIN = 32
MAC_VERSION = 1
MAC_LENGTH = 32
_HASH_LABEL = b"aiservice keys: bcrypt, version 1"
_MAC_LABEL = b"aiservice keys: mac, version 1"
_NO_MAC = bytes(MAC_LENGTH)


class Peppers:
    """The two peppers, each derived from the one secret under a label of its own."""

    __slots__ = ("_hash_pepper", "_mac_pepper")

    def __init__(self, secret: bytes) -> None:
        self._hash_pepper = hmac.digest(secret, _HASH_LABEL, "sha256")
        self._mac_pepper = hmac.digest(secret, _MAC_LABEL, "sha256")

    def mac(self, text: str) -> bytes:
        """The MAC of a whole key, its kid included, so that no kid can be put before another key's secret."""
        return hmac.digest(self._mac_pepper, text.encode("ascii"), "sha256")

    def admits(self, text: str, key: ApiKey | None) -> bool:
        """Whether the text is this key, in the same time for every row, and for none."""
        is_known = key is not None and key.mac_version == MAC_VERSION
        stored = key.key_mac if key is not None and is_known else _NO_MAC
        is_equal = hmac.compare_digest(self.mac(text), stored)
        return is_known and is_equal

    def hash(self, text: str, *, cost: int) -> str:
        """bcrypt over a 44-byte digest of the key, for bcrypt itself takes 72 bytes at most. Takes 64 ms at cost 10."""
        return bcrypt.hashpw(self._digest(text), bcrypt.gensalt(cost)).decode("ascii")

    def matches_hash(self, text: str, key_hash: str) -> bool:
        """As slow as `hash`; for the audit only."""
        return bcrypt.checkpw(self._digest(text), key_hash.encode("ascii"))

    def _digest(self, text: str) -> bytes:
        return b64encode(hmac.digest(self._hash_pepper, text.encode("ascii"), "sha256"))


def load_pepper(pepper: str | None, data_dir: Path) -> bytes:
    """The secret behind the peppers: the setting, else DATA_DIR/secrets/key-pepper, which is made where it is missing.

    Processes that make it at once end with the same one. Raises `StartRefused` when the file cannot be made or read,
    or is shorter than 32 characters.
    """
    if pepper is not None:
        return pepper.encode("utf-8")
    path = data_dir / SECRETS_FOLDER / PEPPER_FILE
    try:
        if not path.exists():
            _make(path)
        found = path.read_bytes().strip()
    except OSError as error:
        raise StartRefused(f"The key pepper {path} cannot be made or read: {error.strerror}.") from error
    if len(found) < PEPPER_LENGTH_MIN:
        raise StartRefused(f"The key pepper {path} is cut short; restore it from a backup, or no key will be accepted.")
    return found


def _make(path: Path) -> None:
    """Writes a file of its own and gives it the name only if the name is free: nobody ever reads a half-written one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        # Another process was first; its pepper counts.
        return
    finally:
        draft.unlink()
