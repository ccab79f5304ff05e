"""When a server counts as away: said once when it begins and once when it ends."""

import logging
import time

MISSES_MAX = 3

_log = logging.getLogger(__name__)


class Breaker:
    """Of one server. Open until its first PONG, after `MISSES_MAX` misses in a row, and after a lost connection.

    A miss is a moment at which calls were overdue, however many: one hiccup of the server is one miss.
    """

    __slots__ = ("_is_announced", "_name", "_since_s", "is_open", "misses", "reason")

    def __init__(self, name: str) -> None:
        """`name` is what the log calls the server."""
        self.is_open = True
        self.misses = 0
        self.reason = "not connected yet"
        self._name = name
        self._is_announced = False
        self._since_s = time.monotonic()

    def missed(self) -> bool:
        """Counts a miss; True when it is one too many."""
        self.misses += 1
        return self.misses >= MISSES_MAX

    def open(self, reason: str) -> None:
        """From now on nothing is asked of the server."""
        if not self.is_open:
            self._since_s = time.monotonic()
        self.is_open = True
        self.reason = reason
        if not self._is_announced:
            self._is_announced = True
            _log.warning("Redis is away", extra={"redis": self._name, "reason": reason})

    def retire(self) -> None:
        """The server is not asked any more, for another has taken its place."""
        if self._is_announced:
            _log.info("Redis has been replaced", extra={"redis": self._name})

    def close(self) -> None:
        """The server has answered."""
        self.is_open = False
        self.misses = 0
        if self._is_announced:
            self._is_announced = False
            away_s = round(time.monotonic() - self._since_s, 3)
            _log.info("Redis is back", extra={"redis": self._name, "away_s": away_s})
