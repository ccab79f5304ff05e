"""The pool of SQL sandboxes as the supervisor starts it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from aiservice.core.clock import Clock
from aiservice.core.settings import Settings
from aiservice.server.child import Child
from aiservice.server.sockets import socket_in

SOCKET = "sql"


@contextmanager
def sandbox_child(settings: Settings, clock: Clock) -> Iterator[Child | None]:
    """The pool's process, not started yet; None where SQL_SANDBOXES is 0."""
    if settings.sql.sandboxes == 0:
        yield None
        return
    data_dir = settings.server.data_dir
    with socket_in(data_dir.resolve() / "run", SOCKET) as socket:
        options = {"parent": os.getpid(), "socket": socket, "sandboxes": settings.sql.sandboxes}
        command = [sys.executable, "-m", "aiservice.sqlassist.sandbox", *(f"--{key}={options[key]}" for key in options)]
        yield Child(command, data_dir / "log" / "sql.log", clock, name="the SQL sandbox pool")
