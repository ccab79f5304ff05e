"""Requests that work of our own answers: one take and one row, whatever happens."""

import asyncio
from dataclasses import replace

import pytest

from aiservice.core.errors import EngineBusy, EngineError, ModelUnknown, NotAllowed, SpoolFull, StatementRefused
from aiservice.core.settings import UsageSettings
from aiservice.core.types import Completion
from aiservice.gateway import Consultant
from aiservice.limits import TakeRefused
from aiservice.limits.model import LEASE_S
from tests.unit.gateway.house import CALLER, House, generation


async def nothing_asked(_consultant: Consultant) -> str:
    return "done"


async def test_work_without_a_model_is_one_request_and_no_tokens(house: House) -> None:
    done, decision = await house.corridor.perform(house.visit(), nothing_asked)
    assert (done, decision.is_allowed) == ("done", True)
    (row,) = await house.rows(1)
    assert (row.status_code, row.total_tokens, row.model_used, row.response_cached) == (200, 0, None, False)
    assert await house.tokens_left() == 10_000
    assert await house.slots_held() == 0


async def test_what_all_consultations_used_is_the_request_s(house: House) -> None:
    async def work(consultant: Consultant) -> list[str]:
        texts = []
        for question in ("one two", "three"):
            completion = await consultant.ask(generation(question))
            texts.append(completion.choices[0].text)
        return texts

    done, _ = await house.corridor.perform(house.visit(), work, tokens_estimate=500)
    assert done == ["echo: one two", "echo: three"]
    (row,) = await house.rows(1)
    assert (row.prompt_tokens, row.completion_tokens, row.model_used) == (2 + 1, 3 + 2, "echo")
    assert row.cost_nano == 3 * 2 + 5 * 3
    assert await house.tokens_left() == 10_000 - 8


async def test_work_that_fails_before_it_used_anything_gives_the_request_back(house: House) -> None:
    async def work(_consultant: Consultant) -> None:
        raise StatementRefused

    for _ in range(2):
        with pytest.raises(StatementRefused):
            await house.corridor.perform(house.visit(), work, tokens_estimate=100)
    assert {(row.status_code, row.error_message) for row in await house.rows(2)} == {(422, "sql.statement_refused")}
    assert await house.tokens_left() == 10_000
    assert await house.slots_held() == 0


async def test_work_that_fails_after_a_consultation_pays_for_it(house: House) -> None:
    async def work(consultant: Consultant) -> None:
        await consultant.ask(generation("one"))
        raise StatementRefused

    with pytest.raises(StatementRefused):
        await house.corridor.perform(house.visit(), work)
    (row,) = await house.rows(1)
    assert (row.status_code, row.total_tokens) == (422, 3)
    assert await house.tokens_left() == 10_000 - 3


async def test_work_may_go_on_without_an_engine_that_failed(house: House) -> None:
    async def work(consultant: Consultant) -> str:
        with pytest.raises(EngineBusy):
            await consultant.ask(generation("?", "busy"))
        with pytest.raises(EngineError, match="cut off"):
            await consultant.ask(generation("?", "ends"))
        return "alone"

    assert (await house.corridor.perform(house.visit(), work))[0] == "alone"
    (row,) = await house.rows(1)
    assert (row.status_code, row.completion_tokens, row.model_used) == (200, 1, "ends")


async def test_a_model_that_the_key_may_not_use_is_not_asked(house: House) -> None:
    async def ask(model: str) -> Completion:
        caller = replace(CALLER, models=("echo",))
        work = lambda consultant: consultant.ask(generation("?", model))  # noqa: E731
        return (await house.corridor.perform(house.visit(caller), work))[0]

    assert (await ask("echo")).model == "echo"
    with pytest.raises(NotAllowed):
        await ask("words-10")
    with pytest.raises(ModelUnknown):
        await ask("nowhere")
    assert sorted(row.status_code for row in await house.rows(3)) == [200, 403, 404]


async def test_a_start_is_in_the_spool_before_the_engine_is_asked(house: House) -> None:
    visit = house.visit()

    async def work(consultant: Consultant) -> int:
        assert house.spool.opened(visit.id) is None
        await consultant.ask(generation("x" * 400))
        start = house.spool.opened(visit.id)
        assert start is not None
        return start.prompt_tokens

    assert (await house.corridor.perform(visit, work))[0] == 104
    assert house.spool.opened(visit.id) is None


async def test_work_that_cannot_be_recorded_is_refused_and_given_back(house: House) -> None:
    house.disk.is_full = True
    with pytest.raises(SpoolFull):
        await house.corridor.perform(house.visit(), nothing_asked, tokens_estimate=10)
    with pytest.raises(SpoolFull):
        await house.corridor.perform(house.visit(), lambda consultant: consultant.ask(generation("?")))
    house.disk.is_full = False
    assert await house.tokens_left() == 10_000
    assert await house.slots_held() == 0


async def test_above_the_limit_no_work_is_begun(house: House) -> None:
    caller = replace(CALLER, quota_requests_per_hour=1)
    await house.corridor.perform(house.visit(caller), nothing_asked)

    async def work(_consultant: Consultant) -> None:
        pytest.fail("begun")

    with pytest.raises(TakeRefused):
        await house.corridor.perform(house.visit(caller), work)
    assert sorted(row.status_code for row in await house.rows(2)) == [200, 429]


async def test_who_leaves_is_recorded_and_long_work_keeps_its_slot(house: House) -> None:
    going = asyncio.Event()

    async def work(_consultant: Consultant) -> None:
        going.set()
        await asyncio.Event().wait()

    working = asyncio.create_task(house.corridor.perform(house.visit(), work))
    await going.wait()
    for _ in range(3):
        await asyncio.sleep(0.05)
        assert await house.slots_held() == 1
        house.clock.advance_s(LEASE_S - 1)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    (row,) = await house.rows(1)
    assert (row.status_code, row.total_tokens) == (499, 0)
    assert await house.slots_held() == 0


class TestDurable:
    """The operator wants each row on disk before its answer is out."""

    @pytest.fixture
    def usage_settings(self) -> UsageSettings:
        return UsageSettings(batch_interval_ms=10, is_durable=True)

    async def test_work_ends_after_its_row_is_on_disk(self, house: House) -> None:
        await house.corridor.perform(house.visit(), nothing_asked)
        assert house.ledger.waits == 1
