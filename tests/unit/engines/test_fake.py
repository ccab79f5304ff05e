import pytest

from aiservice.core.errors import EngineRefused
from aiservice.core.types import Deadline, Generation, Message
from aiservice.engines.fake import FakeEngine, Pause, Say

DEADLINE = Deadline(2.0, 5.0, 5.0, 5.0)
ASKED = Generation("m", (Message("user", "hello there"),), temperature=0.0, max_tokens=50, stream=True)


async def said_by(engine: FakeEngine, model: str) -> list[str]:
    return [chunk.text async for chunk in engine.generate(model, ASKED, DEADLINE)]


async def test_echo():
    assert await said_by(FakeEngine(), "echo") == ["echo: ", "hello ", "there", ""]


async def test_numbered_scripts():
    assert await said_by(FakeEngine(), "words-2") == ["word0 ", "word1", ""]
    assert len(await said_by(FakeEngine(), "slow-1")) == 21


async def test_scripts_of_ones_own_are_played_and_listed():
    engine = FakeEngine(scripts={"mine": (Say("a "), Pause(0.001), Say("b"))})

    assert await said_by(engine, "mine") == ["a ", "b", ""]
    assert "mine" in [model.name for model in await engine.models()]


@pytest.mark.parametrize("model", ["nothing", "other-5"])
async def test_there_is_no_other_script(model: str):
    with pytest.raises(EngineRefused, match=model):
        await said_by(FakeEngine(), model)


async def test_every_listed_model_can_be_asked_for():
    engine = FakeEngine()
    for model in await engine.models():
        chunks = engine.generate(model.name, ASKED, DEADLINE)
        assert engine.active == 0
        await chunks.aclose()
