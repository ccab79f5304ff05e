"""How long to wait before a process that died is started again."""

from collections import deque

from aiservice.core.clock import Clock

WINDOW_S = 60.0
DEATHS_BEFORE_PAUSE = 5
PAUSE_S_MAX = 30.0


class RestartPolicy:
    """At once, until 5 deaths in 60 s; from then on pauses of 1, 2, 4 ... 30 s, until a minute passes without one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deaths: deque[float] = deque(maxlen=DEATHS_BEFORE_PAUSE)
        self._pause_s = 0.0

    def pause_s(self) -> float:
        """Notes a death and says how many seconds to wait before the restart."""
        now_s = self._clock.monotonic_s()
        if self._deaths and now_s - self._deaths[-1] > WINDOW_S:
            self._deaths.clear()
            self._pause_s = 0.0
        self._deaths.append(now_s)
        is_frequent = len(self._deaths) == DEATHS_BEFORE_PAUSE and now_s - self._deaths[0] <= WINDOW_S
        if self._pause_s or is_frequent:
            self._pause_s = min(PAUSE_S_MAX, max(1.0, self._pause_s * 2))
        return self._pause_s
