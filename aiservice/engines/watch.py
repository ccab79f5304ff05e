"""The deadlines of one engine call on the loop's monotonic clock, with one timer for all of them."""

import asyncio
from types import TracebackType

from aiservice.core.errors import EngineTimeout
from aiservice.core.types import Deadline


class Watch:
    """Bounds the waits of one call; `with watch:` around each single wait turns a wait that is too long into
    `EngineTimeout`.

    First token and whole answer are counted from the construction, the time between tokens only while the engine is
    waited for: a consumer that is slow is not the engine's fault. A timer that fires early is set again, so that a
    token costs no timer.
    """

    __slots__ = (
        "_cancelling", "_deadline", "_first_token_at", "_has_first_token", "_is_expired", "_is_token_new", "_limit_at",
        "_loop", "_task", "_timer", "_timer_at", "_total_at",
    )  # fmt: skip

    def __init__(self, deadline: Deadline, *, is_streamed: bool) -> None:
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._deadline = deadline
        self._total_at = now + deadline.total_s
        self._first_token_at = now + deadline.first_token_s
        self._limit_at = min(self._first_token_at, self._total_at) if is_streamed else self._total_at
        self._has_first_token = False
        self._is_token_new = False
        self._is_expired = False
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def note_token(self) -> None:
        """The engine has sent a token: the next wait is one between tokens."""
        self._has_first_token = self._is_token_new = True

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        if self._is_token_new:
            self._is_token_new = False
            self._limit_at = min(self._loop.time() + self._deadline.between_tokens_s, self._total_at)
        if self._timer is None or self._timer_at > self._limit_at:
            self._set_timer()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if self._is_expired and task is not None:
            self._is_expired = False
            # A cancellation from outside, which came in the same turn of the loop, goes before ours.
            if task.uncancel() <= self._cancelling and (error is None or kind is asyncio.CancelledError):
                raise self._too_late() from None

    def _set_timer(self) -> None:
        self.close()
        self._timer_at = self._limit_at
        self._timer = self._loop.call_at(self._limit_at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._task is None:
            return
        if self._loop.time() < self._limit_at:
            self._set_timer()
            return
        self._is_expired = True
        self._task.cancel()

    def _too_late(self) -> EngineTimeout:
        if self._limit_at >= self._total_at:
            return EngineTimeout(
                f"The engine did not finish its answer within {self._deadline.total_s:g} s; "
                "ask for fewer tokens, or try again."
            )
        if self._has_first_token:
            return EngineTimeout(f"The engine fell silent for {self._deadline.between_tokens_s:g} s; try again.")
        return EngineTimeout(
            f"The engine did not begin its answer within {self._deadline.first_token_s:g} s; "
            "send a shorter prompt, or try again."
        )
