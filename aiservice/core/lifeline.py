"""Ties a process to its parent: the kernel ends it when the parent dies, however that happens."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with(parent_pid: int, signal_number: signal.Signals = signal.SIGKILL) -> None:
    """Asks the kernel for a signal at the parent's death (Linux; elsewhere only the check below happens).

    SIGKILL for workers, because one with a blocked loop would ignore anything else; what it was writing is safe in
    the spool. A parent that died before the kernel was asked is noticed, too.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl") and libc.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal_number)
