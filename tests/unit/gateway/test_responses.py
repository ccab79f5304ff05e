"""Stored responses: how long they live, and jobs that outlive their clients but neither a cancel nor a stop."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from aiservice.core.clock import ManualClock
from aiservice.core.errors import (
    AIServiceError,
    EngineError,
    InvalidRequest,
    LimitExceeded,
    Overloaded,
    ResponseUnknown,
    StoreUnavailable,
)
from aiservice.core.ids import uuid7
from aiservice.core.settings import ResponseSettings
from aiservice.core.types import Chunk
from aiservice.gateway.responses import Ending, Job, Name, Responses
from aiservice.gateway.responses.memory import MemoryResponseStore
from aiservice.gateway.responses.port import LEASE_S
from aiservice.gateway.responses.service import SWEEP_ROWS, Rhythm

QUEUED = Ending("in_progress", b"queued", b"")
WHOLE = Ending("completed", b"whole", b"chunks")
FAILED = Ending("failed", b"failed", b"some chunks")
QUICK = Rhythm(patience_s=0.005, look_every_s=0.005, renew_every_s=0.005, sweep_every_s=0.005)
DAY_S = 86_400


class Store(MemoryResponseStore):
    """A store that can be made unavailable, whole or for some of its methods."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.down: set[str] = set()
        self.calls: list[str] = []

    def __getattribute__(self, name: str):
        found = super().__getattribute__(name)
        if name.startswith("_") or name in {"down", "calls"}:
            return found

        async def called(*args, **options):
            self.calls.append(name)
            if name in self.down:
                raise StoreUnavailable
            return await found(*args, **options)

        return called


@dataclass
class Work:
    """Publishes a chunk, waits to be let go, and ends as it is told."""

    error: Exception | None = None
    go: asyncio.Event = field(default_factory=asyncio.Event)
    was_cancelled: bool = False

    async def make(self, job: Job) -> Ending:
        job.publish(Chunk("one "))
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        if self.error is not None:
            raise self.error
        job.publish(Chunk("two"))
        return WHOLE

    def failed(self, error: AIServiceError) -> Ending:
        return FAILED


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> Store:
    return Store(clock)


@pytest.fixture
def responses(store: Store, clock: ManualClock) -> Responses:
    return Responses(store, ResponseSettings(ttl_days=2), clock, rhythm=QUICK)


def new_name(tenant_id: str = "acme") -> Name:
    return tenant_id, uuid7(1_750_000_000_000_000)


async def begun(responses: Responses, work: Work) -> Job:
    return await responses.begin(new_name(), work, queued=QUEUED, conversation=b"[]")


async def over(job: Job) -> None:
    assert job.task is not None
    await asyncio.wait({job.task}, timeout=5)
    assert await job.chunk(99) is None


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not is_so():
            await asyncio.sleep(0.002)


async def test_a_kept_response_is_found_until_its_days_are_over(responses, clock):
    name = new_name()
    await responses.keep(name, WHOLE, conversation=b"[1]")
    clock.advance_s(2 * DAY_S - 1)

    found = await responses.find(name)
    assert (found.status, found.body, found.conversation, found.is_background) == ("completed", b"whole", b"[1]", False)
    clock.advance_s(1)
    with pytest.raises(ResponseUnknown):
        await responses.find(name)


async def test_a_response_that_cannot_be_kept_is_refused(responses, store):
    store.down = {"add"}

    with pytest.raises(StoreUnavailable):
        await responses.keep(new_name(), WHOLE, conversation=b"[]")


async def test_a_deleted_response_is_unknown(responses):
    name = new_name()
    await responses.keep(name, WHOLE, conversation=b"[]")

    await responses.delete(name)

    for call in (responses.find, responses.delete, responses.cancel, responses.ended):
        with pytest.raises(ResponseUnknown):
            await call(name)


async def test_only_background_responses_are_cancelled(responses):
    name = new_name()
    await responses.keep(name, WHOLE, conversation=b"[]")

    with pytest.raises(InvalidRequest, match="background"):
        await responses.cancel(name)


async def test_a_job_is_in_progress_and_then_whole(responses):
    work = Work()
    job = await begun(responses, work)

    assert responses.job(job.name) is job
    assert (await responses.find(job.name)).is_running
    assert await job.chunk(0) == Chunk("one ")
    work.go.set()
    assert await job.chunk(1) == Chunk("two")
    assert await job.chunk(2) is None
    found = await responses.find(job.name)
    assert (found.status, found.body, found.chunks) == ("completed", b"whole", b"chunks")
    assert responses.job(job.name) is None
    assert (await responses.cancel(job.name)).status == "completed"


