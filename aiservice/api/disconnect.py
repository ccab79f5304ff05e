"""Notices that a client has left while its answer is being made."""

import asyncio
from types import TracebackType

from aiservice.api.asgi import Receive

PATIENCE_S = 0.05


class DisconnectWatch:
    """Cancels the task that entered it when the client leaves; `is_gone` then says why.

    A server that speaks ASGI does not end a handler whose client has left. Watching takes a task of its own, which an
    answer that is ready within 50 ms does not need: so it starts only then.
    """

    __slots__ = ("_receive", "_task", "_timer", "_watcher", "is_gone")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task: asyncio.Task[object] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.is_gone = False

    def __enter__(self) -> "DisconnectWatch":
        self._task = asyncio.current_task()
        return self

    def start(self) -> None:
        """The request has been read: from now on the next thing the client can do is leave."""
        self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._start)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _start(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_gone = True
        assert self._task is not None
        self._task.cancel()
