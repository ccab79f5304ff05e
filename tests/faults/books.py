"""The three books of a load, compared: what the clients were told, what the engine saw, what the ledger has."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from tests.faults.load import KEPT, Outcome, max_tokens_of, number_of

LOST = "worker_lost"
COLUMNS = "id, api_key_id, prompt_tokens, completion_tokens, tokens_saved, response_cached, status_code, error_message"
ROWS = f"select {COLUMNS} from ai_usage_logs"
DEAD_LETTERS = "select count(*) from usage_dead_letters"
_KEPT = ", ".join(f"sum({name})" for name in ("prompt_tokens", "completion_tokens", "tokens_saved", "cost_nano"))
# What must be the same three times: requests, cached ones, tokens and money.
BOOK_SUMS = {
    "rows": f"select count(*), count(*) filter (where response_cached), {_KEPT} from ai_usage_logs",
    "rollups": f"select sum(requests), sum(cached), {_KEPT} from ai_usage_rollups",
    "totals": f"select sum(requests), sum(cached), {_KEPT} from ai_usage_totals",
}


@dataclass(frozen=True)
class Row:
    """A row of the ledger, as far as the other books know of it."""

    id: str
    api_key_id: str
    prompt_tokens: int
    completion_tokens: int
    tokens_saved: int
    is_cached: bool
    status: int
    error: str | None

    @property
    def is_lost(self) -> bool:
        return self.error == LOST


@dataclass(frozen=True)
class Books:
    """All three. `calls` is how often the engine saw each number."""

    outcomes: Sequence[Outcome]
    calls: Mapping[int, int]
    rows: Sequence[Row]
    key_ids: Sequence[str]
    # Said before anything was taken or asked for: without a row, where no other is right.
    refusals: frozenset[int] = frozenset()
    _by_number: dict[int, list[Row]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for row in self.rows:
            # Rows of hits and of refusals have no tokens; they are found by their id.
            if row.prompt_tokens:
                number = number_of(self.key_ids, row.api_key_id, row.prompt_tokens)
                self._by_number[number].append(row)

    def faults(self) -> list[str]:
        """Everything in which the books differ; empty is the promise."""
        return [*self._doubled(), *self._told(), *self._seen(), *self._untold()]

    def _doubled(self) -> Iterator[str]:
        for id_, count in Counter(row.id for row in self.rows).items():
            if count > 1:
                yield f"{id_} has {count} rows"

    def _told(self) -> Iterator[str]:
        """Whoever got so much as the head of an answer has a row, and a whole answer has one with what it said."""
        rows = {row.id: row for row in self.rows}
        for outcome in self.outcomes:
            reply = outcome.reply
            if reply.id is None:
                continue
            row = rows.get(reply.id)
            if row is None:
                if reply.status in self.refusals:
                    continue
                yield f"{reply.id}, number {outcome.order.number}, status {reply.status}, has no row"
            elif reply.is_answered:
                yield from _differences(outcome, row)
            elif row.status != (500 if row.is_lost else reply.status):
                yield f"{reply.id} was told {reply.status} and has status {row.status}"

    def _seen(self) -> Iterator[str]:
        """A call has one row. A row without its call is of a worker that died between the two."""
        for number in self.calls.keys() | self._by_number.keys():
            calls, rows = self.calls.get(number, 0), self._by_number.get(number, [])
            unseen = sum(row.is_lost and not row.completion_tokens for row in rows)
            if not len(rows) - unseen <= calls <= len(rows):
                yield f"number {number}: the engine saw {calls} calls, the ledger has {len(rows)} rows"
            if number >= KEPT and len(rows) > 1:
                yield f"number {number} was sent once and has {len(rows)} rows"
            if any(row.completion_tokens > max_tokens_of(number) for row in rows):
                yield f"number {number} has more tokens than the engine gave"

    def _untold(self) -> Iterator[str]:
        """Rows that no client knows are of requests that broke off before the head of their answer."""
        told = {outcome.reply.id for outcome in self.outcomes}
        broken = Counter(outcome.order.number for outcome in self.outcomes if outcome.reply.id is None)
        for number, rows in self._by_number.items():
            if sum(row.id not in told for row in rows) > broken[number]:
                yield f"number {number} has rows that nobody asked for"
        if len(self.rows) > len(self.outcomes):
            yield f"{len(self.outcomes)} requests have {len(self.rows)} rows"


def _differences(outcome: Outcome, row: Row) -> Iterator[str]:
    order, reply = outcome.order, outcome.reply
    end = reply.end
    if end["id"] != row.id:
        yield f"{row.id} said in its body that it is {end['id']}"
    if reply.text != order.text:
        yield f"{row.id}, number {order.number}, got the text {reply.text!r}"
    tokens = (order.prompt_tokens, order.max_tokens)
    if (end["usage"]["prompt_tokens"], end["usage"]["completion_tokens"]) != tokens:
        yield f"{row.id} was told {end['usage']}"
    expected = (0, 0, sum(tokens), True) if end["cached"] else (*tokens, 0, False)
    kept = (row.prompt_tokens, row.completion_tokens, row.tokens_saved, row.is_cached)
    if (kept, row.status) != (expected, 200):
        yield f"{row.id} has {kept} and status {row.status}, not {expected}"


def row_of(values: Iterable[Any]) -> Row:
    """What one row of `ROWS` says, from either database."""
    id_, key_id, prompt, completion, saved, is_cached, status, error = values
    return Row(str(UUID(str(id_))), str(UUID(str(key_id))), prompt, completion, saved, bool(is_cached), status, error)


def read_rows(data_dir: Path) -> list[Row]:
    """All rows of the ledger; the service must have stopped."""
    with closing(sqlite3.connect(data_dir / "main.db")) as database:
        return [row_of(values) for values in database.execute(ROWS)]


def sums(data_dir: Path) -> dict[str, tuple[int, ...]]:
    """Requests, cached ones and tokens as the ledger, the rollups and the totals have them."""
    with closing(sqlite3.connect(data_dir / "main.db")) as database:
        return {name: database.execute(query).fetchone() for name, query in BOOK_SUMS.items()}


def dead_letters(data_dir: Path) -> int:
    with closing(sqlite3.connect(data_dir / "main.db")) as database:
        count: int = database.execute(DEAD_LETTERS).fetchone()[0]
    return count


async def read_rows_of(url: str) -> list[Row]:
    """As `read_rows`, from PostgreSQL under a role that sees all."""
    async with connected(url) as database:
        return [row_of(values) for values in await database.fetch(ROWS)]


async def sums_of(url: str) -> dict[str, tuple[int, ...]]:
    async with connected(url) as database:
        read = {name: await database.fetchrow(query) for name, query in BOOK_SUMS.items()}
    return {name: tuple(int(value or 0) for value in row or ()) for name, row in read.items()}


async def dead_letters_of(url: str) -> int:
    async with connected(url) as database:
        return int(await database.fetchval(DEAD_LETTERS))


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    database = await asyncpg.connect(url, timeout=10)
    try:
        yield database
    finally:
        await database.close()
