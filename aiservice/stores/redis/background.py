"""Work that goes on beside the calls."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

FAILURE_PAUSE_S = 1.0

_log = logging.getLogger(__name__)


class Background:
    """Does a step again and again, from `start` to `aclose`. The step makes its own pauses."""

    __slots__ = ("_failure_pause_s", "_step", "_task")

    def __init__(self, step: Callable[[], Awaitable[None]], *, failure_pause_s: float = FAILURE_PAUSE_S) -> None:
        self._step = step
        self._failure_pause_s = failure_pause_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Does nothing when it has been started."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def aclose(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            try:
                await self._step()
            except Exception:  # noqa: BLE001 - a mistake must not be the end: nobody would look for the server any more
                _log.exception("looking after Redis failed and goes on")
                await asyncio.sleep(self._failure_pause_s)
