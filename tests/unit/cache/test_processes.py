"""Several processes on one file: none gives what another has replaced or cleared, and a killed one leaves no harm.

On a busy machine a process may hold the file for longer than the others wait: what then failed is counted by them.
"""

import asyncio
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from msgspec.structs import replace

from aiservice.cache.sqlite import SqliteCache
from aiservice.core.clock import SystemClock
from aiservice.core.errors import StoreUnavailable
from aiservice.core.settings import CacheSettings
from tests.unit.cache.workers import ANSWER, KEY, SECRET, saying

# A child that is forked from the test needs no import: hundreds may start in a second.
FORK = multiprocessing.get_context("fork")
LOOK_S = 1.5
KILLS = 15

Work = Callable[[SqliteCache], Awaitable[None]]


def started(path: Path, work: Work) -> multiprocessing.process.BaseProcess:
    """A process with a cache of its own that does the work; exits with 1 if an assertion in it fails."""

    async def with_cache() -> None:
        cache = SqliteCache(path, CacheSettings(), SystemClock(), secret=SECRET)
        await work(cache)
        await cache.aclose()

    process = FORK.Process(target=lambda: asyncio.run(with_cache()), daemon=True)
    process.start()
    return process


def stored_text(path: Path) -> str:
    """What the file itself has."""
    with closing(sqlite3.connect(path)) as connection:
        ((data,),) = connection.execute("select response_data from ai_cache").fetchall()
    return data.decode().partition('"text":"')[2].partition('"')[0]


def test_no_worker_gives_what_was_replaced_or_cleared_before_it_asked(tmp_path: Path) -> None:
    """What is read is never older than what anyone had written, cleared or read before the reading began."""
    path = tmp_path / "cache.db"
    written: Synchronized[int] = FORK.Value("q", 0)
    cleared: Synchronized[int] = FORK.Value("q", -1)
    read: Synchronized[int] = FORK.Value("q", 0)
    looks: Synchronized[int] = FORK.Value("q", 0)
    is_over = FORK.Event()

    async def write(cache: SqliteCache) -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            failures = cache.failures
            await cache.put(KEY, saying(str(number)))
            if cache.failures == failures:
                written.value = number
            await asyncio.sleep(random.random() * 0.002)
            if number % 5 == 0:
                with suppress(StoreUnavailable):
                    await cache.clear(tenant_id="acme")
                    cleared.value = number
                await asyncio.sleep(random.random() * 0.001)

    async def look(cache: SqliteCache) -> None:
        while not is_over.is_set():
            least, gone = max(written.value, read.value), cleared.value
            entry = await cache.get(KEY)
            if entry is not None:
                number = int(entry.completion.choices[0].text)
                assert number >= least, "older than what someone had seen"
                assert number > gone, "from before a clearing"
                with read:
                    read.value = max(read.value, number)
            with looks:
                looks.value += 1

    processes = [started(path, work) for work in (write, look, look, look)]
    time.sleep(LOOK_S)
    is_over.set()
    for process in processes:
        process.join(10)
    assert [process.exitcode for process in processes] == [0] * 4
    assert written.value > 50
    assert looks.value > 1_000
    assert read.value > 50


def test_a_worker_killed_at_any_moment_leaves_the_others_right(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"

    async def write(cache: SqliteCache) -> None:
        number = os.getpid() * 1_000_000
        while True:
            number += 1
            await cache.put(KEY, saying(str(number)))
            await cache.claim(KEY, str(number), max_age_s=0)

    async def watch() -> None:
        cache = SqliteCache(path, CacheSettings(), SystemClock(), secret=SECRET, tend_after_s=0.01)
        await cache.put(KEY, ANSWER)
        for _ in range(KILLS):
            writer = started(path, write)
            process_id = writer.pid
            assert process_id is not None
            ends_at = time.monotonic() + 0.02 + random.random() * 0.03
            while time.monotonic() < ends_at:
                await cache.get(KEY)
            os.kill(process_id, signal.SIGKILL)
            writer.join()
            for _ in range(3):
                entry = await cache.get(KEY)
                assert entry is not None
                assert entry.completion.choices[0].text == stored_text(path)
            await asyncio.sleep(0.03)
            await cache.get(KEY)
            assert not cache._stamps.is_torn
        await cache.aclose()

    asyncio.run(watch())


def test_one_of_many_processes_leads(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    leaders: Synchronized[int] = FORK.Value("q", 0)
    waited_for: Synchronized[int] = FORK.Value("q", 0)
    failures: Synchronized[int] = FORK.Value("q", 0)
    answers: Synchronized[int] = FORK.Value("q", 0)
    barrier = FORK.Barrier(8)

    async def ask(cache: SqliteCache) -> None:
        barrier.wait(10)
        for number in range(10):
            key = replace(KEY, digest=f"{number:064x}")
            while (claim := await cache.claim(key, str(os.getpid()))).entry is None:
                if claim.is_leader:
                    with leaders:
                        leaders.value += 1
                    for _ in range(500):
                        if await cache.renew(key, str(os.getpid())):
                            waited_for.value += 1
                            break
                        await asyncio.sleep(0.002)
                    await cache.put(key, ANSWER, lease_id=str(os.getpid()))
                await asyncio.sleep(0.002)
            with answers:
                answers.value += 1
        with failures:
            failures.value += cache.failures

    processes = [started(path, ask) for _ in range(8)]
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 8
    assert answers.value == 80
    assert 10 <= leaders.value <= 10 + failures.value
    assert waited_for.value >= 10, "each leader heard that the others wait"
