"""Single flight by itself: who leads, who follows, and what becomes of a flight without its leader."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from aiservice.cache import POLICY_DEFAULT, CacheKey, CachePolicy, Entry, ResponseCache
from aiservice.cache.memory import MemoryCache
from aiservice.cache.port import Cache
from aiservice.core.clock import ManualClock, SystemClock
from aiservice.core.errors import EngineBusy, EngineError, Unexpected
from aiservice.core.settings import CacheSettings
from aiservice.core.types import Chunk, Completion, Tokens
from aiservice.gateway.flights import Flight, Flights

KEY = CacheKey("k" * 64, "acme", "m")
PARTS = [Chunk("one "), Chunk("two"), Chunk("", "stop", Tokens(1, 2))]


class Worker:
    """The flights of one worker, over a cache that it shares with others."""

    def __init__(self, cache: Cache) -> None:
        self.cache = ResponseCache(CacheSettings(), cache)
        self.flights = Flights(self.cache)
        self.go_on = asyncio.Event()
        self.calls = 0

    async def board(self, lease_id: str, policy: CachePolicy = POLICY_DEFAULT) -> Flight | Entry:
        return await self.flights.board(KEY, lease_id, policy)

    async def lead(self, lease_id: str, *, error: Exception | None = None) -> Flight:
        flight = await self.board(lease_id)
        assert isinstance(flight, Flight)
        assert flight.lease_id == lease_id
        self.flights.depart(flight, self.engine(flight, error))
        return flight

    async def engine(self, flight: Flight, error: Exception | None) -> AsyncGenerator[Chunk]:
        self.calls += 1
        yield PARTS[0]
        await self.go_on.wait()
        if error is not None:
            raise error
        answer = Completion("m", "e", (Chunk("one two", "stop", Tokens(1, 2)),))
        await self.cache.keep(KEY, answer, lease_id=flight.lease_id)
        for part in PARTS[1:]:
            yield part


@pytest.fixture
def cache() -> MemoryCache:
    return MemoryCache(CacheSettings(), ManualClock())


@pytest.fixture
def worker(cache: MemoryCache) -> Worker:
    return Worker(cache)


async def read(flight: Flight | Entry) -> str:
    if isinstance(flight, Entry):
        return flight.completion.choices[0].text
    text, position = "", 0
    while not (chunk := await flight.chunk(position)).is_last:
        text, position = text + chunk.text, position + 1
    return text + chunk.text


async def test_one_leads_and_the_others_of_a_worker_read_along(worker: Worker) -> None:
    leader = await worker.lead("a")
    follower = await worker.board("b")
    assert follower is leader
    worker.go_on.set()
    assert [await read(leader), await read(follower)] == ["one two"] * 2
    assert worker.calls == 1


async def test_another_worker_waits_for_the_entry(cache: MemoryCache, worker: Worker) -> None:
    other = Worker(cache)
    leader = await worker.lead("a")
    waiting = [asyncio.create_task(other.board(name)) for name in "bcd"]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in waiting)
    worker.go_on.set()
    await read(leader)
    boarded = [await task for task in waiting]
    assert [await read(flight) for flight in boarded] == ["one two"] * 3
    assert [type(flight) for flight in boarded] == [Entry, Flight, Flight]
    assert other.calls == 0


async def test_the_leaders_error_reaches_each_follower_as_one_of_its_own(worker: Worker) -> None:
    leader = await worker.lead("a", error=EngineBusy("No slot.", retry_after_s=3))
    follower = await worker.board("b")
    assert isinstance(follower, Flight)
    worker.go_on.set()
    errors = []
    for flight in (leader, follower):
        with pytest.raises(EngineBusy, match="No slot") as caught:
            await read(flight)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert {error.retry_after_s for error in errors} == {3}


async def test_a_fault_in_the_leader_is_no_followers_fault(worker: Worker) -> None:
    leader = await worker.lead("a", error=ZeroDivisionError("?"))
    worker.go_on.set()
    with pytest.raises(Unexpected):
        await read(leader)


async def test_a_flight_that_all_have_left_is_called_off_and_the_next_one_leads(worker: Worker) -> None:
    leader = await worker.lead("a")
    await leader.chunk(0)
    worker.flights.leave(leader)
    with pytest.raises(EngineError, match="cut off"):
        await read(leader)
    again = await worker.lead("b")
    assert again is not leader
    await worker.flights.aclose()


async def test_nobody_boards_a_flight_that_was_called_off_and_has_not_landed(worker: Worker) -> None:
    leader = await worker.lead("a")
    await leader.chunk(0)
    worker.flights.leave(leader)
    await asyncio.sleep(0)
    assert leader.is_called_off
    assert leader.task is not None
    assert not leader.task.done()
    again = await worker.lead("b")
    worker.go_on.set()
    assert await read(again) == "one two"
    assert worker.calls == 2


async def test_a_flight_that_is_left_before_it_began_is_called_off_later(worker: Worker) -> None:
    leader = await worker.lead("a")
    worker.flights.leave(leader)
    assert leader.task is not None
    assert not leader.task.done()
    await asyncio.wait([leader.task], timeout=3)
    assert leader.task.cancelled()


async def test_who_waits_for_a_first_chunk_that_never_comes_starts_over(worker: Worker) -> None:
    async def silent() -> AsyncGenerator[Chunk]:
        await asyncio.Event().wait()
        yield PARTS[0]

    leader = await worker.board("a")
    assert isinstance(leader, Flight)
    worker.flights.depart(leader, silent())
    waiting = asyncio.create_task(worker.board("b"))
    await asyncio.sleep(0.01)
    assert leader.task is not None
    leader.task.cancel()
    boarded = await waiting
    assert isinstance(boarded, Flight)
    assert boarded.lease_id == "b"


async def test_an_error_before_the_first_chunk_is_raised_on_boarding(worker: Worker) -> None:
    async def failing() -> AsyncGenerator[Chunk]:
        raise EngineBusy
        yield PARTS[0]

    leader = await worker.board("a")
    assert isinstance(leader, Flight)
    waiting = asyncio.create_task(worker.board("b"))
    await asyncio.sleep(0)
    worker.flights.depart(leader, failing())
    with pytest.raises(EngineBusy):
        await waiting
    assert leader.readers == 1


async def test_who_stops_waiting_hands_the_waiting_on(cache: MemoryCache, worker: Worker) -> None:
    """The one that asks for its whole worker leaves: another of its worker asks on."""
    other = Worker(cache)
    leader = await worker.lead("a")
    first = asyncio.create_task(other.board("b"))
    second = asyncio.create_task(other.board("c"))
    await asyncio.sleep(0.03)
    first.cancel()
    worker.go_on.set()
    await read(leader)
    assert await read(await second) == "one two"


async def test_what_was_made_while_one_waited_is_fresh_for_it_and_what_is_older_is_not() -> None:
    cache = MemoryCache(CacheSettings(), SystemClock())
    worker, other = Worker(cache), Worker(cache)
    await worker.cache.keep(KEY, Completion("m", "e", (Chunk("old", "stop", Tokens(1, 2)),)))
    await asyncio.sleep(0.02)
    leader = await worker.board("a", CachePolicy(max_age_s=0))
    assert isinstance(leader, Flight)
    worker.flights.depart(leader, worker.engine(leader, None))
    waiting = asyncio.create_task(other.board("b", CachePolicy(max_age_s=0)))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    worker.go_on.set()
    await read(leader)
    assert await read(await waiting) == "one two"
    assert other.calls == 0


async def test_a_flight_that_the_last_of_other_workers_leaves_is_called_off_within_a_second() -> None:
    cache = MemoryCache(CacheSettings(), SystemClock())
    worker, other = Worker(cache), Worker(cache)
    leader = await worker.lead("a")
    waiting = [asyncio.create_task(other.board(name)) for name in "bc"]
    await asyncio.sleep(0.05)
    worker.flights.leave(leader)
    waiting[0].cancel()
    await asyncio.sleep(0.7)
    assert not leader.is_called_off, "one waits still"
    waiting[1].cancel()
    assert leader.task is not None
    await asyncio.wait([leader.task], timeout=0.9)
    assert leader.task.cancelled()


async def test_a_lost_leader_is_followed_by_one_of_another_worker(cache: MemoryCache, worker: Worker) -> None:
    other = Worker(cache)
    await worker.board("a")
    waiting = asyncio.create_task(other.board("b"))
    await asyncio.sleep(0.03)
    assert not waiting.done()
    await worker.cache.release(KEY, "a")
    boarded = await waiting
    assert isinstance(boarded, Flight)
    assert boarded.lease_id == "b"


async def test_closing_calls_every_flight_off(worker: Worker) -> None:
    leader = await worker.lead("a")
    await leader.chunk(0)
    await worker.flights.aclose()
    assert leader.task is not None
    assert leader.task.cancelled()
    await worker.flights.aclose()


async def test_after_a_clearing_nobody_boards_what_was_begun_before_it(cache: MemoryCache, worker: Worker) -> None:
    before = await worker.lead("a")
    along = await worker.board("b")
    await worker.cache.clear()
    after = await worker.lead("c")
    assert along is before
    assert after is not before
    worker.go_on.set()
    assert [await read(flight) for flight in (before, along, after)] == ["one two"] * 3
    assert worker.calls == 2
    assert await cache.get(KEY) is not None
    await worker.flights.aclose()


async def test_a_flight_that_somebody_boards_again_is_no_longer_looked_after(
    cache: MemoryCache, worker: Worker
) -> None:
    other = Worker(cache)
    leader = await worker.lead("a")
    await leader.chunk(0)
    waiting = asyncio.create_task(other.board("b"))
    await asyncio.sleep(0.03)
    worker.flights.leave(leader)
    await asyncio.sleep(0.03)
    follower = await worker.board("c")
    assert leader.look is not None
    await asyncio.wait_for(leader.look, 2)
    worker.go_on.set()
    assert [await read(flight) for flight in (follower, await waiting)] == ["one two"] * 2
    assert worker.calls == 1


async def test_closing_right_after_departure_leaves_no_call_unbegun(worker: Worker) -> None:
    await worker.lead("a")
    await worker.flights.aclose()
    assert worker.calls == 1
