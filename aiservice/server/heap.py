"""What a worker tells the garbage collector and the C library about how it uses memory (docs/decisions/0008)."""

import ctypes
import gc

GC_THRESHOLDS = (20_000, 20, 20)
_M_ARENA_MAX = -8


def tune_heap() -> None:
    """Call in the new process, before it has threads.

    A request makes some hundred short-lived containers and no cycles; looking through them every 700 costs 5 %. The
    few threads, which wait for files, need no arenas of their own (glibc; other C libraries have none to limit).
    """
    gc.set_threshold(*GC_THRESHOLDS)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, 1)
