"""How an answer lies in the store: with a MAC beside it, or encrypted. What was changed cannot be opened.

The head (key and times) is sealed with the answer, so that neither can be put beside another.
"""

import hmac
import os
from functools import lru_cache
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aiservice.cache.model import CacheKey

NONCE_BYTES = 12
TENANTS_MAX = 1_024


def head_of(key: CacheKey, created_us: int, expires_us: int) -> bytes:
    return b"%s %d %d " % (key.digest.encode(), created_us, expires_us)


class Seal(Protocol):
    """Closes a payload into a mark (MAC or nonce) and data, and opens it again."""

    def closed(self, head: bytes, tenant_id: str, payload: bytes) -> tuple[bytes, bytes]:
        """Mark and data."""
        ...

    def opened(self, head: bytes, tenant_id: str, data: bytes, *, mark: bytes) -> bytes | None:
        """The payload; None if anything was changed, or was closed by another seal."""
        ...


class MacSeal:
    """The answer in the clear, with an HMAC-SHA256 over head and answer."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, b"mac", "sha256")

    def closed(self, head: bytes, tenant_id: str, payload: bytes) -> tuple[bytes, bytes]:
        return hmac.digest(self._key, head + payload, "sha256"), payload

    def opened(self, head: bytes, tenant_id: str, data: bytes, *, mark: bytes) -> bytes | None:
        return data if hmac.compare_digest(mark, hmac.digest(self._key, head + data, "sha256")) else None


class AesSeal:
    """AES-256-GCM under a key of the tenant's own, derived from the secret; the head is authenticated with it."""

    def __init__(self, secret: bytes) -> None:
        root = hmac.digest(secret, b"data keys", "sha256")

        @lru_cache(maxsize=TENANTS_MAX)
        def cipher_of(tenant_id: str) -> AESGCM:
            return AESGCM(hmac.digest(root, tenant_id.encode("utf-8", "surrogatepass"), "sha256"))

        self._cipher_of = cipher_of

    def closed(self, head: bytes, tenant_id: str, payload: bytes) -> tuple[bytes, bytes]:
        nonce = os.urandom(NONCE_BYTES)
        return nonce, self._cipher_of(tenant_id).encrypt(nonce, payload, head)

    def opened(self, head: bytes, tenant_id: str, data: bytes, *, mark: bytes) -> bytes | None:
        if len(mark) != NONCE_BYTES:
            return None
        try:
            return self._cipher_of(tenant_id).decrypt(mark, data, head)
        except InvalidTag:
            return None
