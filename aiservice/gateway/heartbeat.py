"""Signs of life of a long request, for what it holds lapses without them: concurrency slots, the lease of a flight."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType

from aiservice.core.errors import StoreUnavailable


class Heartbeat:
    """Calls `beat` every `every_s` seconds while the block runs; a block that ends before that costs one timer."""

    __slots__ = ("_beat", "_every_s", "_task", "_timer")

    def __init__(self, beat: Callable[[], Awaitable[object]], *, every_s: float) -> None:
        self._beat = beat
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._start)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            # What is held lives for some beats more: the next may find the store again.
            with suppress(StoreUnavailable):
                await self._beat()
            await asyncio.sleep(self._every_s)
