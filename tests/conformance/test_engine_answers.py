"""Answers that are more than text, over every engine: tool calls, logprobs, JSON of a schema, vectors; and pictures."""

import json
import math
import struct

import pytest
from msgspec.structs import replace

from aiservice.core.errors import EngineRefused
from aiservice.core.types import (
    Image,
    Message,
    Tokens,
    Tool,
    ToolChoice,
    merged,
)
from tests.conformance.engines import (
    Subject,
    ask,
    chunks_of,
    embed,
    text_of,
)

WEATHER = Tool(
    "get_weather",
    "Tells the weather of a place.",
    {
        "type": "object",
        "properties": {"place": {"const": "Rome"}},
        "required": ["place"],
        "additionalProperties": False,
    },
)
CLOCK = Tool("get_time", parameters={"type": "object", "properties": {}, "additionalProperties": False})
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
async def test_a_tool_is_called(scripted: Subject, is_streamed: bool):
    generation = ask("Use get_weather.", tools=(CLOCK, WEATHER), stream=is_streamed)

    chunks = await chunks_of(scripted.engine, "tools", generation)

    (whole,) = merged(chunks)
    (call,) = whole.tool_calls
    assert (whole.text, whole.finish_reason) == ("", "tool_calls")
    assert whole.tokens is not None
    assert (call.name, json.loads(call.arguments), call.index) == ("get_weather", {"place": "Rome"}, 0)
    assert call.id
    first = next(chunk for chunk in chunks if chunk.tool_calls).tool_calls[0]
    assert (first.id, first.name) == (call.id, "get_weather")


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
async def test_several_tools_are_called(scripted: Subject, is_streamed: bool):
    generation = ask("Use get_weather and get_time.", tools=(WEATHER, CLOCK), stream=is_streamed)

    (whole,) = merged(await chunks_of(scripted.engine, "tools", generation))

    assert [(call.index, call.name, json.loads(call.arguments)) for call in whole.tool_calls] == [
        (0, "get_weather", {"place": "Rome"}),
        (1, "get_time", {}),
    ]
    assert len({call.id for call in whole.tool_calls}) == 2


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
async def test_results_of_tools_go_back(scripted: Subject, is_streamed: bool):
    asked = ask("Use get_weather and get_time.", tools=(WEATHER, CLOCK), stream=is_streamed)
    (whole,) = merged(await chunks_of(scripted.engine, "tools", asked))
    rain, noon = whole.tool_calls
    messages = (
        *asked.messages,
        Message("assistant", "", tool_calls=whole.tool_calls),
        Message("tool", "rain", tool_call_id=rain.id),
        Message("tool", "noon", tool_call_id=noon.id, tool_name=noon.name),
    )

    answer = await chunks_of(scripted.engine, "tools", replace(asked, messages=messages))

    assert text_of(answer) == "result: rain, noon"
    assert answer[-1].finish_reason == "stop"


async def test_no_tool_is_called_where_none_may(scripted: Subject):
    generation = ask("Use get_weather.", tools=(WEATHER,), tool_choice=ToolChoice("none"))

    (whole,) = merged(await chunks_of(scripted.engine, "tools", generation))

    assert (whole.tool_calls, whole.text) == ((), "no tool")


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize(
    ("choice", "names"),
    [(ToolChoice("required"), {"get_weather", "get_time"}), (ToolChoice("required", name="get_time"), {"get_time"})],
)
async def test_a_tool_that_must_be_called(subject: Subject, choice: ToolChoice, names: set[str], is_streamed: bool):
    generation = ask("Hello.", tools=(WEATHER, CLOCK), tool_choice=choice, stream=is_streamed, max_tokens=60)

    (whole,) = merged(await chunks_of(subject.engine, subject.tools, generation))

    (call,) = whole.tool_calls
    assert call.name in names
    assert json.loads(call.arguments) == ({"place": "Rome"} if call.name == "get_weather" else {})
    assert (whole.text, whole.finish_reason) == ("", "tool_calls")


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
async def test_pictures_reach_the_engine(scripted: Subject, is_streamed: bool):
    generation = ask(messages=(Message("user", "What is it?", (Image(PIXEL), Image(PIXEL))),), stream=is_streamed)

    chunks = await chunks_of(scripted.engine, "see", generation)

    assert text_of(chunks) == "saw 2 image(s): image/png, image/png"


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("others", [0, 2])
async def test_logprobs(subject: Subject, is_streamed: bool, others: int):
    generation = ask(max_tokens=4, stream=is_streamed, logprobs=others)

    (whole,) = merged(await chunks_of(subject.engine, subject.ordinary, generation))

    assert whole.tokens is not None
    assert len(whole.logprobs) == whole.tokens.completion
    assert "".join(logprob.token for logprob in whole.logprobs) == whole.text
    assert b"".join(bytes(logprob.bytes or ()) for logprob in whole.logprobs) == whole.text.encode()
    assert all(logprob.logprob <= 0 for logprob in whole.logprobs)
    assert {len(logprob.others) for logprob in whole.logprobs} == {others}
    # At temperature 0 the token is the likeliest of all.
    assert all(logprob.others[0].token == logprob.token for logprob in whole.logprobs if others)


async def test_no_logprobs_where_none_are_asked_for(subject: Subject):
    chunks = await chunks_of(subject.engine, subject.ordinary, ask(stream=True, max_tokens=3))

    assert all(chunk.logprobs == () for chunk in chunks)


@pytest.mark.parametrize("is_streamed", [False, True], ids=["plain", "streamed"])
async def test_a_json_schema_reaches_the_engine(subject: Subject, is_streamed: bool):
    schema = {
        "type": "object",
        "properties": {"ok": {"const": True}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    response_format = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    generation = ask(response_format=response_format, max_tokens=40, stream=is_streamed)

    chunks = await chunks_of(subject.engine, subject.schema, generation)

    assert json.loads(text_of(chunks)) == {"ok": True}
    assert chunks[-1].finish_reason == "stop"


@pytest.mark.parametrize("dimensions", [None, 3])
async def test_vectors(scripted: Subject, dimensions: int | None):
    texts = ("One two.", "Three.", "One two.")

    (chunk,) = await embed(scripted.engine, "embed", *texts, dimensions=dimensions)

    first, other, again = chunk.vectors
    assert first == again != other
    assert (chunk.text, chunk.finish_reason, chunk.tokens) == ("", "stop", Tokens(5, 0))
    assert type(chunk.tokens) is Tokens
    assert {len(vector) for vector in chunk.vectors} == {4 * (dimensions or len(first) // 4)}
    numbers = struct.unpack(f"<{len(first) // 4}f", first)
    assert math.hypot(*numbers) == pytest.approx(1.0, abs=1e-6)
    assert all(math.isfinite(number) for number in numbers)


async def test_a_model_that_makes_no_vectors(scripted: Subject):
    with pytest.raises(EngineRefused):
        await embed(scripted.engine, "echo", "One.")


async def test_a_text_that_is_too_long_for_a_vector(scripted: Subject):
    with pytest.raises(EngineRefused):
        await embed(scripted.engine, "embed", "One.", "word " * 9_000)


async def test_what_a_model_can_is_told(scripted: Subject):
    models = {model.name: set(model.capabilities) for model in await scripted.engine.models()}

    assert {"chat", "stream", "tools"} <= models["tools"]
    assert {"chat", "vision"} <= models["see"]
    assert "embed" in models["embed"]
