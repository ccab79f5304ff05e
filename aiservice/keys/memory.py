"""Keys in this process's memory, for tests and for a service that forgets."""

from collections.abc import Sequence
from dataclasses import replace

from aiservice.core.errors import KeyUnknown
from aiservice.keys.model import ApiKey, AuthEvent


class MemoryKeyStore:
    """The in-memory twin of `SqlKeyStore`. Never unavailable."""

    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}
        self._ids_by_kid: dict[str, str] = {}
        # The kid and time of each event.
        self._events: list[tuple[str, int]] = []

    async def add(self, key: ApiKey, *, retire_id: str | None = None, retire_at_us: int | None = None) -> None:
        if retire_id is not None and retire_at_us is not None:
            self._retire(retire_id, retire_at_us, now_us=key.created_at_us)
        self._keys[key.id] = key
        self._ids_by_kid[key.kid] = key.id
        self._tell(key.kid, key.created_at_us)

    async def by_kid(self, kid: str) -> ApiKey | None:
        key_id = self._ids_by_kid.get(kid)
        return None if key_id is None else self._keys[key_id]

    async def by_id(self, key_id: str) -> ApiKey | None:
        return self._keys.get(key_id)

    async def page(self, *, tenant_id: str | None, cursor: str | None, limit: int) -> Sequence[ApiKey]:
        found = (
            key
            for key in self._keys.values()
            if tenant_id in (None, key.tenant_id) and (cursor is None or key.id < cursor)
        )
        return sorted(found, key=lambda key: key.id, reverse=True)[:limit]

    async def revoke(self, key_id: str, *, now_us: int) -> bool:
        key = self._keys.get(key_id)
        if key is None or not key.is_active:
            return False
        self._keys[key_id] = replace(key, is_active=False)
        self._tell(key.kid, now_us)
        return True

    async def events_after(self, seq: int, *, since_us: int) -> Sequence[AuthEvent]:
        return [
            self._event(number, kid, created_at_us)
            for number, (kid, created_at_us) in enumerate(self._events, start=1)
            if number > seq or created_at_us >= since_us
        ]

    async def last_event_seq(self) -> int:
        return len(self._events)

    async def touch(self, used: Sequence[tuple[str, int]]) -> None:
        for key_id, used_at_us in used:
            key = self._keys.get(key_id)
            if key is not None and used_at_us > (key.last_used_at_us or 0):
                self._keys[key_id] = replace(key, last_used_at_us=used_at_us)

    async def count_active(self, *, now_us: int) -> int:
        return sum(key.is_good_at(now_us) for key in self._keys.values())

    def _retire(self, key_id: str, retire_at_us: int, *, now_us: int) -> None:
        old = self._keys.get(key_id)
        if old is None or not old.is_active:
            raise KeyUnknown
        self._keys[key_id] = replace(old, expires_at_us=min(old.expires_at_us, retire_at_us))
        self._tell(old.kid, now_us)

    def _tell(self, kid: str, now_us: int) -> None:
        self._events.append((kid, now_us))

    def _event(self, seq: int, kid: str, created_at_us: int) -> AuthEvent:
        key_id = self._ids_by_kid.get(kid)
        key = None if key_id is None else self._keys[key_id]
        ends_at_us = key.expires_at_us if key is not None and key.is_active else 0
        return AuthEvent(seq, kid, created_at_us, key_id=key_id, ends_at_us=ends_at_us)
