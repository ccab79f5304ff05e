"""Responses in this process's memory, for tests and for a service of one worker that forgets."""

from collections.abc import Collection
from dataclasses import replace

from aiservice.core.clock import Clock
from aiservice.gateway.responses.model import ClosedStatus, Ending, Name, StoredResponse
from aiservice.gateway.responses.port import LEASE_S


class MemoryResponseStore:
    """The in-memory twin of `SqlResponseStore`. Never unavailable."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[Name, StoredResponse] = {}

    async def add(self, response: StoredResponse) -> None:
        self._rows[response.name] = response

    async def find(self, name: Name) -> StoredResponse | None:
        row = self._rows.get(name)
        return None if row is None or row.expires_at_us <= self._clock.now_us() else row

    async def finish(self, name: Name, ending: Ending) -> bool:
        row = self._running(name)
        if row is not None:
            self._rows[name] = replace(row, status=ending.status, body=ending.body, chunks=ending.chunks)
        return row is not None

    async def close(self, name: Name, status: ClosedStatus, *, lapsed_only: bool = False) -> bool:
        row = self._running(name)
        if row is None or (lapsed_only and row.lease_until_us > self._clock.now_us()):
            return False
        self._rows[name] = replace(row, status=status)
        return True

    async def running(self, names: Collection[Name]) -> frozenset[Name]:
        return frozenset(name for name in names if self._running(name) is not None)

    async def renew(self, names: Collection[Name]) -> None:
        lease_until_us = self._clock.now_us() + LEASE_S * 1_000_000
        for name in names:
            if (row := self._running(name)) is not None:
                self._rows[name] = replace(row, lease_until_us=lease_until_us)

    async def delete(self, name: Name) -> bool:
        row = self._rows.pop(name, None)
        return row is not None and row.expires_at_us > self._clock.now_us()

    async def sweep(self, *, rows_max: int) -> int:
        now_us = self._clock.now_us()
        expired = [name for name, row in self._rows.items() if row.expires_at_us <= now_us][:rows_max]
        for name in expired:
            del self._rows[name]
        return len(expired)

    def _running(self, name: Name) -> StoredResponse | None:
        row = self._rows.get(name)
        is_there = row is not None and row.is_running and row.expires_at_us > self._clock.now_us()
        return row if is_there else None