async def test_one_that_is_made_at_once_is_stored_whole(responses):
    work = Work()
    work.go.set()

    job = await begun(responses, work)
    await over(job)

    assert (await responses.find(job.name)).body == b"whole"


async def test_what_fails_at_once_is_said_and_not_stored(responses, store):
    work = Work(error=LimitExceeded())
    work.go.set()

    with pytest.raises(LimitExceeded):
        await begun(responses, work)

    assert "add" not in store.calls


async def test_what_fails_later_is_told_by_the_response(responses):
    work = Work(error=EngineError())
    job = await begun(responses, work)
    work.go.set()

    found = await responses.ended(job.name)

    assert (found.status, found.body, found.chunks) == ("failed", b"failed", b"some chunks")


async def test_a_client_that_leaves_before_it_has_an_id_ends_the_work(store, clock):
    responses = Responses(store, ResponseSettings(), clock, rhythm=Rhythm(patience_s=30))
    work = Work()
    beginning = asyncio.create_task(begun(responses, work))
    await asyncio.sleep(0.01)

    beginning.cancel()
    await asyncio.wait({beginning})

    assert work.was_cancelled
    assert "add" not in store.calls


async def test_work_whose_response_cannot_be_stored_is_ended(responses, store):
    store.down = {"add"}
    work = Work()

    with pytest.raises(StoreUnavailable):
        await begun(responses, work)

    assert work.was_cancelled


async def test_a_cancelled_one_ends_its_work_and_stays_cancelled(responses):
    work = Work()
    job = await begun(responses, work)

    assert (await responses.cancel(job.name)).status == "cancelled"
    await over(job)
    assert work.was_cancelled
    assert (await responses.cancel(job.name)).status == "cancelled"
    assert (await responses.ended(job.name)).body == b"queued"


async def test_a_deleted_one_ends_its_work(responses):
    work = Work()
    job = await begun(responses, work)

    await responses.delete(job.name)
    await over(job)

    assert work.was_cancelled


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_what_is_ended_through_another_worker_is_heard_of(responses, store, clock, how):
    other = Responses(store, ResponseSettings(), clock, rhythm=QUICK)
    tending = asyncio.create_task(responses.tend())
    ended, going_on = Work(), Work()
    job, second = await begun(responses, ended), await begun(responses, going_on)

    await getattr(other, how)(job.name)
    await over(job)
    tending.cancel()
    await asyncio.wait({tending})

    assert ended.was_cancelled
    assert responses.job(second.name) is second
    assert not going_on.was_cancelled
    await responses.aclose()


async def test_a_worker_hears_of_a_cancel_within_a_second():
    assert Rhythm().look_every_s <= 0.5


async def test_another_worker_waits_for_the_end(responses, store, clock):
    other = Responses(store, ResponseSettings(), clock, rhythm=QUICK)
    work = Work()
    job = await begun(responses, work)
    waiting = asyncio.create_task(other.ended(job.name))
    await asyncio.sleep(0.02)
    assert not waiting.done()

    work.go.set()

    assert (await asyncio.wait_for(waiting, 5)).body == b"whole"


async def test_one_whose_worker_died_has_failed_when_its_lease_lapses(responses, store, clock):
    job = await begun(responses, Work())
    other = Responses(store, ResponseSettings(), clock, rhythm=QUICK)
    clock.advance_s(LEASE_S - 1)
    assert (await other.find(job.name)).is_running
    clock.advance_s(1)

    assert (await other.find(job.name)).status == "failed"
    await responses.aclose()


async def test_one_that_ends_while_its_lease_is_found_lapsed_is_told_as_it_ended(store, clock):
    class Late(MemoryResponseStore):
        async def close(self, name, status, *, lapsed_only=False):
            await self.finish(name, WHOLE)
            return await super().close(name, status, lapsed_only=lapsed_only)

    responses = Responses(Late(clock), ResponseSettings(), clock, rhythm=QUICK)
    job = await begun(responses, Work())
    clock.advance_s(LEASE_S)

    assert (await responses.find(job.name)).body == b"whole"
    assert (await responses.cancel(job.name)).status == "completed"
    await responses.aclose()


async def test_one_that_ends_while_it_is_cancelled_stays_as_it_ended(clock):
    class Late(MemoryResponseStore):
        async def close(self, name, status, *, lapsed_only=False):
            await self.finish(name, WHOLE)
            return await super().close(name, status, lapsed_only=lapsed_only)

    responses = Responses(Late(clock), ResponseSettings(), clock, rhythm=QUICK)
    work = Work()
    job = await begun(responses, work)

    assert (await responses.cancel(job.name)).body == b"whole"
    assert not work.was_cancelled
    await responses.aclose()


