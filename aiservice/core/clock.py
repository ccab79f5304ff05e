"""Time as a value that is handed down, so that tests can freeze it and let it jump."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for records and buckets, monotonic time for deadlines."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch, UTC. May go backwards."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start. Never goes backwards."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told; `set_us` may move it backwards."""

    __slots__ = ("_now_us",)

    def __init__(self, now_us: int = 1_750_000_000_000_000) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        return self._now_us

    def monotonic_s(self) -> float:
        return self._now_us / 1_000_000

    def advance_s(self, seconds: float) -> None:
        self._now_us += round(seconds * 1_000_000)

    def set_us(self, now_us: int) -> None:
        self._now_us = now_us
