"""Attempts in this process's memory, for tests and for a service of one worker that forgets."""

from dataclasses import dataclass

from aiservice.core.clock import Clock
from aiservice.gateway.port import LEASE_S, TTL_S, Attempt, Found


@dataclass(slots=True)
class _Row:
    attempt: Attempt
    lease_until_us: int
    expires_at_us: int
    answer: bytes | None = None

    def is_free_at(self, now_us: int) -> bool:
        is_lost = self.answer is None and self.lease_until_us <= now_us
        return is_lost or self.expires_at_us <= now_us


class MemoryIdempotencyStore:
    """The in-memory twin of `SqlIdempotencyStore`. Never unavailable."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[tuple[str, str], _Row] = {}

    async def begin(self, attempt: Attempt, *, over: str | None = None) -> Found | None:
        now_us = self._clock.now_us()
        row = self._rows.get((attempt.caller_id, attempt.key))
        if row is not None and not row.is_free_at(now_us) and row.attempt.id != over:
            return Found(row.attempt.id, row.attempt.request_hash, row.answer)
        self._rows[attempt.caller_id, attempt.key] = _Row(
            attempt, now_us + LEASE_S * 1_000_000, now_us + TTL_S * 1_000_000
        )
        return None

    async def renew(self, attempt: Attempt) -> bool:
        row = self._running(attempt)
        if row is not None:
            row.lease_until_us = self._clock.now_us() + LEASE_S * 1_000_000
        return row is not None

    async def finish(self, attempt: Attempt, answer: bytes) -> bool:
        row = self._running(attempt)
        if row is not None:
            row.answer = answer
        return row is not None

    async def release(self, attempt: Attempt) -> None:
        if self._running(attempt) is not None:
            del self._rows[attempt.caller_id, attempt.key]

    async def sweep(self, *, rows_max: int) -> int:
        now_us = self._clock.now_us()
        expired = [key for key, row in self._rows.items() if row.expires_at_us <= now_us][:rows_max]
        for key in expired:
            del self._rows[key]
        return len(expired)

    def _running(self, attempt: Attempt) -> _Row | None:
        row = self._rows.get((attempt.caller_id, attempt.key))
        return row if row is not None and row.attempt.id == attempt.id and row.answer is None else None
