import json
import re
import struct
from collections.abc import AsyncIterator

import pytest

from aiservice.core.errors import EngineError, EngineRefused, EngineUnreachable
from aiservice.core.types import Deadline, Embedding, Generation, Message, Tokens, ToolCall, merged
from aiservice.engines import EngineSpec, EstimatedTokens, PullProgress
from aiservice.engines.ollama import OllamaEngine
from tests.servers.http_server import Exchange, HttpServer
from tests.servers.ollama_server import CONTEXT_LENGTH, LOADED_CONTEXT_LENGTH, SIZE, OllamaServer

DEADLINE = Deadline(2.0, 5.0, 5.0, 5.0)


def ask(*, stream: bool = False, **fields: object) -> Generation:
    return Generation("m", (Message("user", "One two."),), temperature=0.5, max_tokens=50, stream=stream, **fields)


@pytest.fixture
async def server() -> AsyncIterator[OllamaServer]:
    async with OllamaServer() as server:
        yield server


@pytest.fixture
async def engine(server: OllamaServer) -> AsyncIterator[OllamaEngine]:
    engine = OllamaEngine(EngineSpec("ollama", "ollama", server.url))
    yield engine
    await engine.aclose()


async def test_models_are_told_with_all_their_facts(server: OllamaServer, engine: OllamaEngine):
    first, second, *_ = await engine.models()

    assert (first.is_loaded, first.context_length) == (True, LOADED_CONTEXT_LENGTH)
    assert (second.is_loaded, second.context_length) == (False, CONTEXT_LENGTH)
    assert first.size_bytes == SIZE
    assert first.capabilities == ("chat", "stream", "tools")
    assert len({first.digest, second.digest}) == 2


async def test_what_a_model_is_like_is_asked_once(server: OllamaServer, engine: OllamaEngine):
    await engine.models()
    shows = server.shows
    server.models.append("new")

    await engine.models()

    assert shows == len(server.models) - 1
    assert server.shows == shows + 1


async def test_the_request_in_ollamas_words(server: OllamaServer, engine: OllamaEngine):
    generation = ask(top_p=0.9, seed=4, stop=("x",), top_k=3, frequency_penalty=0.5, presence_penalty=-1.0, logprobs=2)

    await anext(engine.generate("echo", generation, DEADLINE))

    assert server.http.requests[0].json() == {
        "model": "echo",
        "messages": [{"role": "user", "content": "One two."}],
        "stream": False,
        "logprobs": True,
        "top_logprobs": 2,
        "options": {
            "temperature": 0.5,
            "num_predict": 50,
            "top_p": 0.9,
            "seed": 4,
            "stop": ["x"],
            "top_k": 3,
            "frequency_penalty": 0.5,
            "presence_penalty": -1.0,
        },
    }


@pytest.mark.parametrize(
    ("response_format", "expected"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, "json"),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}, {"type": "object"}),
        ({"type": "json_schema"}, None),
    ],
)
async def test_formats(server: OllamaServer, engine: OllamaEngine, response_format, expected):
    await anext(engine.generate("echo", ask(response_format=response_format), DEADLINE))

    assert server.http.requests[0].json().get("format") == expected


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_calls_without_ids_are_given_some(stream: bool):
    calls = [{"function": {"name": "a", "arguments": {"x": 1}}}, {"function": {"name": "b", "arguments": {}}}]
    event = {"message": {"content": "", "tool_calls": calls}, "done": True, "prompt_eval_count": 3, "eval_count": 1}

    (whole,) = merged(await answer(event, stream=stream))

    assert [(call.index, call.name, call.arguments) for call in whole.tool_calls] == [
        (0, "a", '{"x":1}'),
        (1, "b", "{}"),
    ]
    assert len({call.id for call in whole.tool_calls}) == 2
    assert all(re.fullmatch("call_[0-9a-f]{24}", call.id) for call in whole.tool_calls)
    assert whole.finish_reason == "tool_calls"


async def test_calls_of_several_events_are_numbered_on():
    events = [
        {"message": {"content": "", "tool_calls": [{"id": f"c{n}", "function": {"name": "a"}}]}} for n in range(2)
    ]

    chunks = await answer(*events, {"done": True, "prompt_eval_count": 3, "eval_count": 1}, stream=True)

    called = [call for chunk in chunks for call in chunk.tool_calls]
    assert called == [ToolCall("c0", "a", "{}", 0), ToolCall("c1", "a", "{}", 1)]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_logprobs_that_nobody_asked_for_are_left_out(stream: bool):
    event = {"message": {"content": "Hi."}, "logprobs": [{"token": "Hi.", "logprob": -0.5}], "done": True}

    (whole,) = merged(await answer(event, stream=stream))

    assert (whole.text, whole.logprobs) == ("Hi.", ())


