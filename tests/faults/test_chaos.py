"""Everything at once: workers, Redis and PostgreSQL are killed and the disk fills up, and the ledger is still exact.

FAULTS=full is the long form, FAULTS=huge as many times of it as it takes to answer a million requests.
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.disks import fill, small_spool
from tests.faults.load import CLIENTS, Outcome
from tests.faults.serving import Served
from tests.faults.stores import Stores, postgres_stopped, redis_back_empty, redis_killed, storing
from tests.faults.test_kills import adopted
from tests.faults.trial import DATA, WORKERS, Trial, trying
from tests.servers.binaries import PostgresBinaries

SEED = 20260214
# Room for the files and reserves of all workers, and of some dead ones that wait for the database.
SPOOL_MIB = 320


@dataclass(frozen=True)
class Size:
    """How much happens in a run, and how many runs there are. Each round kills every worker once."""

    rounds: int
    redis_kills: int
    postgres_stops: int
    disk_fulls: int
    requests: int
    pause_s_max: float
    runs: int = 1


SIZES = {
    "": Size(rounds=3, redis_kills=3, postgres_stops=3, disk_fulls=1, requests=12_000, pause_s_max=6),
    "full": Size(rounds=10, redis_kills=5, postgres_stops=5, disk_fulls=2, requests=50_000, pause_s_max=10),
    "huge": Size(rounds=3, redis_kills=2, postgres_stops=2, disk_fulls=1, requests=60_000, pause_s_max=20, runs=17),
}
SIZE = SIZES[os.environ.get("FAULTS", "")]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600 if SIZE is SIZES[""] else 7_200)]

Mishap = Callable[[], AbstractAsyncContextManager[None]]


async def kill_workers(served: Served, chance: random.Random) -> int:
    """Each once a round, in random order, so that the supervisor's pauses after five deaths in a minute stay away."""
    kills = 0
    for _ in range(SIZE.rounds):
        for victim in chance.sample(served.workers(), WORKERS):
            await asyncio.sleep(chance.uniform(0.05, SIZE.pause_s_max))
            os.kill(victim, signal.SIGKILL)
            kills += 1
            await served.replaced(victim, count=WORKERS)
    return kills


@asynccontextmanager
async def disk_full(trial: Trial) -> AsyncIterator[None]:
    """Until somebody was refused for it: files that are open have room until their last block is full."""
    filler = trial.served.data_dir / "spool" / "filler"
    seen = len(trial.load.outcomes)
    await asyncio.to_thread(fill, filler)
    yield
    async with asyncio.timeout(60):
        while not any(is_refused(outcome, "usage.spool_full") for outcome in trial.load.outcomes[seen:]):
            await asyncio.sleep(0.1)
    filler.unlink()


async def spoil_stores(trial: Trial, stores: Stores, chance: random.Random) -> Counter[str]:
    """In random order, one after the other; workers die beside."""
    half = SIZE.redis_kills // 2
    mishaps: list[tuple[str, Mishap]] = [
        *[("redis", lambda: redis_killed(stores))] * (SIZE.redis_kills - half),
        *[("redis", lambda: redis_back_empty(stores))] * half,
        *[("postgres", lambda: postgres_stopped(stores))] * SIZE.postgres_stops,
        *[("disk", lambda: disk_full(trial))] * SIZE.disk_fulls,
    ]
    chance.shuffle(mishaps)
    happened: Counter[str] = Counter()
    for name, mishap in mishaps:
        await asyncio.sleep(chance.uniform(1, 2 * SIZE.pause_s_max))
        async with mishap():
            await asyncio.sleep(chance.uniform(0.5, 4))
        happened[name] += 1
    return happened


async def answered(trial: Trial, count: int) -> None:
    """Waits until so many requests were answered."""
    while trial.load.count_answered < count:
        await asyncio.sleep(0.5)


def told(name: str, trial: Trial, took_s: float, happened: Counter[str]) -> str:
    outcomes = trial.load.outcomes
    broken = [outcome for outcome in outcomes if not outcome.reply.is_whole]
    statuses = Counter(outcome.reply.status for outcome in outcomes if outcome.reply.is_whole)
    return (
        f"{name}: {dict(happened)} in {took_s:.0f} s: {len(outcomes)} requests, {dict(statuses)}, "
        f"{len(broken)} broken, {sum(trial.witness.counts().values())} calls of the engine"
    )


@pytest.mark.parametrize("run", range(SIZE.runs))
async def test_rows_are_exact_whatever_happens(
    tmp_path: Path, redis_binary: Path, postgres: PostgresBinaries, postgres_template: Path, run: int
) -> None:
    began_s = time.monotonic()
    with small_spool(tmp_path / DATA, SPOOL_MIB):
        async with storing(redis_binary, postgres, postgres_template) as stores:
            environ = stores.environ()
            async with trying(tmp_path, environ, seed=SEED + run, clients=CLIENTS) as trial:
                killing = asyncio.create_task(kill_workers(trial.served, random.Random(f"{SEED} {run} workers")))
                happened = await spoil_stores(trial, stores, random.Random(f"{SEED} {run} stores"))
                happened["workers"] = await killing
                await answered(trial, SIZE.requests)
                await adopted(trial.served)
            print(told(f"run {run}", trial, time.monotonic() - began_s, happened))  # noqa: T201 - a run's figures
            assert await trial.faults(stores.urls.superuser, environ) == []
            assert list((tmp_path / DATA / "spool").iterdir()) == []
    assert happened == Counter(
        workers=SIZE.rounds * WORKERS,
        redis=SIZE.redis_kills,
        postgres=SIZE.postgres_stops,
        disk=SIZE.disk_fulls,
    )
    statuses = {outcome.reply.status for outcome in trial.load.outcomes if outcome.reply.is_whole}
    assert statuses == {200, 503}
    assert all(is_explained(outcome) for outcome in trial.load.outcomes)


def is_explained(outcome: Outcome) -> bool:
    """Answered, broken by a kill, or told what is the matter and when to ask again."""
    reply = outcome.reply
    if reply.is_answered or not reply.is_whole:
        return True
    return int(reply.headers.get("retry-after", "0")) >= 1 and (
        is_refused(outcome, "stores.unavailable") or is_refused(outcome, "usage.spool_full")
    )


def is_refused(outcome: Outcome, code: str) -> bool:
    return outcome.reply.status == 503 and f'"{code}"'.encode() in outcome.reply.body
