"""One sandbox: a forked process that answers one call at a time and can do little else."""

import ctypes
import os
import resource
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiservice.core.errors import AIServiceError, StatementRefused, Unexpected
from aiservice.core.lifeline import die_with
from aiservice.sqlassist import machine, wire

MEMORY_BYTES = 1 << 30
DESCRIPTORS_MAX = 64
_PR_SET_NO_NEW_PRIVS = 38
_OWN_SOCKET = 3
_DESCRIPTORS_OPEN_MAX = 4_096

_WORKERS: Mapping[type[Any], Callable[[Any], wire.Outcome]] = {
    wire.Assist: lambda call: wire.Answered(machine.assist(call.task)),
    wire.Ask: lambda call: wire.Briefed(machine.brief(call.task)),
    wire.Run: lambda call: wire.Listed(machine.run(call.query)),
}


def fork(pool_pid: int) -> tuple[int, socket.socket]:
    """A new sandbox: its pid and the pool's end of its socket."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    try:
        _serve(theirs, pool_pid)
    finally:
        os._exit(70)


def _serve(own: socket.socket, pool_pid: int) -> None:
    """Never returns: ends with the pool's end of the socket, or by a signal."""
    os.dup2(own.fileno(), _OWN_SOCKET)
    own.detach()
    # What the pool has open is not the child's: else a worker's connection would outlive the pool.
    os.closerange(_OWN_SOCKET + 1, _DESCRIPTORS_OPEN_MAX)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.SIG_IGN)
    die_with(pool_pid)
    _confine()
    with socket.socket(fileno=_OWN_SOCKET) as channel:
        while (body := _received(channel)) is not None:
            answer = _answer(body)
            channel.sendall(wire.ANSWER.pack(len(answer)) + answer)
    os._exit(0)


def _confine() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS_MAX, DESCRIPTORS_MAX))
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _received(channel: socket.socket) -> bytes | None:
    head = _exactly(channel, wire.ANSWER.size)
    return None if head is None else _exactly(channel, wire.ANSWER.unpack(head)[0])


def _exactly(channel: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = channel.recv(min(count - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _answer(body: bytes) -> bytes:
    answer = wire.encoder.encode(_answered(body))
    if len(answer) > wire.BODY_BYTES_MAX:
        return wire.encoder.encode(wire.Failed(StatementRefused.code, "The answer is too large; ask for fewer rows."))
    return answer


def _answered(body: bytes) -> wire.Outcome:
    try:
        call = wire.calls.decode(body)
        return _WORKERS[type(call)](call)
    except AIServiceError as error:
        return wire.Failed.of(error)
    except MemoryError:
        return wire.Failed(StatementRefused.code, "The statement needs more memory than a sandbox has.", "query")
    except RecursionError:
        return wire.Failed(StatementRefused.code, "The statement is nested too deeply.", "query")
    except Exception as error:  # noqa: BLE001  # a fault of ours ends one request, not the sandbox
        return wire.Failed(Unexpected.code, Unexpected.title, detail=_traced(error))


def _traced(error: BaseException) -> str:
    """Where it happened and of which kind; not its words, which may have a statement in them."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame is not None else "?"
    return f"{type(error).__name__} at {place}"
