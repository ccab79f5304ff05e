"""`python -m aiservice.sqlassist.sandbox`: the pool as a process of its own; the supervisor gives everything."""

import argparse
import asyncio
import gc
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from aiservice.core.errors import AIServiceError
from aiservice.core.lifeline import die_with
from aiservice.sqlassist import Action, Task, machine
from aiservice.sqlassist.sandbox.pool import Pool

_FIRST: Mapping[Action, str] = {
    "explain": "SELECT name FROM person",
    "fix": "SELCT name FROM person",
    "generate": "How many persons are there?",
    "optimize": "SELECT DISTINCT id FROM person",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM, or until the supervisor dies."""
    parser = argparse.ArgumentParser(prog="aiservice.sqlassist.sandbox", description=__doc__)
    parser.add_argument("--parent", type=int, required=True, help="process whose death ends this one")
    parser.add_argument("--socket", type=Path, required=True, help="path of at most 100 bytes")
    parser.add_argument("--sandboxes", type=int, required=True, help="calls at once")
    options = parser.parse_args(arguments)
    # Ctrl-C reaches the whole group; the supervisor stops this process when the last answer is out.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(options.parent)
    os.umask(0o177)
    options.socket.unlink(missing_ok=True)
    _warm()
    gc.collect()
    gc.freeze()
    with suppress(asyncio.CancelledError):
        asyncio.run(_run(Pool(options.sandboxes), options.socket))
    options.socket.unlink(missing_ok=True)


def _warm() -> None:
    """Loads what is loaded at first use, once for all sandboxes: a dialect's grammar, tables of words."""
    for dialect in ("postgres", "mysql", "sqlite", "tsql", "bigquery", "duckdb"):
        for action, query in _FIRST.items():
            with suppress(AIServiceError):
                machine.assist(Task(action, query, dialect, "person(id, name)"))


async def _run(pool: Pool, path: Path) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await pool.run(path)


if __name__ == "__main__":
    main()
