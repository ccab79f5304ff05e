"""Keys in memory with a clock that stands still and a store that can be taken away."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.core.ids import uuid7
from aiservice.core.settings import KeySettings, LimitSettings
from aiservice.keys import ApiKey, AuthEvent, Keys
from aiservice.keys.memory import MemoryKeyStore
from aiservice.keys.pepper import Peppers
from aiservice.keys.secret import make

PEPPER = b"p" * 32
ADMIN_KEY = "the-operator-s-key-of-32-characters"
YEAR_US = 365 * 86_400_000_000

Add = Callable[..., Any]


class FrailStore(MemoryKeyStore):
    """Counts what it is asked, waits at its gates when told to, is away while `is_down`, can hold one event back."""

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.uncommitted_seq: int | None = None
        self.reads = 0
        self.polls = 0
        self.gate, self.poll_gate = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.poll_gate.set()

    async def by_kid(self, kid: str) -> ApiKey | None:
        self.reads += 1
        found = await super().by_kid(kid)
        await self.gate.wait()
        self._check()
        return found

    async def events_after(self, seq: int, *, since_us: int) -> Sequence[AuthEvent]:
        self.polls += 1
        self._check()
        events = await super().events_after(seq, since_us=since_us)
        await self.poll_gate.wait()
        return [event for event in events if event.seq != self.uncommitted_seq]

    def remove(self, key: ApiKey) -> None:
        del self._keys[key.id], self._ids_by_kid[key.kid]

    async def touch(self, used: Sequence[tuple[str, int]]) -> None:
        self._check()
        await super().touch(used)

    def _check(self) -> None:
        if self.is_down:
            raise StoreUnavailable


def key_for(text: str, clock: ManualClock, **changes: Any) -> ApiKey:
    """The row of a key; its bcrypt hash is a form only, for nothing in a request looks at it."""
    now_us = clock.now_us()
    key_id = uuid7(now_us)
    key = ApiKey(
        id=key_id,
        logical_id=key_id,
        kid=text.split("_")[1],
        tenant_id="acme",
        user_id="ann",
        name="a key",
        key_hash="$2b$10$" + "a" * 53,
        key_mac=Peppers(PEPPER).mac(text),
        mac_version=1,
        tier="pro",
        scopes=("generate", "keys:write"),
        models=(),
        allowed_ips=(),
        quota_requests_per_hour=None,
        tokens_per_hour=None,
        concurrency=None,
        is_active=True,
        created_at_us=now_us,
        expires_at_us=now_us + YEAR_US,
    )
    return replace(key, **changes)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store() -> FrailStore:
    return FrailStore()


@pytest.fixture
def keys(store: FrailStore, clock: ManualClock) -> Keys:
    return Keys(store, KeySettings(admin_key=ADMIN_KEY), LimitSettings(), pepper=PEPPER, clock=clock)


@pytest.fixture
def row_of(clock: ManualClock) -> Add:
    """Makes the row of a key text."""
    return lambda text, **changes: key_for(text, clock, **changes)


@pytest.fixture
def add(store: FrailStore, clock: ManualClock) -> Add:
    """Stores a new key and gives its text and its row."""

    async def stored(**changes: Any) -> tuple[str, ApiKey]:
        text = make(is_admin="admin" in changes.get("scopes", ()))
        key = key_for(text, clock, **changes)
        await store.add(key)
        return text, key

    return stored
