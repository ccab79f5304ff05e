"""The corridor over the memory twins of its rooms: what happens where a room fails."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from aiservice.cache import POLICY_DEFAULT, CachePolicy, ResponseCache
from aiservice.cache.memory import MemoryCache
from aiservice.core.clock import ManualClock
from aiservice.core.errors import (
    EngineBusy,
    EngineError,
    EngineTimeout,
    ModelUnfit,
    NotAllowed,
    NotCached,
    SpoolFull,
    StoreUnavailable,
    Unexpected,
)
from aiservice.core.ids import uuid7
from aiservice.core.settings import CacheSettings, KeySettings, LimitSettings, UsageSettings
from aiservice.core.types import Asked, Chunk, Deadline, Embedding, Generation, Image, Message, merged
from aiservice.engines import Registry
from aiservice.engines.fake import FakeEngine, Say
from aiservice.engines.model import EngineSpec, Price
from aiservice.gateway import Corridor, Recorder, Visit
from aiservice.keys import LOCAL_CALLER, Caller, Keys
from aiservice.keys.memory import MemoryKeyStore
from aiservice.limits import Limits, Take, TakeRefused
from aiservice.limits.memory import MemoryLimiter, MemoryRuleStore
from aiservice.limits.model import LEASE_S
from aiservice.observe.metrics import Metrics
from aiservice.usage import Ledger, Spool, UsageRecord
from aiservice.usage.memory import MemoryUsageStore

NO_STORE = CachePolicy(may_read=False, may_write=False)
CALLER = replace(LOCAL_CALLER, tokens_per_hour=10_000, concurrency=5)


class Disk:
    """Stands for `os.pwrite`; a full one writes nothing."""

    def __init__(self) -> None:
        self.is_full = False

    def write(self, descriptor: int, data: bytes, offset: int) -> int:

        return 0 if self.is_full else os.pwrite(descriptor, data, offset)


class Limiter(MemoryLimiter):
    """Cannot be told what a take came to while `is_down`."""

    is_down = False

    async def settle(self, take: Take, amounts: Sequence[int]) -> None:
        if self.is_down:
            raise StoreUnavailable
        await super().settle(take, amounts)

    async def refund(self, take: Take) -> None:
        if self.is_down:
            raise StoreUnavailable
        await super().refund(take)


class WatchedLedger(Ledger):
    """Counts how often someone waited for the disk."""

    waits = 0

    async def synced(self) -> None:
        self.waits += 1
        await super().synced()


class HastyCorridor(Corridor):
    """Renews slots that last for 30 s of the manual clock."""

    renew_every_s = 0.01


class OddEngine(FakeEngine):
    """Its model `ends` says a word and no more; `breaks` has a fault."""

    async def generate(self, model: str, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
        if model == "breaks":
            raise ZeroDivisionError
        if model == "ends":
            yield Chunk("one")
            return
        async for chunk in super().generate(model, generation, deadline):
            yield chunk


@dataclass
class House:
    """A corridor and what stands below it."""

    corridor: Corridor
    store: MemoryUsageStore
    limiter: Limiter
    limits: Limits
    cache: MemoryCache
    disk: Disk
    clock: ManualClock
    spool: Spool
    ledger: WatchedLedger

    def visit(self, caller: Caller = CALLER) -> Visit:
        now_us = self.clock.now_us()
        return Visit(uuid7(now_us), "/ai/generate", caller, now_us, self.clock.monotonic_s())

    async def text(self, prompt: str, *, policy: CachePolicy = POLICY_DEFAULT, model: str = "echo") -> str:
        answer = await self.corridor.answer(self.visit(), generation(prompt, model), policy)
        async with aclosing(answer.rest):
            return answer.first.text + "".join([chunk.text async for chunk in answer.rest])

    async def rows(self, count: int) -> list[UsageRecord]:
        for _ in range(200):
            rows = await self.store.page(tenant_id="local", api_key_id=None, cursor=None, limit=1_000)
            if len(rows) >= count:
                break
            await asyncio.sleep(0.01)
        assert len(rows) == count
        return list(rows)

    async def slots_held(self) -> int:
        (held,) = await self.limiter.held((await self.limits.take_for("?", CALLER)).slots)
        return held

    async def tokens_left(self) -> int:
        return next(
            standing.remaining
            for standing in (await self.limits.peek(CALLER)).standings
            if standing.bucket_id.startswith("tokens:")
        )


def generation(prompt: str, model: str = "echo", *, stream: bool = False) -> Generation:
    return Generation(model, (Message("user", prompt),), temperature=0.7, max_tokens=100, stream=stream)


@pytest.fixture
def usage_settings() -> UsageSettings:
    return UsageSettings(batch_interval_ms=10)


@pytest.fixture
async def house(tmp_path: Path, usage_settings: UsageSettings) -> AsyncIterator[House]:
    clock, disk, store = ManualClock(), Disk(), MemoryUsageStore()
    scripts = {name: (Say("one"),) for name in ("ends", "breaks")}
    engine = OddEngine(scripts=scripts)
    spec = EngineSpec("fake", "fake", "", prices={"echo": Price(2, 3), "slow-20": Price(2, 3)})
    registry = Registry([(spec, engine)], default_model="echo", clock=clock)
    await registry.refresh()
    limiter = Limiter(clock)
    limits = Limits(LimitSettings(), limiter, MemoryRuleStore(clock))
    cache = MemoryCache(CacheSettings(), clock)
    spool = Spool(tmp_path / "spool", clock=clock, write=disk.write)
    ledger = WatchedLedger(store, spool, usage_settings)
    running = asyncio.create_task(ledger.run())
    room = ResponseCache(CacheSettings(), cache)
    recorder = Recorder(limits=limits, cache=room, ledger=ledger, metrics=Metrics(), clock=clock)
    keys = Keys(MemoryKeyStore(), KeySettings(), LimitSettings(), pepper=b"p" * 32, clock=clock)
    corridor = HastyCorridor(
        keys=keys,
        limits=limits,
        cache=room,
        registry=registry,
        recorder=recorder,
        deadline=Deadline(1, 1, 1, total_s=0.4),
    )
    yield House(corridor, store, limiter, limits, cache, disk, clock, spool, ledger)
    await corridor.aclose()
    await ledger.aclose()
    await running


async def test_tokens_are_settled_to_the_engines_count(house: House) -> None:
    assert await house.text("one two three") == "echo: one two three"
    assert await house.tokens_left() == 10_000 - 3 - 4


async def test_a_hit_takes_no_tokens(house: House) -> None:
    await house.text("one two three")
    await house.text("one two three")
    assert await house.tokens_left() == 10_000 - 3 - 4
    assert sorted(row.tokens_saved for row in await house.rows(2)) == [0, 7]


async def test_a_request_that_cannot_be_recorded_is_refused_and_given_back(house: House) -> None:
    house.disk.is_full = True
    with pytest.raises(SpoolFull):
        await house.text("?", policy=NO_STORE)
    with pytest.raises(SpoolFull):
        await house.text("?")
    house.disk.is_full = False
    assert await house.tokens_left() == 10_000


async def test_an_answer_is_given_also_when_its_take_cannot_be_settled(house: House) -> None:
    house.limiter.is_down = True
    assert await house.text("one") == "echo: one"
    (row,) = await house.rows(1)
    assert (row.status_code, row.total_tokens) == (200, 3)


async def test_an_engines_failure_is_said_also_when_its_take_cannot_be_given_back(house: House) -> None:
    house.limiter.is_down = True
    with pytest.raises(EngineBusy):
        await house.text("?", model="busy")
    (row,) = await house.rows(1)
    assert row.error_message == "engines.busy"


async def test_a_hit_that_cannot_be_recorded_is_refused_and_given_back(house: House) -> None:
    await house.text("one")
    left = await house.tokens_left()
    house.disk.is_full = True
    with pytest.raises(SpoolFull):
        await house.text("one")
    house.disk.is_full = False
    assert await house.tokens_left() == left
    (slots,) = (await house.limits.take_for("?", CALLER)).slots
    assert await house.limiter.held([slots]) == [0]


async def test_who_leaves_while_it_is_admitted_has_a_row(house: House) -> None:
    leaving = asyncio.create_task(house.text("?"))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    (row,) = await house.rows(1)
    assert (row.status_code, row.error_message, row.total_tokens) == (499, "client_gone", 0)
    assert await house.tokens_left() == 10_000


async def test_who_waits_for_another_worker_waits_no_longer_than_the_deadline(house: House) -> None:
    other = ResponseCache(CacheSettings(), house.cache)
    key = other.key(generation("?"), tenant_id="local", model="echo", model_digest="echo")
    assert (await other.claim(key, "another", POLICY_DEFAULT)).is_leader
    with pytest.raises(EngineTimeout, match="equal request"):
        await house.text("?")
    (row,) = await house.rows(1)
    assert (row.status_code, row.error_message, row.total_tokens) == (504, "engines.timeout", 0)
    assert await house.tokens_left() == 10_000


async def test_who_waits_for_another_worker_keeps_its_slot(house: House) -> None:
    other = ResponseCache(CacheSettings(), house.cache)
    key = other.key(generation("?"), tenant_id="local", model="echo", model_digest="echo")
    await other.claim(key, "another", POLICY_DEFAULT)
    waiting = asyncio.create_task(house.text("?"))
    for _ in range(3):
        await asyncio.sleep(0.05)
        assert await house.slots_held() == 1
        house.clock.advance_s(LEASE_S - 1)
        await other.renew(key, "another")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await house.slots_held() == 0


async def test_who_reads_along_keeps_its_slot(house: House) -> None:
    asked = generation("?", "slow-20", stream=True)
    answers = [await house.corridor.answer(house.visit(), asked, POLICY_DEFAULT) for _ in range(2)]
    assert [answer.cache_state for answer in answers] == ["MISS", "HIT"]
    for _ in range(3):
        await asyncio.sleep(0.05)
        assert await house.slots_held() == 2
        house.clock.advance_s(LEASE_S - 1)
    for answer in answers:
        await answer.rest.aclose()


async def test_an_entry_that_came_in_between_is_replayed(house: House) -> None:
    """Another worker's answer is kept after this one's look-up: the claim finds it."""
    other = ResponseCache(CacheSettings(), house.cache)
    key = other.key(generation("?"), tenant_id="local", model="echo", model_digest="echo")
    assert (await other.claim(key, "another", POLICY_DEFAULT)).is_leader
    waiting = asyncio.create_task(house.text("?"))
    await asyncio.sleep(0.03)
    answer = await house.corridor.answer(house.visit(), generation("?"), CachePolicy(may_read=False))
    async with aclosing(answer.rest):
        assert [chunk async for chunk in answer.rest] == []
    assert await waiting == "echo: ?"
    assert sorted(row.response_cached for row in await house.rows(2)) == [False, True]


async def test_a_row_costs_what_its_tokens_cost(house: House) -> None:
    await house.text("one two three")
    assert (await house.rows(1))[0].cost_nano == 3 * 2 + 4 * 3


async def test_what_a_lost_request_would_cost_is_in_its_start(house: House) -> None:
    visit = house.visit()
    answer = await house.corridor.answer(visit, generation("?", "slow-20", stream=True), NO_STORE)
    async with aclosing(answer.rest):
        start = house.spool.opened(visit.id)
        assert start is not None
        assert (start.prompt_price_nano, start.completion_price_nano) == (2, 3)


@pytest.mark.parametrize("policy", [POLICY_DEFAULT, NO_STORE])
async def test_an_engine_that_ends_too_soon_has_failed(house: House, policy: CachePolicy) -> None:
    with pytest.raises(EngineError, match="cut off"):
        await house.text("?", model="ends", policy=policy)
    (row,) = await house.rows(1)
    assert (row.status_code, row.completion_tokens) == (502, 1)


async def test_a_fault_of_an_engine_s_adapter_is_ours(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError):
        await house.text("?", model="breaks", policy=NO_STORE)
    with pytest.raises(Unexpected):
        await house.text("?", model="breaks")
    assert "ZeroDivisionError" in caplog.text
    assert {row.status_code for row in await house.rows(2)} == {500}


async def test_a_stream_marks_in_the_spool_how_far_it_is(house: House) -> None:
    visit = house.visit()
    answer = await house.corridor.answer(visit, generation("?", "words-10", stream=True), NO_STORE)
    before = house.spool.seq
    house.clock.advance_s(1)
    async with aclosing(answer.rest):
        await anext(answer.rest)
        await anext(answer.rest)
        assert house.spool.seq == before + 1


async def test_a_model_that_the_key_may_not_use(house: House) -> None:
    visit = house.visit(replace(CALLER, models=("words-10",)))
    with pytest.raises(NotAllowed):
        await house.corridor.answer(visit, generation("?"), POLICY_DEFAULT)
    assert (await house.rows(1))[0].status_code == 403


PICTURE = Message("user", "?", (Image("data:image/png;base64,AAAA"),))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (Embedding("echo", ("text",)), "makes no embeddings"),
        (Generation("embed", (Message("user", "?"),), 0.0, 5), "makes embeddings only"),
        (Generation("echo", (PICTURE,), 0.0, 5), "takes no images"),
    ],
)
async def test_what_a_model_cannot_do_is_refused_with_a_row_and_takes_nothing(
    house: House, asked: Asked, says: str
) -> None:
    with pytest.raises(ModelUnfit, match=says):
        await house.corridor.answer(house.visit(), asked, POLICY_DEFAULT)
    assert (await house.rows(1))[0].status_code == 400


async def test_vectors_are_answered_and_kept_like_any_answer(house: House) -> None:
    states = []
    for _ in range(2):
        answer = await house.corridor.answer(house.visit(), Embedding("embed", ("text",)), POLICY_DEFAULT)
        async with aclosing(answer.rest):
            async for _chunk in answer.rest:
                pass
        states.append((answer.cache_state, len(answer.first.vectors)))
    assert states == [("MISS", 1), ("HIT", 1)]


async def test_several_choices_are_replayed_in_their_order(house: House) -> None:
    asked = Generation("echo", (Message("user", "?"),), 0.7, 100, n=2)
    told = []
    for _ in range(2):
        answer = await house.corridor.answer(house.visit(), asked, POLICY_DEFAULT)
        async with aclosing(answer.rest):
            told.append(merged([answer.first, *[chunk async for chunk in answer.rest]]))
    assert [(choice.index, choice.text) for choice in told[0]] == [(0, "echo: ?"), (1, "echo: ?")]
    assert told[0] == told[1]


async def test_only_if_cached_without_an_entry_takes_a_request_and_no_tokens(house: House) -> None:
    with pytest.raises(NotCached):
        await house.text("?", policy=CachePolicy(only_if_cached=True))
    assert await house.tokens_left() == 10_000
    assert (await house.rows(1))[0].status_code == 504


async def test_who_is_over_the_limit_is_refused_with_a_row(house: House) -> None:
    caller = replace(CALLER, quota_requests_per_hour=1)
    answer = await house.corridor.answer(house.visit(caller), generation("?"), NO_STORE)
    await answer.rest.aclose()
    with pytest.raises(TakeRefused):
        await house.corridor.answer(house.visit(caller), generation("?"), POLICY_DEFAULT)
    assert sorted(row.status_code for row in await house.rows(2)) == [200, 429]


class TestDurable:
    """Where a row must be on disk before its answer ends."""

    @pytest.fixture
    def usage_settings(self) -> UsageSettings:
        return UsageSettings(batch_interval_ms=10, is_durable=True)

    async def test_an_answer_ends_after_its_row_is_on_disk(self, house: House) -> None:
        assert await house.text("one") == "echo: one"
        assert (await house.rows(1))[0].status_code == 200
        assert house.ledger.waits == 1

    async def test_so_do_those_from_the_cache_and_from_another_s_flight(self, house: House) -> None:
        assert await asyncio.gather(*(house.text("one") for _ in range(2))) == ["echo: one"] * 2
        assert house.ledger.waits == 2
        assert await house.text("one") == "echo: one"
        assert house.ledger.waits == 3
