"""Whether two statements give the same result: a bag of rows, or a list; the order of columns is free."""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN_S = 5.0
TRIES_MAX = 5_000
DIGITS = 6
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a statement gave: rows, or the database's words."""

    rows: tuple[Row, ...] = ()
    error: str | None = None


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A file, read-only; a statement that runs for more than 5 s is ended."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        yield connection


def run(connection: sqlite3.Connection, sql: str, seconds: float = RUN_S) -> Outcome:
    until_s = time.monotonic() + seconds
    connection.set_progress_handler(lambda: int(time.monotonic() > until_s), 10_000)
    try:
        return Outcome(tuple(connection.execute(sql).fetchall()))
    except (sqlite3.Error, sqlite3.Warning, OverflowError) as error:
        return Outcome(error=str(error))


def unresolved(connection: sqlite3.Connection, sql: str) -> str | None:
    """What SQLite says while it prepares the statement; None where it parses and every name is known."""
    try:
        connection.execute(f"EXPLAIN {sql}").fetchall()
    except (sqlite3.Error, sqlite3.Warning) as error:
        return str(error)
    return None


def are_equal(gold: Outcome, found: Outcome, *, ordered: bool, allow_extra: bool) -> bool:
    """The found rows are the gold ones, in their order where that matters, columns in any order."""
    if gold.error is not None or found.error is not None or len(gold.rows) != len(found.rows):
        return False
    if not gold.rows:
        return True
    width, found_width = len(gold.rows[0]), len(found.rows[0])
    if found_width < width or (found_width > width and not allow_extra):
        return False
    wanted = [tuple(map(_plain, row)) for row in gold.rows]
    have = [tuple(map(_plain, row)) for row in found.rows]
    return any(_same(wanted, have, places, ordered) for places in _assignments(wanted, have))


def _same(wanted: Sequence[Row], have: Sequence[Row], places: Sequence[int], ordered: bool) -> bool:
    picked = [tuple(row[place] for place in places) for row in have]
    return picked == wanted if ordered else Counter(picked) == Counter(wanted)


def _assignments(wanted: Sequence[Row], have: Sequence[Row]) -> Iterator[tuple[int, ...]]:
    """Which found column may be which gold one: those that hold the same values."""
    bags = [Counter(column) for column in zip(*have, strict=True)]
    choices = [
        [place for place, bag in enumerate(bags) if bag == Counter(column)] for column in zip(*wanted, strict=True)
    ]
    tries = 0
    waiting: list[tuple[int, ...]] = [()]
    while waiting and tries < TRIES_MAX:
        places = waiting.pop()
        if len(places) == len(choices):
            tries += 1
            yield places
            continue
        waiting += [(*places, one) for one in reversed(choices[len(places)]) if one not in places]


def _plain(value: Any) -> Any:
    """Numbers alike whatever their type, rounded to six digits after the point."""
    if isinstance(value, bool | int | float):
        number = round(float(value), DIGITS)
        return 0.0 if number == 0 else number
    return value
