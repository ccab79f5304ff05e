"""What the keys room asks of a store."""

from collections.abc import Sequence
from typing import Protocol

from aiservice.keys.model import ApiKey, AuthEvent


class KeyStore(Protocol):
    """Stored keys and the events about them. Every method raises `StoreUnavailable` when the store is down."""

    async def add(self, key: ApiKey, *, retire_id: str | None = None, retire_at_us: int | None = None) -> None:
        """Stores a key and its event.

        On rotation the old key's expiry is pulled in to `retire_at_us` (never put off), with an event of its own,
        in the same transaction; nothing is stored and `KeyUnknown` is raised when the old key is not active any more.
        """
        ...

    async def by_kid(self, kid: str) -> ApiKey | None: ...

    async def by_id(self, key_id: str) -> ApiKey | None: ...

    async def page(self, *, tenant_id: str | None, cursor: str | None, limit: int) -> Sequence[ApiKey]:
        """Keys with an id below the cursor, newest first (ids are UUIDv7); of every tenant when none is named."""
        ...

    async def revoke(self, key_id: str, *, now_us: int) -> bool:
        """Switches a key off and writes its event in one transaction; False when there is no such active key."""
        ...

    async def events_after(self, seq: int, *, since_us: int) -> Sequence[AuthEvent]:
        """Events above `seq`, and those since the time given, in order of `seq`, with how their keys stand now."""
        ...

    async def last_event_seq(self) -> int:
        """The highest `seq` so far, 0 before the first event."""
        ...

    async def touch(self, used: Sequence[tuple[str, int]]) -> None:
        """Sets last_used_at of (key id, time) pairs, never backwards; ids that are not there are passed over."""
        ...

    async def count_active(self, *, now_us: int) -> int:
        """Keys that are neither revoked nor expired."""
        ...
