"""The corridor over the memory twins of its rooms: what happens where a room fails."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from aiservice.cache import POLICY_DEFAULT, CachePolicy, ResponseCache
from aiservice.core.errors import (
    EngineBusy,
    EngineError,
    EngineTimeout,
    ModelUnfit,
    NotAllowed,
    NotCached,
    SpoolFull,
    Unexpected,
)
from aiservice.core.settings import CacheSettings, UsageSettings
from aiservice.core.types import Asked, Embedding, Generation, Image, Message, merged
from aiservice.limits import TakeRefused
from aiservice.limits.model import LEASE_S
from tests.unit.gateway.house import CALLER, NO_STORE, House, generation


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
