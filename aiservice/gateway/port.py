"""What idempotency needs of a store: under a caller's key stands one attempt, running or answered."""

from dataclasses import dataclass
from typing import Protocol

LEASE_S = 30
TTL_S = 86_400


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a request that its caller may send again.

    `caller_id` (at most 64 characters) owns the `key` (at most 255), `request_hash` says what was asked, and `id`, a
    UUID, is this try's own.
    """

    id: str
    caller_id: str
    tenant_id: str
    key: str
    request_hash: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """What another attempt has left under the key; without an answer it is still running."""

    attempt_id: str
    request_hash: bytes
    answer: bytes | None


class IdempotencyStore(Protocol):
    """Every method is one transaction and raises `StoreUnavailable` when the store cannot be used."""

    async def begin(self, attempt: Attempt, *, over: str | None = None) -> Found | None:
        """Gives the key to the attempt (None), or says what stands there. Of any number at once one gets it.

        The key is free when nothing stands there, when that is older than `TTL_S`, when it was running and showed
        no sign of life for `LEASE_S`, or when it is the attempt `over`. An attempt that gets it is running.
        """
        ...

    async def renew(self, attempt: Attempt) -> bool:
        """A sign of life, good for `LEASE_S` more; False when the key is no longer the attempt's."""
        ...

    async def finish(self, attempt: Attempt, answer: bytes) -> bool:
        """Keeps the answer until `TTL_S` after the beginning; False when the key is no longer the attempt's."""
        ...

    async def release(self, attempt: Attempt) -> None:
        """Frees the key, if the attempt has it and was not answered."""
        ...

    async def sweep(self, *, rows_max: int) -> int:
        """Deletes at most so many of what has expired, and says how many those were."""
        ...
