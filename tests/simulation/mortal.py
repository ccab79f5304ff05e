"""A process that can be killed at any step, in the middle of a write, or at any line of the package.

Killing means that none of its code has an effect from then on: its files are closed by what stands for the kernel,
its descriptors and locks with them, its timers and tasks are never run, and what unwinds in its coroutines finds every
way out shut (`check`). Memory, threads and the page cache are those of one machine, so that nothing written is lost.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from pathlib import Path
from types import FrameType
from typing import Any

import aiservice
from tests.simulation.virtual_loop import PROCESS, Killed, VirtualLoop

PACKAGE = str(Path(aiservice.__file__).parent)
DESCRIPTORS = Path("/proc/self/fd")
_CLOSINGS_MAX = 50


class MortalProcess:
    """What stands for a worker's process.

    `on_death` is called once, at the place where it dies; what the kernel closes then is below `folders`.
    `place` is the line that it died at.
    """

    def __init__(self, name: str, loop: VirtualLoop, root: Path) -> None:
        self.name = name
        self.is_dead = False
        self.is_stalled = False
        self.on_death: list[Callable[[], None]] = []
        self.folders: list[Path] = []
        self.place = ""
        self._loop = loop
        self._root = str(root)
        self._lines_left = 0
        self._deadly = PACKAGE
        self._context = copy_context()
        self._context.run(PROCESS.set, self)

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str | None = None) -> asyncio.Task[Any]:
        """A task of this process."""
        return self._loop.create_task(work, name=name or self.name, context=self._context.copy())

    def check(self) -> None:
        """Every way out of the process leads past here."""
        if self.is_dead:
            raise Killed

    def die(self) -> None:
        """From here on nothing has an effect; whoever calls raises `Killed` if it runs in this process."""
        if not self.is_dead:
            self.is_dead = True
            for call in self.on_death:
                call()

    def kill(self) -> None:
        """Dies between two steps."""
        self.die()
        self._bury()

    def doom(self, lines: int, where: str = "") -> None:
        """Lets it die at the `lines`-th line of the package, or of a part of it, that it runs from now on.

        It may never come there; 0 takes the doom back.
        """
        self._lines_left = lines
        self._deadly = f"{PACKAGE}/{where}"

    def run(self, handle: asyncio.Handle) -> None:
        """A step of one of its tasks, or a callback."""
        if self._lines_left:
            self._run_doomed(handle)
            return
        handle._run()
        if self.is_dead:
            self._bury()

    def _run_doomed(self, handle: asyncio.Handle) -> None:
        before = _descriptors(self._root)
        tracer = sys.gettrace()
        sys.settrace(self._trace)
        try:
            handle._run()
        finally:
            sys.settrace(tracer)
        if self.is_dead:
            self._bury()
            # What this step opened may have no frame any more that would close it.
            _close_descriptors({fd: path for fd, path in _descriptors(self._root).items() if before.get(fd) != path})

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        return self._trace_line if frame.f_code.co_filename.startswith(self._deadly) else None

    def _trace_line(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            self._lines_left -= 1
            if self._lines_left == 0:
                self.place = f"{frame.f_code.co_filename.removeprefix(f'{PACKAGE}/')}:{frame.f_lineno}"
                self.die()
                raise Killed
        return self._trace_line

    def _bury(self) -> None:
        """Unwinds what is left of it, so that what its frames hold open is closed, as the kernel does."""
        self._lines_left = 0
        buried: set[asyncio.Task[Any]] = set()
        while tasks := [task for task in self._loop.tasks_of(self) if task not in buried]:
            # What unwinds may start tasks, which are as dead.
            for task in tasks:
                task._log_destroy_pending = False
                self._context.copy().run(_close, task.get_coro())
            buried.update(tasks)
        for folder in self.folders:
            _close_descriptors(_descriptors(f"{folder}/"))


def _close(coroutine: Coroutine[Any, Any, Any]) -> None:
    for _ in range(_CLOSINGS_MAX):
        try:
            coroutine.close()
        except BaseException:  # noqa: BLE001
            # Its handlers ran into `check`, a closed database or an await that nobody answers: it is dead all the same.
            continue
        return


def _descriptors(root: str) -> dict[int, str]:
    """This process's open files below a folder."""
    found = {}
    for link in DESCRIPTORS.iterdir():
        try:
            path = str(link.readlink())
        except FileNotFoundError:
            continue
        if path.startswith(root):
            found[int(link.name)] = path
    return found


def _close_descriptors(paths: dict[int, str]) -> None:
    for descriptor in paths:
        os.close(descriptor)
