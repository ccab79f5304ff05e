"""What only the SQLite limiter has to do: survive its file, stay small, and wait for nobody."""

import asyncio
from pathlib import Path

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.errors import StoreUnavailable
from aiservice.limits import Bucket, Cost, Slots, Take
from aiservice.limits.model import CLOSED_FOR_US, FULL_FOR_US, PRUNE_EVERY, PRUNE_ROWS
from aiservice.limits.sqlite import SqliteLimiter
from aiservice.stores.databases import open_hot


def bucket(name: str = "k", burst: int = 5) -> Bucket:
    return Bucket(f"requests:key:{name}", "acme", burst=burst, rate=burst, period_s=3_600)


def one(request_id: str, *, of: Bucket) -> Take:
    return Take(request_id, (Cost(of, 1),))


def damage(path: Path) -> None:
    with open_hot(path, synchronous="OFF") as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xee" * (size - 100))


def rows(path: Path, table: str) -> int:
    with open_hot(path, synchronous="OFF") as connection:
        (count,) = connection.execute(f"select count(*) from {table}").fetchone()
    connection.close()
    return int(count)


async def test_workers_share_one_bucket(tmp_path: Path) -> None:
    clock = ManualClock()
    first, second = SqliteLimiter(tmp_path / "l.db", clock), SqliteLimiter(tmp_path / "l.db", clock)
    for number in range(5):
        limiter = first if number % 2 else second
        assert (await limiter.take(one(str(number), of=bucket()))).is_allowed
    assert not (await first.take(one("6", of=bucket()))).is_allowed
    assert not (await second.take(one("7", of=bucket()))).is_allowed


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    clock = ManualClock()
    limiter = SqliteLimiter(tmp_path / "l.db", clock)
    await limiter.take(one("1", of=bucket()))
    await limiter.refund(one("1", of=bucket()))
    await limiter.take(one("2", of=bucket()))
    await limiter.aclose()
    again = SqliteLimiter(tmp_path / "l.db", clock)
    await again.refund(one("1", of=bucket()))
    (standing,) = await again.peek([bucket()])
    assert standing.remaining == 4


async def test_a_damaged_file_costs_at_most_one_more_burst(tmp_path: Path) -> None:
    clock, path = ManualClock(), tmp_path / "l.db"
    workers = [SqliteLimiter(path, clock) for _ in range(2)]
    admitted = 0
    for number in range(40):
        if number == 7:
            damage(path)
            clock.advance_s(1.0)
        decision = await workers[number % 2].take(one(str(number), of=bucket()))
        admitted += decision.is_allowed
    assert admitted == 10


async def test_who_leaves_as_its_take_is_decided_has_left_also_when_the_file_is_held(tmp_path: Path) -> None:
    limiter = SqliteLimiter(tmp_path / "l.db", ManualClock())
    holder = open_hot(tmp_path / "l.db", synchronous="OFF")
    leaving = asyncio.create_task(limiter.take(one("1", of=bucket())))
    await asyncio.sleep(0)

    def hold_and_leave() -> None:
        holder.execute("begin immediate")
        leaving.cancel()

    asyncio.get_running_loop().call_soon(hold_and_leave)
    with pytest.raises(asyncio.CancelledError):
        await leaving
    holder.close()
    (standing,) = await limiter.peek([bucket()])
    assert standing.remaining == 4


async def test_a_file_that_is_held_is_unavailable_and_takes_nothing(tmp_path: Path) -> None:
    limiter = SqliteLimiter(tmp_path / "l.db", ManualClock())
    await limiter.take(one("1", of=bucket()))
    holder = open_hot(tmp_path / "l.db", synchronous="OFF")
    holder.execute("begin immediate")
    with pytest.raises(StoreUnavailable):
        await limiter.take(one("2", of=bucket()))
    with pytest.raises(StoreUnavailable):
        await limiter.refund(one("1", of=bucket()))
    holder.execute("rollback")
    (standing,) = await limiter.peek([bucket()])
    assert standing.remaining == 4


