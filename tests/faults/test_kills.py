"""Workers are killed under load, and the ledger still has every request exactly once.

FAULTS=full kills 40 times in 20,000 requests and more; without it the test is a short one of the same kind.
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.books import Books, Row, dead_letters, read_rows, sums
from tests.faults.client import Reply
from tests.faults.load import KEPT, KEYS, Load, Order, Outcome, make_keys
from tests.faults.serving import Served, command, serving
from tests.faults.witness import Witness, witnessing

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

WORKERS = 4
SEED = 20260131
IS_FULL = os.environ.get("FAULTS") == "full"
# Each round kills every worker once, in random order, so that the supervisor's pauses after five deaths of one place
# in a minute do not take over.
ROUNDS = 10 if IS_FULL else 1
REQUESTS = 20_000 if IS_FULL else 2_000
PAUSES_S = (0.05, 10) if IS_FULL else (0.05, 3)


async def kill_in_rounds(served: Served, chance: random.Random) -> int:
    kills = 0
    for _ in range(ROUNDS):
        victims = served.workers()
        chance.shuffle(victims)
        for victim in victims:
            await asyncio.sleep(chance.uniform(*PAUSES_S))
            os.kill(victim, signal.SIGKILL)
            kills += 1
            await served.replaced(victim, count=WORKERS)
    return kills


async def adopted(served: Served) -> None:
    """Waits until the folders of dead workers are gone."""
    async with asyncio.timeout(30):
        while sum(folder.is_dir() for folder in (served.data_dir / "spool").iterdir()) > WORKERS:
            await asyncio.sleep(0.1)


async def loaded_and_killed(data_dir: Path, witness: Witness) -> tuple[Books, int]:
    async with serving(data_dir, WORKERS=str(WORKERS), OPENAI_BASE_URL=witness.url) as served:
        keys = await make_keys(served)
        load = Load(served.port, keys, seed=SEED)
        await load.warm()
        killing = asyncio.create_task(kill_in_rounds(served, random.Random(SEED)))
        await load.run(lambda: killing.done() and len(load.outcomes) >= REQUESTS)
        await adopted(served)
    key_ids = [key.id for key in keys]
    return Books(load.outcomes, witness.counts(), read_rows(data_dir), key_ids), await killing


async def test_every_request_has_exactly_one_row_whoever_is_killed(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    began_s = time.monotonic()
    async with witnessing(tmp_path) as witness:
        books, kills = await loaded_and_killed(data_dir, witness)
    broken = [outcome.reply for outcome in books.outcomes if not outcome.reply.is_answered]
    print(  # noqa: T201 - the figures of a run, seen with -s and when it fails
        f"{kills} kills, {len(books.outcomes)} requests in {time.monotonic() - began_s:.0f} s: "
        f"{len(books.outcomes) - len(broken)} answered, {len(broken)} broken ({sum(r.id is None for r in broken)} "
        f"without a head), {sum(books.calls.values())} calls, {len(books.rows)} rows, "
        f"{sum(row.is_lost for row in books.rows)} of lost requests, {sum(row.is_cached for row in books.rows)} cached"
    )
    assert books.faults() == []
    assert kills == ROUNDS * WORKERS
    assert len(books.outcomes) >= REQUESTS
    # Only kills break requests. A file that another worker holds for longer than 50 ms is said with 503.
    told = Counter(reply.status for reply in broken if reply.is_whole)
    assert set(told) <= {503}
    assert told[503] <= len(books.outcomes) // 1_000
    assert any(row.is_lost for row in books.rows)
    assert any(row.is_cached for row in books.rows)
    assert dead_letters(data_dir) == 0
    assert list((data_dir / "spool").iterdir()) == []
    summed = sums(data_dir)
    assert summed["rows"][0] == len(books.rows)
    assert summed["rollups"] == summed["totals"] == summed["rows"]
    code, printed = await command(data_dir, "usage", "reconcile")
    assert code == 0, printed


ORDER = Order(KEPT, "paced-0", is_stream=False, is_kept=False)
BODY = (
    b'{"id": "1", "response": "32.0 32.1 32.2 32.3 32.4 ", "cached": false,'
    b' "usage": {"prompt_tokens": 11, "completion_tokens": 5}}'
)
TOLD = Outcome(ORDER, Reply(200, {"x-request-id": "1"}, bytearray(BODY), is_whole=True))
BROKEN = Outcome(replace(ORDER, number=KEPT + KEYS), Reply())
ROW = Row("1", "key", 11, 5, 0, is_cached=False, status=200, error=None)
DIED = replace(ROW, id="2", prompt_tokens=12, completion_tokens=0, status=500, error="worker_lost")


@pytest.mark.parametrize(
    ("outcomes", "calls", "rows"),
    [
        pytest.param([TOLD, BROKEN], {KEPT: 1, KEPT + KEYS: 1}, [ROW, DIED], id="all is told, seen and kept"),
        pytest.param([TOLD, BROKEN], {KEPT: 1}, [ROW, DIED], id="the worker died before it called"),
        pytest.param([TOLD, BROKEN], {KEPT: 1}, [ROW], id="the worker died before it began"),
    ],
)
def test_books_that_agree(outcomes: list[Outcome], calls: dict[int, int], rows: list[Row]) -> None:
    assert Books(outcomes, calls, rows, ["key"]).faults() == []


@pytest.mark.parametrize(
    ("outcomes", "calls", "rows"),
    [
        pytest.param([TOLD, BROKEN], {KEPT: 1, KEPT + KEYS: 1}, [DIED], id="an answer has no row"),
        pytest.param([TOLD, BROKEN], {KEPT: 1, KEPT + KEYS: 1}, [ROW], id="a call has no row"),
        pytest.param([TOLD, BROKEN], {KEPT: 2, KEPT + KEYS: 1}, [ROW, DIED], id="a call was made twice"),
        pytest.param([TOLD], {KEPT: 1}, [ROW, ROW], id="a row is there twice"),
        pytest.param([TOLD], {KEPT: 1}, [ROW, replace(ROW, id="3")], id="a request has two rows"),
        pytest.param([TOLD], {KEPT: 1}, [replace(ROW, completion_tokens=4)], id="a row has other tokens"),
        pytest.param([TOLD], {KEPT: 1}, [replace(ROW, status=499)], id="a row has another status"),
        pytest.param([TOLD], {KEPT: 1}, [ROW, DIED], id="a row is of no request"),
        pytest.param([TOLD], {}, [ROW], id="an answer was not the engine's"),
    ],
)
def test_books_that_do_not_agree(outcomes: list[Outcome], calls: dict[int, int], rows: list[Row]) -> None:
    assert Books(outcomes, calls, rows, ["key"]).faults() != []
