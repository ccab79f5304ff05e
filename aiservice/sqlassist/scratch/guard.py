"""A SQLite connection that nothing but a read gets through, for a bounded time."""

import sqlite3
import time
from typing import Any

from aiservice.sqlassist.functions import DANGEROUS
from aiservice.sqlassist.runner import Rows, RunFailed

STEPS_PER_CALL = 100
TEXT_BYTES_MAX = 1_000_000
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})


class Guard:
    """Runs statements; the authorizer refuses all that is no read, the progress handler counts and stops.

    SQLite asks the authorizer while it prepares, so that a refused statement has done nothing.
    """

    def __init__(self, connection: sqlite3.Connection, *, steps_per_call: int = STEPS_PER_CALL) -> None:
        self._connection = connection
        self._steps_per_call = steps_per_call
        self._calls = 0
        self._until_s = 0.0
        self._has_run_out = False
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, TEXT_BYTES_MAX)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_authorizer(_authorize)
        connection.set_progress_handler(self._progress, steps_per_call)

    def run(self, sql: str, *, rows_max: int, seconds: float) -> Rows:
        """Raises `RunFailed`."""
        self._calls, self._has_run_out, self._until_s = 0, False, time.monotonic() + seconds
        cursor = self._connection.cursor()
        try:
            cursor.execute(sql)
            if cursor.description is None:
                raise RunFailed("the statement gives no rows", "refused")
            names = tuple(part[0] for part in cursor.description)
            rows = cursor.fetchmany(rows_max + 1)
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
            raise self._failure(error) from None
        finally:
            cursor.close()
        return Rows(names, tuple(map(tuple, rows[:rows_max])), len(rows) > rows_max, self._calls * self._steps_per_call)

    def build(self, sql: str) -> None:
        """Runs a statement of our own, which may change the copy; never one that was given."""
        self._until_s = time.monotonic() + 1.0
        self._connection.set_authorizer(None)
        try:
            self._connection.execute(sql)
        except sqlite3.Error as error:
            raise self._failure(error) from None
        finally:
            self._connection.set_authorizer(_authorize)

    def explain(self, sql: str) -> list[str]:
        """SQLite's own words for its plan."""
        self._until_s = time.monotonic() + 1.0
        self._connection.set_authorizer(None)
        try:
            rows = self._connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from None
        finally:
            self._connection.set_authorizer(_authorize)
        return [str(row[3]) for row in rows]

    def _failure(self, error: Exception) -> RunFailed:
        if self._has_run_out:
            return RunFailed("it ran past its time limit and was ended", "time")
        words = str(error) or type(error).__name__
        return RunFailed(words, "refused" if "not authorized" in words or "prohibited" in words else "error")

    def _progress(self) -> int:
        self._calls += 1
        self._has_run_out = self._has_run_out or time.monotonic() > self._until_s
        return int(self._has_run_out)


def _authorize(action: int, first: str | None, second: str | None, *_place: str | None) -> int:
    if action in _ALLOWED:
        is_own = action == sqlite3.SQLITE_READ and (first or "").lower().startswith("pragma_")
        return sqlite3.SQLITE_DENY if is_own else sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() not in DANGEROUS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def shown(value: Any) -> Any:
    """A cell for JSON: bytes as their hexadecimal text."""
    return value.hex() if isinstance(value, bytes) else value