async def test_takes_of_one_turn_are_decided_in_their_order(tmp_path: Path) -> None:
    limiter = SqliteLimiter(tmp_path / "l.db", ManualClock())
    takes = [one(str(number), of=bucket("a" if number % 3 else "b", burst=4)) for number in range(12)]
    decisions = await asyncio.gather(*map(limiter.take, takes))
    left = [(decision.is_allowed, decision.standings[0].remaining) for decision in decisions]
    assert left[0::3] == [(True, 3), (True, 2), (True, 1), (True, 0)]
    assert [pair for number, pair in enumerate(left) if number % 3] == [
        *[(True, 3), (True, 2), (True, 1), (True, 0)],
        *[(False, 0)] * 4,
    ]
    assert [standing.remaining for standing in await limiter.peek([bucket("a", burst=4), bucket("b", burst=4)])] == [
        0,
        0,
    ]


async def test_takes_of_one_turn_are_one_transaction(tmp_path: Path) -> None:
    limiter = SqliteLimiter(tmp_path / "l.db", ManualClock())
    watcher = open_hot(tmp_path / "l.db", synchronous="OFF")
    seen: list[int] = []

    async def taken(number: int) -> None:
        await limiter.take(one(str(number), of=bucket(f"k{number}")))
        seen.append(watcher.execute("select count(*) from buckets").fetchone()[0])

    await asyncio.gather(*map(taken, range(10)))
    assert seen == [10] * 10, "the first one hears of its take when all are kept"
    watcher.close()


async def test_slots_and_several_buckets_in_one_turn(tmp_path: Path) -> None:
    limiter = SqliteLimiter(tmp_path / "l.db", ManualClock())
    slots = (Slots("slots:key:k", "acme", 2),)
    takes = [Take(str(number), (Cost(bucket("a"), 1), Cost(bucket("b", 3), 1)), slots) for number in range(4)]
    decisions = await asyncio.gather(limiter.take(one("before", of=bucket("a"))), *map(limiter.take, takes))
    assert [decision.refused_by for decision in decisions] == [None, None, None, "slots:key:k", "slots:key:k"]
    standings = await limiter.peek([bucket("a"), bucket("b", 3)])
    assert [standing.remaining for standing in standings] == [2, 1]


async def test_a_limit_that_changes_within_a_turn(tmp_path: Path) -> None:
    limiter = SqliteLimiter(tmp_path / "l.db", ManualClock())
    hourly = Bucket("requests:key:k", "acme", burst=5, rate=5, period_s=3_600)
    minutely = Bucket("requests:key:k", "acme", burst=4, rate=4, period_s=60)
    decisions = await asyncio.gather(*(limiter.take(one(str(b.period_s), of=b)) for b in (hourly, minutely, hourly)))
    assert [decision.standings[0].remaining for decision in decisions] == [4, 3, 2]


async def test_who_is_cancelled_takes_nothing(tmp_path: Path) -> None:
    limiter = SqliteLimiter(tmp_path / "l.db", ManualClock())
    tasks = [asyncio.create_task(limiter.take(one(str(number), of=bucket()))) for number in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    asyncio.get_running_loop().call_soon(tasks[1].cancel)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results[:2]] == [asyncio.CancelledError, asyncio.CancelledError]
    (standing,) = await limiter.peek([bucket()])
    assert standing.remaining == 4, "the second was cancelled when it had been decided, and gave back"


async def test_a_held_file_is_unavailable_to_each_take_of_a_turn(tmp_path: Path) -> None:
    limiter = SqliteLimiter(tmp_path / "l.db", ManualClock())
    holder = open_hot(tmp_path / "l.db", synchronous="OFF")
    holder.execute("begin immediate")
    takes = [limiter.take(one(str(number), of=bucket())) for number in range(3)]
    errors = await asyncio.gather(*takes, return_exceptions=True)
    assert [type(error) for error in errors] == [StoreUnavailable] * 3
    assert len(set(map(id, errors))) == 3, "each has a traceback of its own"
    holder.execute("rollback")
    assert (await limiter.take(one("4", of=bucket()))).is_allowed


