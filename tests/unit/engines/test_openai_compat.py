import json
from collections.abc import AsyncIterator

import pytest

from aiservice.core.errors import EngineError, EngineRefused
from aiservice.core.types import Chunk, Deadline, Generation, Message, Tokens, ToolCall, merged
from aiservice.engines import EngineSpec, EstimatedTokens
from aiservice.engines.openai_compat import OpenAICompatEngine
from tests.servers.http_server import Exchange, HttpServer
from tests.servers.openai_server import OpenAIServer

DEADLINE = Deadline(2.0, 5.0, 5.0, 5.0)
MESSAGES = (Message("system", "Be short."), Message("user", "One two three four."))


def ask(*, stream: bool = False, **fields: object) -> Generation:
    return Generation("m", MESSAGES, temperature=0.0, max_tokens=50, stream=stream, **fields)


async def answer(url: str, generation: Generation, *, model: str = "echo", api_key: str | None = None) -> list[Chunk]:
    engine = OpenAICompatEngine(EngineSpec("openai", "openai_compat", url, api_key=api_key))
    try:
        return [chunk async for chunk in engine.generate(model, generation, DEADLINE)]
    finally:
        await engine.aclose()


class Canned:
    """A server that answers every call with the same body, after `asked` was kept."""

    def __init__(self, body: object, *, is_stream: bool = False) -> None:
        self._body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._is_stream = is_stream
        self.http = HttpServer(self._handle)

    async def _handle(self, exchange: Exchange) -> None:
        if not self._is_stream:
            return await exchange.answer(200, self._body)
        await exchange.begin("text/event-stream")
        await exchange.send(self._body)
        return await exchange.end()


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as server:
        yield server


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
async def test_a_base_url_may_end_in_v1_or_not(server: OpenAIServer, path: str):
    await answer(server.url + path, ask())

    assert server.http.requests[0].path == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("path", "asked"), [("/api", "/api/v1/chat/completions"), ("/v1beta/openai", "/v1beta/openai/chat/completions")]
)
async def test_other_paths(path: str, asked: str):
    async with Canned({"choices": [{"message": {"content": "x"}}]}).http as server:
        await answer(server.url + path, ask())
    assert server.requests[0].path == asked


async def test_the_key_is_sent():
    async with OpenAIServer(api_key="sk-right") as server:
        assert await answer(server.url, ask(), api_key="sk-right")
        with pytest.raises(EngineError, match="credentials") as caught:
            await answer(server.url, ask(), api_key="sk-wrong")
    assert "sk-" not in str(caught.value)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_counts_that_the_engine_does_not_give_are_estimates(stream: bool):
    async with OpenAIServer(has_usage=False) as server:
        chunks = await answer(server.url, ask(stream=stream))

    assert "".join(chunk.text for chunk in chunks) == "echo: One two three four."
    characters = sum(len(message.content) for message in MESSAGES)
    assert chunks[-1].tokens == EstimatedTokens(characters // 4, 5 if stream else 7)


async def test_counts_that_the_engine_gives_are_no_estimates(server: OpenAIServer):
    assert (await answer(server.url, ask()))[-1].tokens == Tokens(6, 5)


async def test_a_stream_without_done_is_whole_when_it_has_a_finish_reason():
    async with OpenAIServer(has_done=False) as server:
        chunks = await answer(server.url, ask(stream=True))
    assert chunks[-1].finish_reason == "stop"
    assert type(chunks[-1].tokens) is Tokens


async def test_done_alone_ends_a_stream():
    stream = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\ndata: [DONE]\n\n'
    async with Canned(stream, is_stream=True).http as server:
        chunks = await answer(server.url, ask(stream=True))
    assert [(chunk.text, chunk.finish_reason) for chunk in chunks] == [("x", None), ("", "stop")]


async def test_a_stream_that_only_ends_is_cut():
    async with Canned(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n', is_stream=True).http as server:
        with pytest.raises(EngineError, match="broke off"):
            await answer(server.url, ask(stream=True))


async def test_thoughts_are_no_text():
    stream = b"".join(
        b'data: {"choices":[{"delta":{"%b":"%b"}}]}\n\n' % pair
        for pair in ((b"reasoning_content", b"hm"), (b"reasoning", b"hm"), (b"content", b"x"))
    )
    async with Canned(stream + b"data: [DONE]\n\n", is_stream=True).http as server:
        chunks = await answer(server.url, ask(stream=True))
    assert "".join(chunk.text for chunk in chunks) == "x"


@pytest.mark.parametrize("body", [b"", b"<html>", {}, {"choices": []}, {"choices": [{"message": {"content": 5}}]}])
async def test_an_answer_that_cannot_be_read(body: object):
    async with Canned(body).http as server:
        with pytest.raises(EngineError, match="cannot be read"):
            await answer(server.url, ask())


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_calls_of_an_engine_that_sends_them_whole_and_says_stop(stream: bool):
    call = {"id": "a1", "function": {"name": "add", "arguments": {"x": 1}}}
    said = {"content": None, "tool_calls": [call]}
    choice = {"delta" if stream else "message": said, "finish_reason": "stop"}
    body = {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    sent = b"data: " + json.dumps(body).encode() + b"\n\ndata: [DONE]\n\n" if stream else body

    async with Canned(sent, is_stream=stream).http as server:
        (whole,) = merged(await answer(server.url, ask(stream=stream)))

    assert whole == Chunk("", "tool_calls", Tokens(3, 2), tool_calls=(ToolCall("a1", "add", '{"x":1}', 0),))


async def test_a_call_without_arguments_has_empty_ones_before_the_last_chunk():
    event = {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "a1", "function": {"name": "now"}}]}}]}
    stream = b"data: " + json.dumps(event).encode() + b"\n\ndata: [DONE]\n\n"

    async with Canned(stream, is_stream=True).http as server:
        first, rest, last = await answer(server.url, ask(stream=True))

    assert first.tool_calls == (ToolCall("a1", "now", "", 0),)
    assert rest.tool_calls == (ToolCall("", "", "{}", 0),)
    assert (last.tool_calls, last.finish_reason) == ((), "tool_calls")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_logprobs_that_nobody_asked_for_are_left_out(stream: bool):
    said = {
        "delta" if stream else "message": {"content": "x"},
        "logprobs": {"content": [{"token": "x", "logprob": -1}]},
    }
    body = {"choices": [said]}
    sent = b"data: " + json.dumps(body).encode() + b"\n\ndata: [DONE]\n\n" if stream else body

    async with Canned(sent, is_stream=stream).http as server:
        (whole,) = merged(await answer(server.url, ask(stream=stream)))

    assert (whole.text, whole.logprobs) == ("x", ())


