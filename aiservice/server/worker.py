"""A worker: one uvicorn server on the socket that it inherited. Nothing here runs before the fork but the imports."""

import asyncio
import os
import signal
import socket
from types import FrameType
from typing import Any

import uvicorn

from aiservice.core.lifeline import die_with
from aiservice.server.heap import tune_heap
from aiservice.server.protocol import HttpProtocol

KEEP_ALIVE_S = 75
# Less than the supervisor waits before it kills, so that the spool is flushed in any case.
GRACE_S = 25
CANCEL_S = 1.0


def configure(app: Any) -> uvicorn.Config:
    """The server's configuration, loaded before the fork so that the workers share its memory."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=HttpProtocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    config.load()
    config.get_loop_factory()  # imports uvloop
    return config


def work(config: uvicorn.Config, listener: socket.socket, *, ready_fd: int, supervisor_pid: int) -> int:
    """Serves until SIGTERM; gives the exit code. Called in the new process with the signals still blocked."""
    worker = Worker(config, ready_fd)
    signal.signal(signal.SIGTERM, worker.handle_exit)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    die_with(supervisor_pid)
    tune_heap()
    try:
        worker.run(sockets=[listener])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


class Worker(uvicorn.Server):
    """Says when it serves, leaves Ctrl-C to the supervisor, and after a second SIGTERM waits for nobody.

    Draining (not ready, then no new connections) belongs into `shutdown`, a watchdog's sign of life into `on_tick`.
    """

    def __init__(self, config: uvicorn.Config, ready_fd: int) -> None:
        super().__init__(config)
        self._ready_fd = ready_fd

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        os.write(self._ready_fd, b"1")
        os.close(self._ready_fd)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGTERM:
            self.force_exit = self.should_exit
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:
            await self._cancel_tasks()
            await self.lifespan.shutdown()

    async def _cancel_tasks(self) -> None:
        tasks = set(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_S)
