import json
import math
import struct

import pytest
from msgspec.structs import replace

from aiservice.core.errors import EngineRefused
from aiservice.core.types import (
    Chunk,
    Deadline,
    Embedding,
    Generation,
    Image,
    Message,
    Tokens,
    Tool,
    ToolCall,
    ToolChoice,
    merged,
)
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


async def chunks_of(model: str, **fields: object) -> list[Chunk]:
    return [chunk async for chunk in FakeEngine().generate(model, replace(ASKED, **fields), DEADLINE)]


async def answer(model: str, **fields: object) -> Chunk:
    (whole,) = await chunks_of(model, stream=False, **fields)
    return whole


TOOL = Tool("add", parameters={"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]})


async def test_a_call_comes_as_its_name_and_then_its_arguments():
    first, *pieces, last = await chunks_of("tools", tools=(TOOL,))

    assert first.tool_calls[0].name == "add"
    assert len(pieces) >= 2
    assert [(call.id, call.name, call.index) for piece in pieces for call in piece.tool_calls] == [("", "", 0)] * len(
        pieces
    )
    assert (last.finish_reason, last.tokens) == ("tool_calls", Tokens(2, 1 + len(pieces)))
    whole = await answer("tools", tools=(TOOL,))
    assert (whole.tool_calls[0].id, json.loads(whole.tool_calls[0].arguments)) == (first.tool_calls[0].id, {"x": 0})
    assert merged([first, *pieces, last]) == (whole,)


async def test_a_call_that_is_cut_ends_with_length():
    assert (await answer("tools", tools=(TOOL,), max_tokens=2)).finish_reason == "length"


async def test_tools_without_a_call():
    called = (
        Message("assistant", "", tool_calls=(ToolCall("a", "add", "{}"),)),
        Message("tool", "5", tool_call_id="a"),
    )

    assert (await answer("tools")).text == "no tool"
    assert (await answer("tools", tools=(TOOL,), tool_choice=ToolChoice("none"))).text == "no tool"
    assert (await answer("tools", tools=(TOOL,), messages=(*ASKED.messages, *called))).text == "result: 5"
    told = await answer("tools", response_format={"type": "json_object"})
    assert json.loads(told.text) == {"answer": "hello there"}


@pytest.mark.parametrize(
    ("response_format", "text"),
    [
        (None, "This is a plain sentence."),
        ({"type": "text"}, "This is a plain sentence."),
        ({"type": "json_object"}, '{"answer": "hello there"}'),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": {"const": [1, 2]}}}, "[1, 2]"),
    ],
)
async def test_json(response_format: object, text: str):
    assert (await answer("json", response_format=response_format)).text == text


async def test_json_without_a_schema_has_the_keys_that_are_asked_for():
    asked = (Message("user", "A joke as JSON with 'setup' and 'punchline' keys. Don't say 'more'."),)
    whole = await answer("json", response_format={"type": "json_object"}, messages=asked)

    assert json.loads(whole.text) == {"setup": "text", "punchline": "text"}


async def test_json_of_a_schema_without_a_value_is_refused():
    with pytest.raises(EngineRefused, match="nothing is allowed"):
        await answer("json", response_format={"type": "json_schema", "json_schema": {"schema": False}})


async def test_broken_json():
    whole = await answer("json-broken")

    assert (whole.text, whole.finish_reason) == ('{"broken": ', "stop")


async def test_pictures_are_seen():
    images = (Image("data:image/png;base64,aGk="), Image("data:image/jpeg;base64,aGk="), Image("https://example.com/a"))

    assert (await answer("see", messages=(Message("user", "?", images),))).text == (
        "saw 3 image(s): image/png, image/jpeg, link"
    )
    assert (await answer("see")).text == "saw 0 image(s)"


async def test_logprobs_of_every_word():
    chunks = await chunks_of("words-2", logprobs=2)

    told = [logprob for chunk in chunks for logprob in chunk.logprobs]
    assert [(logprob.token, logprob.logprob, len(logprob.others)) for logprob in told] == [
        ("word0 ", -0.1, 2),
        ("word1", -0.2, 2),
    ]
    assert all(logprob.others[0].token == logprob.token for logprob in told)
    assert bytes(told[0].bytes or ()) == b"word0 "
    assert (await answer("words-2", logprobs=0)).logprobs[0].others == ()
    assert (await answer("words-2")).logprobs == ()


async def embed(*texts: str, model: str = "embed", dimensions: int | None = None) -> Chunk:
    asked = Embedding(model, texts, dimensions)
    (chunk,) = [chunk async for chunk in FakeEngine().embed(model, asked, DEADLINE)]
    return chunk


@pytest.mark.parametrize("dimensions", [None, 3])
async def test_vectors_are_of_length_1_and_the_same_for_the_same_text(dimensions: int | None):
    chunk = await embed("a b", "c", "a b", dimensions=dimensions)

    assert chunk.vectors[0] == chunk.vectors[2] != chunk.vectors[1]
    assert (chunk.text, chunk.finish_reason, chunk.tokens) == ("", "stop", Tokens(5, 0))
    for vector in chunk.vectors:
        numbers = struct.unpack(f"<{dimensions or 8}f", vector)
        assert math.hypot(*numbers) == pytest.approx(1.0, abs=1e-6)


async def test_what_the_scripted_engine_makes_no_vectors_of():
    with pytest.raises(EngineRefused, match="echo"):
        await embed("a", model="echo")
    with pytest.raises(EngineRefused, match="8 dimensions"):
        await embed("a", dimensions=9)
    with pytest.raises(EngineRefused, match="8192 tokens"):
        await embed("a " * 8_193)
    with pytest.raises(EngineRefused, match="embed"):
        await answer("embed")


async def test_what_each_model_can():
    models = {model.name: model.capabilities for model in await FakeEngine().models()}

    assert models["echo"] == models["json"] == ("chat", "stream")
    assert models["tools"] == ("chat", "stream", "tools")
    assert models["see"] == ("chat", "stream", "vision")
    assert models["embed"] == ("embed",)


async def test_every_listed_model_can_be_asked_for():
    engine = FakeEngine()
    for model in await engine.models():
        chunks = engine.generate(model.name, ASKED, DEADLINE)
        assert engine.active == 0
        await chunks.aclose()