async def test_after_a_fault_of_our_own_nobody_waits_for_ever(tmp_path: Path) -> None:
    limiter = SqliteLimiter(tmp_path / "l.db", ManualClock())
    await limiter.aclose()
    faults: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(repr(context["exception"])))
    takes = [limiter.take(one(str(number), of=bucket())) for number in range(2)]
    results = await asyncio.gather(*takes, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2
    assert faults == ["ProgrammingError('Cannot operate on a closed database.')"]


async def test_full_buckets_closed_takes_and_lapsed_leases_leave(tmp_path: Path) -> None:
    clock, path = ManualClock(), tmp_path / "l.db"
    limiter = SqliteLimiter(path, clock)
    slots = (Slots("slots:key:k", "acme", 10_000),)
    for number in range(300):
        take = Take(f"old{number}", (Cost(bucket(f"old{number}"), 1),), slots)
        await limiter.take(take)
        await limiter.refund(one(f"old{number}", of=bucket(f"old{number}")))
    assert rows(path, "buckets") == rows(path, "closed_takes") == rows(path, "leases") == 300
    clock.advance_s((CLOSED_FOR_US + FULL_FOR_US) / 1_000_000 + 1)
    for number in range(PRUNE_EVERY):
        await limiter.take(one(f"new{number}", of=bucket("new", burst=10_000)))
    assert rows(path, "buckets") == 1
    assert rows(path, "closed_takes") == rows(path, "leases") == 0


async def test_pruning_walks_through_all_buckets_and_leaves_those_in_use(tmp_path: Path) -> None:
    clock, path = ManualClock(), tmp_path / "l.db"
    limiter = SqliteLimiter(path, clock)
    count = PRUNE_ROWS + PRUNE_EVERY
    for number in range(count):
        await limiter.take(one(f"a{number}", of=bucket(f"{number:05d}")))
    in_use = bucket("99999", burst=100_000)

    async def prune_thrice() -> int:
        for number in range(PRUNE_EVERY * 3):
            await limiter.take(one(f"b{number}", of=in_use))
        return rows(path, "buckets")

    assert await prune_thrice() == count + 1, "none is full yet"
    clock.advance_s(720 + 60)
    assert await prune_thrice() == count + 1, "none has been full for a minute"
    clock.advance_s(0.000001)
    assert await prune_thrice() == 1
    (standing,) = await limiter.peek([in_use])
    assert standing.remaining == 100_000 - PRUNE_EVERY * 6, "the first round has flowed back"


async def test_a_worker_looks_for_a_new_file_each_second_and_when_the_clock_went_back(tmp_path: Path) -> None:
    clock, path = ManualClock(), tmp_path / "l.db"
    first = SqliteLimiter(path, clock)

    async def replace_file() -> None:
        """Another worker makes the file anew and spends the whole bucket."""
        for part in ("l.db", "l.db-wal", "l.db-shm"):
            (tmp_path / part).unlink(missing_ok=True)
        other = SqliteLimiter(path, clock)
        await other.take(Take("all", (Cost(bucket(), 5),)))
        await other.aclose()

    await replace_file()
    clock.advance_s(0.999999)
    assert (await first.take(one("1", of=bucket()))).is_allowed, "not yet looked"
    clock.advance_s(0.000001)
    assert not (await first.take(one("2", of=bucket()))).is_allowed
    clock.advance_s(-3)
    await replace_file()
    await first.refund(Take("3", ()))
    assert (await first.peek([bucket()]))[0].remaining == 0


async def test_renewing_a_take_without_slots_touches_nothing(tmp_path: Path) -> None:
    limiter = SqliteLimiter(tmp_path / "l.db", ManualClock())
    await limiter.aclose()
    await limiter.renew(one("1", of=bucket()))


async def test_settling_what_was_taken_touches_nothing(tmp_path: Path) -> None:
    limiter = SqliteLimiter(tmp_path / "l.db", ManualClock())
    await limiter.aclose()
    await limiter.settle(one("1", of=bucket()), (1,))