async def test_vectors_without_a_count_are_estimated():
    async with Canned({"embeddings": [[0.0, 1.0], [1.0, 0.0]]}).http as server:
        engine = OllamaEngine(EngineSpec("ollama", "ollama", server.url))
        (chunk,) = [chunk async for chunk in engine.embed("e", Embedding("e", ("abcd" * 3, "ab")), DEADLINE)]
        await engine.aclose()

    assert (chunk.tokens, type(chunk.tokens)) == (EstimatedTokens(3, 0), EstimatedTokens)
    assert [struct.unpack("<2f", vector) for vector in chunk.vectors] == [(0.0, 1.0), (1.0, 0.0)]
    assert server.requests[0].json() == {"model": "e", "input": ["abcd" * 3, "ab"], "truncate": False}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_thoughts_are_no_text(stream: bool):
    async with OllamaServer(thinks=True) as server:
        engine = OllamaEngine(EngineSpec("ollama", "ollama", server.url))
        chunks = [chunk async for chunk in engine.generate("echo", ask(stream=stream), DEADLINE)]
        await engine.aclose()

    assert "".join(chunk.text for chunk in chunks) == "echo: One two."


async def test_pull_tells_how_far_it_is(server: OllamaServer, engine: OllamaEngine):
    steps = [step async for step in engine.pull("llama3.2:1b")]

    assert steps[0] == PullProgress("pulling manifest")
    assert steps[-1] == PullProgress("success")
    sizes = [step.completed_bytes for step in steps if step.total_bytes == SIZE]
    assert sizes == [None, 660_549_164, SIZE]
    assert "llama3.2:1b" in [model.name for model in await engine.models()]


@pytest.mark.parametrize(
    ("model", "kind", "words"),
    [
        ("unknown", EngineRefused, "cannot fetch this model: pull model manifest: file does not exist"),
        ("full", EngineUnreachable, "no space left on device"),
        ("cut", EngineError, "broke off"),
    ],
)
async def test_a_pull_that_fails(engine: OllamaEngine, model: str, kind: type[EngineError], words: str):
    with pytest.raises(kind, match=words) as caught:
        [step async for step in engine.pull(model)]
    assert caught.type is kind
    assert "/root" not in caught.value.public


class Canned:
    """A server that answers every call with the same body."""

    def __init__(self, body: object) -> None:
        self._body = body
        self.http = HttpServer(self._handle)

    async def _handle(self, exchange: Exchange) -> None:
        await exchange.answer(200, self._body)


async def answer(*lines: object, stream: bool):
    async def handle(exchange: Exchange) -> None:
        data = b"\n".join(json.dumps(line).encode() for line in lines)
        if not stream:
            return await exchange.answer(200, data)
        await exchange.begin("application/x-ndjson")
        await exchange.send(data)
        return await exchange.end()

    async with HttpServer(handle) as server:
        engine = OllamaEngine(EngineSpec("ollama", "ollama", server.url))
        try:
            return [chunk async for chunk in engine.generate("m", ask(stream=stream), DEADLINE)]
        finally:
            await engine.aclose()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_count_that_is_left_out_is_an_estimate(stream: bool):
    chunks = await answer({"message": {"content": "Hi."}, "done": True, "eval_count": 2}, stream=stream)

    assert chunks[-1].tokens == EstimatedTokens(2, 2)
    assert "".join(chunk.text for chunk in chunks) == "Hi."


async def test_a_last_line_without_end_is_read():
    pieces = ({"message": {"content": "Hi."}}, {"done": True, "prompt_eval_count": 3, "eval_count": 1})

    chunks = await answer(*pieces, stream=True)

    assert chunks[-1].tokens == Tokens(3, 1)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_an_answer_that_is_not_done_is_cut(stream: bool):
    with pytest.raises(EngineError, match="broke off"):
        await answer({"message": {"content": "Hi."}, "done": False}, stream=stream)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_what_cannot_be_read(stream: bool):
    with pytest.raises(EngineError, match="cannot be read"):
        await answer(["nonsense"], stream=stream)