async def test_a_living_job_keeps_its_lease(responses, clock):
    tending = asyncio.create_task(responses.tend())
    job = await begun(responses, Work())
    for _ in range(4):
        clock.advance_s(LEASE_S - 1)
        now_us = clock.now_us()
        await until_renewed(responses, job, now_us)

    assert (await responses.find(job.name)).is_running
    tending.cancel()
    await responses.aclose()


async def until_renewed(responses: Responses, job: Job, now_us: int) -> None:
    async with asyncio.timeout(5):
        while (await responses.find(job.name)).lease_until_us < now_us + LEASE_S * 1_000_000:
            await asyncio.sleep(0.002)


async def test_a_stop_ends_all_work_as_failed(responses):
    works = [Work() for _ in range(3)]
    jobs = [await begun(responses, work) for work in works]

    await asyncio.wait_for(responses.aclose(), 5)

    assert all(work.was_cancelled for work in works)
    assert [(await responses.find(job.name)).status for job in jobs] == ["failed"] * 3


async def test_a_stop_that_cannot_be_written_down_leaves_it_to_the_lease(responses, store, clock, caplog):
    job = await begun(responses, Work())
    store.down = {"close"}

    await responses.aclose()
    assert "leases lapse" in caplog.text

    store.down = set()
    clock.advance_s(LEASE_S)
    assert (await responses.find(job.name)).status == "failed"


async def test_an_end_that_cannot_be_stored_leaves_it_to_the_lease(responses, store, clock, caplog):
    work = Work()
    job = await begun(responses, work)
    store.down = {"finish"}
    work.go.set()
    await over(job)

    assert "cannot be stored" in caplog.text
    clock.advance_s(LEASE_S)
    assert (await responses.find(job.name)).status == "failed"


async def test_a_fault_of_the_work_is_logged_and_left_to_the_lease(responses, clock, caplog):
    work = Work(error=ZeroDivisionError("a fault"))
    job = await begun(responses, work)
    work.go.set()
    await over(job)

    assert "ZeroDivisionError" in caplog.text
    clock.advance_s(LEASE_S)
    assert (await responses.find(job.name)).status == "failed"


async def test_a_job_that_is_ended_before_its_first_step_ends_its_work(responses):
    work = Work()
    job = await begun(responses, work)
    assert job.task is not None

    job.task.cancel()
    await over(job)
    await until(lambda: work.was_cancelled)


async def test_a_job_that_is_storing_its_end_is_not_called_off(responses, store, clock):
    may_finish = asyncio.Event()

    class Slow(MemoryResponseStore):
        async def finish(self, name, ending):
            await may_finish.wait()
            return await super().finish(name, ending)

    responses = Responses(Slow(clock), ResponseSettings(), clock, rhythm=QUICK)
    tending = asyncio.create_task(responses.tend())
    work = Work()
    job = await begun(responses, work)
    work.go.set()
    await until(lambda: job.is_ending)
    await asyncio.sleep(0.02)

    closing = asyncio.create_task(responses.aclose())
    await asyncio.sleep(0.01)
    may_finish.set()
    await asyncio.wait_for(closing, 5)
    tending.cancel()

    assert (await responses.find(job.name)).body == b"whole"


async def test_there_are_no_more_jobs_than_a_worker_can_bear(store, clock):
    responses = Responses(store, ResponseSettings(), clock, rhythm=QUICK, jobs_max=1)
    await begun(responses, Work())

    with pytest.raises(Overloaded) as refused:
        await begun(responses, Work())

    assert refused.value.retry_after_s
    await responses.aclose()


async def test_what_has_expired_is_swept(responses, store, clock):
    names = [new_name() for _ in range(SWEEP_ROWS + 1)]
    for name in names:
        await responses.keep(name, WHOLE, conversation=b"[]")
    clock.advance_s(2 * DAY_S)
    tending = asyncio.create_task(responses.tend())

    await until(lambda: store.calls.count("sweep") >= 2)
    tending.cancel()

    assert await store.sweep(rows_max=1) == 0


async def test_a_store_that_is_away_for_a_while_stops_no_loop(responses, store, caplog):
    caplog.set_level(logging.WARNING)
    work = Work()
    job = await begun(responses, work)
    store.down = {"running", "renew", "sweep"}
    tending = asyncio.create_task(responses.tend())
    for text in ("still wanted", "not renewed", "not swept"):
        await until(lambda text=text: text in caplog.text)

    store.down = set()
    assert await store.close(job.name, "cancelled")
    await over(job)
    assert work.was_cancelled
    tending.cancel()
