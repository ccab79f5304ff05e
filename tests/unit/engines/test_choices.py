import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

import pytest
from msgspec.structs import replace

from aiservice.core.errors import EngineBusy, EngineError
from aiservice.core.types import Chunk, Deadline, Generation, Message, Tokens, merged
from aiservice.engines import EngineSpec, EstimatedTokens
from aiservice.engines.choices import several_choices
from aiservice.engines.fake import FakeEngine, Pause, Say
from aiservice.engines.openai_compat import OpenAICompatEngine
from aiservice.engines.service import Route
from tests.servers.openai_server import OpenAIServer

DEADLINE = Deadline(2.0, 5.0, 5.0, 5.0)
ASKED = Generation("m", (Message("user", "hello there"),), temperature=0.0, max_tokens=50, stream=True, n=3)


class Seeded(FakeEngine):
    """Plays another script for each seed, and notes what it was asked."""

    def __init__(self, models: Mapping[int | None, str]) -> None:
        super().__init__()
        self.asked: list[Generation] = []
        self._models = models

    async def generate(self, model: str, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
        self.asked.append(generation)
        async with aclosing(super().generate(self._models[generation.seed], generation, deadline)) as chunks:
            async for chunk in chunks:
                yield chunk


async def chunks_of(engine: FakeEngine, model: str = "echo", **fields: object) -> list[Chunk]:
    return [chunk async for chunk in several_choices(engine, model, replace(ASKED, **fields), deadline=DEADLINE)]


async def hear(heard: list[str], chunks: AsyncGenerator[Chunk]) -> None:
    """Keeps what came before an error."""
    async for chunk in chunks:
        heard.append(chunk.text)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(2):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_three_choices(stream: bool):
    chunks = await chunks_of(FakeEngine(), stream=stream)

    assert [(whole.index, whole.text, whole.finish_reason) for whole in merged(chunks)] == [
        (index, "echo: hello there", "stop") for index in range(3)
    ]
    assert len(chunks) == (12 if stream else 3)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_the_last_chunk_alone_has_the_tokens_with_the_prompt_counted_once(stream: bool):
    *before, last = await chunks_of(FakeEngine(), stream=stream)

    assert last.tokens == Tokens(2, 9)
    assert all(chunk.tokens is None for chunk in before)
    assert type(last.tokens) is Tokens


async def test_the_last_chunk_is_that_of_the_slowest_choice():
    engine = Seeded({5: "slow-20", 6: "words-2", 7: "words-2"})

    chunks = await chunks_of(engine, seed=5, max_tokens=3)

    assert (chunks[-1].index, chunks[-1].finish_reason, chunks[-1].tokens) == (0, "length", Tokens(2, 7))
    assert [chunk.index for chunk in chunks if chunk.finish_reason] in ([1, 2, 0], [2, 1, 0])


@pytest.mark.parametrize(
    ("seed", "expected"), [(None, [None] * 3), (4, [4, 5, 6]), (2**63 - 1, [2**63 - 1, -(2**63), -(2**63) + 1])]
)
async def test_each_choice_has_its_own_seed(seed: int | None, expected: list[int | None]):
    engine = Seeded(dict.fromkeys(expected, "echo"))

    await chunks_of(engine, seed=seed)

    assert [(asked.n, asked.seed) for asked in engine.asked] == [(1, seed) for seed in expected]


@pytest.mark.parametrize(("model", "kind"), [("busy", EngineBusy), ("fail-mid", EngineError), ("cut", EngineError)])
async def test_the_failure_of_one_ends_all(model: str, kind: type[EngineError]):
    engine = Seeded({5: "slow-20", 6: model, 7: "slow-first"})

    with pytest.raises(kind):
        await asyncio.wait_for(chunks_of(engine, seed=5), 2)
    assert engine.active == 0


async def test_an_answer_without_an_end_is_cut():
    class Endless(FakeEngine):
        async def generate(self, model: str, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
            yield Chunk("one")

    with pytest.raises(EngineError, match="broke off"):
        await asyncio.wait_for(chunks_of(Endless()), 2)


async def test_what_was_said_before_a_failure_is_told():
    engine = Seeded({5: "words-2", 6: "fail-mid", 7: "words-2"})
    heard: list[str] = []

    with pytest.raises(EngineError):
        await hear(heard, several_choices(engine, "m", replace(ASKED, seed=5), deadline=DEADLINE))
    assert {"one ", "two "} <= set(heard)


async def test_closing_ends_all():
    engine = FakeEngine(scripts={"long": (Say("one "), Pause(60.0), Say("two"))})
    chunks = several_choices(engine, "long", ASKED, deadline=DEADLINE)
    await anext(chunks)
    assert engine.active == 3

    await chunks.aclose()

    assert engine.active == 0


async def test_cancelling_ends_all():
    engine = FakeEngine()
    task = asyncio.create_task(chunks_of(engine, "slow-first"))
    await asyncio.sleep(0.01)
    assert engine.active == 3

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.active == 0


async def test_the_connections_of_all_are_closed():
    async with OpenAIServer() as server:
        engine = OpenAICompatEngine(EngineSpec("openai", "openai_compat", server.url))
        chunks = several_choices(engine, "slow-50", ASKED, deadline=DEADLINE)
        await anext(chunks)
        await until(lambda: server.active == 3)

        await chunks.aclose()

        await until(lambda: server.active == 0)
        await engine.aclose()


async def test_estimates_stay_estimates():
    async with OpenAIServer(has_usage=False) as server:
        engine = OpenAICompatEngine(EngineSpec("openai", "openai_compat", server.url))
        chunks = [chunk async for chunk in several_choices(engine, "echo", ASKED, deadline=DEADLINE)]
        await engine.aclose()

    assert chunks[-1].tokens == EstimatedTokens(2, 9)
    assert type(chunks[-1].tokens) is EstimatedTokens


async def test_a_route_asks_for_several_choices_itself():
    engine = FakeEngine()
    (model, *_) = await engine.models()

    chunks = [chunk async for chunk in Route(engine, model).ask(ASKED, DEADLINE)]

    assert {chunk.index for chunk in chunks} == {0, 1, 2}