async def test_a_picture_that_llamacpp_cannot_take_is_a_refusal():
    said = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"

    async def handle(exchange: Exchange) -> None:
        await exchange.answer(500, {"error": {"code": 500, "message": said, "type": "server_error"}})

    async with HttpServer(handle) as server:
        with pytest.raises(EngineRefused, match="image input is not supported"):
            await answer(server.url, ask())


async def test_all_is_listed_that_a_model_may_be_able_to():
    async with Canned({"data": [{"id": "m"}]}).http as server:
        engine = OpenAICompatEngine(EngineSpec("openai", "openai_compat", server.url))
        (model,) = await engine.models()
        await engine.aclose()

    assert model.capabilities == ("chat", "stream", "tools", "vision", "embed")


async def test_an_event_that_cannot_be_read():
    async with Canned(b"data: {nonsense\n\n", is_stream=True).http as server:
        with pytest.raises(EngineError, match="cannot be read"):
            await answer(server.url, ask(stream=True))


@pytest.mark.parametrize("error", ["it broke", {"message": "it broke", "code": 500}])
async def test_an_error_in_a_200(error: object):
    async with Canned({"error": error}).http as server:
        with pytest.raises(EngineError, match="in the middle"):
            await answer(server.url, ask())


async def test_a_refusal_in_a_stream():
    stream = b'data: {"error": {"message": "the context is too long", "code": 400}}\n\n'
    async with Canned(stream, is_stream=True).http as server:
        with pytest.raises(EngineRefused, match="too long"):
            await answer(server.url, ask(stream=True))


async def test_llamacpp_is_always_asked_for_a_stream():
    rows = {"data": [{"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx": 2048, "n_ctx_train": 8192, "size": 5}}]}

    async def handle(exchange: Exchange) -> None:
        if exchange.request.path == "/v1/models":
            return await exchange.answer(200, rows)
        await exchange.begin("text/event-stream")
        await exchange.send(b"data: [DONE]\n\n")
        return await exchange.end()

    async with HttpServer(handle) as server:
        engine = OpenAICompatEngine(EngineSpec("openai", "openai_compat", server.url))
        (model,) = await engine.models()
        chunks = [chunk async for chunk in engine.generate("m", ask(stream=False), DEADLINE)]
        await engine.aclose()

    assert (model.context_length, model.size_bytes) == (2048, 5)
    assert server.requests[1].json()["stream"] is True
    assert len(chunks) == 1


async def test_models_that_cannot_be_read():
    async with Canned({"data": [{"name": "x"}]}).http as server:
        engine = OpenAICompatEngine(EngineSpec("openai", "openai_compat", server.url))
        with pytest.raises(EngineError, match="cannot be read"):
            await engine.models()
        await engine.aclose()
