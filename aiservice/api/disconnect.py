"""Notices that a client has left while its answer is being made."""

import asyncio
from types import TracebackType

from aiservice.api.asgi import Receive

PATIENCE_S = 0.05


class Lookout:
    """Begins the watches that have been open for `PATIENCE_S` to twice that, all of them with one timer."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._young: list[DisconnectWatch] = []
        self._old: list[DisconnectWatch] = []
        self._is_ticking = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the first request, kept: asking for it is a system call."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def add(self, watch: "DisconnectWatch") -> None:
        self._young.append(watch)
        if not self._is_ticking:
            self._is_ticking = True
            self.loop.call_later(PATIENCE_S, self._tick)

    def _tick(self) -> None:
        ripe, self._old, self._young = self._old, self._young, []
        for watch in ripe:
            watch.begin()
        self._is_ticking = bool(self._old)
        if self._is_ticking:
            self.loop.call_later(PATIENCE_S, self._tick)


class DisconnectWatch:
    """Cancels the task that entered it when the client leaves; `is_gone` then says why.

    A server that speaks ASGI does not end a handler whose client has left. Watching takes a task of its own, which an
    answer that is ready at once does not need: so it begins only when the lookout finds the watch still open.
    """

    __slots__ = ("_lookout", "_receive", "_task", "_watcher", "is_gone")

    def __init__(self, receive: Receive, lookout: Lookout) -> None:
        self._receive = receive
        self._lookout = lookout
        self._task: asyncio.Task[object] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.is_gone = False

    def __enter__(self) -> "DisconnectWatch":
        self._task = asyncio.current_task(self._lookout.loop)
        return self

    def start(self) -> None:
        """The request has been read: from now on the next thing the client can do is leave."""
        self._lookout.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task = None
        if self._watcher is not None:
            self._watcher.cancel()

    def begin(self) -> None:
        """Watches from now on, unless the answer is out."""
        if self._task is not None:
            self._watcher = self._lookout.loop.create_task(self._watch(self._task))

    async def _watch(self, task: "asyncio.Task[object]") -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.is_gone = True
        task.cancel()
