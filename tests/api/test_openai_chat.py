"""POST /v1/chat/completions and /v1/completions: what a client of OpenAI's gets."""

import json
from typing import Any

import pytest

from tests.api.asgi_client import Client
from tests.api.conftest import Service
from tests.api.rows import rows_of

PATH = "/v1/chat/completions"
OLD_PATH = "/v1/completions"
DOCKER: dict[str, Any] = {"messages": [{"role": "user", "content": "What is Docker?"}]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PNG = "data:image/png;base64,iVBORw0KGgo="


async def test_200_plain_and_streamed_answers_say_the_same(client: Client) -> None:
    response = await client.post(PATH, DOCKER, headers={"cache-control": "no-store"})
    assert (response.status, response.header("content-type")) == (200, "application/json")
    answer = response.json
    assert answer["id"] == "chatcmpl-" + (response.header("x-request-id") or "").replace("-", "")
    assert (answer["object"], answer["model"]) == ("chat.completion", "echo")
    assert answer["choices"][0]["message"]["content"] == "echo: What is Docker?"
    assert answer["usage"]["total_tokens"] == 7
    shown = DOCKER | {"stream": True, "stream_options": {"include_usage": True}}
    stream = await client.post(PATH, shown, headers={"cache-control": "no-store"})
    assert stream.header("content-type") == "text/event-stream; charset=utf-8"
    first, *chunks, last, done = stream.events
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "echo: What is Docker?"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert (last["usage"], last["choices"], done) == (answer["usage"], [], "[DONE]")


async def test_200_one_answer_is_kept_for_every_door(service: Service, client: Client) -> None:
    fields = {"temperature": 0, "max_tokens": 9, "stop": ["never"], "seed": 1}
    states = [
        (await client.post("/ai/generate", {"prompt": "What is Docker?", **fields})).header("x-cache"),
        (await client.post(PATH, DOCKER | fields)).header("x-cache"),
        (await client.post(OLD_PATH, {"prompt": "What is Docker?", **fields})).header("x-cache"),
    ]
    hit = await client.post(PATH, DOCKER | fields | {"stream": True})
    assert [*states, hit.header("x-cache")] == ["MISS", "HIT", "HIT", "HIT"]
    assert [event["choices"][0]["delta"] for event in hit.events[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "echo: What is Docker?"},
        {},
    ]
    rows = await rows_of(service, client, count=4)
    assert sorted((row["endpoint"], row["total_tokens"]) for row in rows) == [
        ("/ai/generate", 7),
        (PATH, 0),
        (PATH, 0),
        (OLD_PATH, 0),
    ]


async def test_200_tools_are_called_and_their_results_told(client: Client) -> None:
    asked = {"model": "tools", "messages": [{"role": "user", "content": 'The weather in "Rome"'}], "tools": [WEATHER]}
    plain = (await client.post(PATH, asked)).json["choices"][0]
    (call,) = plain["message"]["tool_calls"]
    assert (plain["finish_reason"], plain["message"]["content"]) == ("tool_calls", None)
    assert json.loads(call["function"]["arguments"]) == {"city": "Rome"}
    for headers in ({}, {"cache-control": "no-store"}):
        stream = await client.post(PATH, asked | {"stream": True}, headers=dict(headers))
        deltas = [event["choices"][0]["delta"] for event in stream.events[:-1]]
        pieces = [piece for delta in deltas for piece in delta.get("tool_calls", ())]
        assert pieces[0]["id"] == call["id"]
        assert "".join(piece["function"]["arguments"] for piece in pieces) == call["function"]["arguments"]
        assert stream.events[-2]["choices"][0]["finish_reason"] == "tool_calls"
    messages = [*asked["messages"], plain["message"], {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}]
    told = await client.post(PATH, asked | {"messages": messages})
    assert told.json["choices"][0]["message"]["content"] == "result: sunny"


async def test_200_several_choices_pictures_logprobs_and_forms(client: Client) -> None:
    several = DOCKER | {"model": "words-10", "n": 2, "max_tokens": 2, "logprobs": True, "top_logprobs": 2}
    answer = (await client.post(PATH, several)).json
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    for choice in answer["choices"]:
        tokens = choice["logprobs"]["content"]
        assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
        assert {len(token["top_logprobs"]) for token in tokens} == {2}
    stream = await client.post(PATH, several | {"stream": True})
    ends = [c["index"] for event in stream.events[:-1] for c in event["choices"] if c["finish_reason"] == "length"]
    assert sorted(ends) == [0, 1]
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}
    seen = await client.post(PATH, {"model": "see", "messages": [picture]})
    assert seen.json["choices"][0]["message"]["content"] == "saw 1 image(s): image/png"
    schema = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    formed = await client.post(PATH, DOCKER | {"model": "json", "response_format": form})
    assert json.loads(formed.json["choices"][0]["message"]["content"]) == {"a": 1}


async def test_200_a_large_picture_is_let_in_here_and_a_large_prompt_is_not_there(client: Client) -> None:
    large = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PNG[:-4] + "AAAA" * 400_000}}]}
    assert (await client.post(PATH, {"model": "see", "messages": [large]})).status == 200
    refused = await client.post(OLD_PATH, {"prompt": "Hi", "user": "x" * 1_100_000})
    assert (refused.status, refused.code) == (413, "request_too_large")


async def test_200_the_older_door_answers_a_prompt(client: Client) -> None:
    asked = {"model": "words-10", "prompt": "Go", "max_tokens": 2, "logprobs": 1}
    answer = (await client.post(OLD_PATH, asked)).json
    assert answer["id"].startswith("cmpl-")
    (choice,) = answer["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("word0 word1 ", "length")
    assert choice["logprobs"]["tokens"] == ["word0 ", "word1 "]
    assert choice["logprobs"]["text_offset"] == [0, 6]
    stream = await client.post(OLD_PATH, asked | {"stream": True}, headers={"cache-control": "no-store"})
    *chunks, done = stream.events
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == choice["text"]
    assert (chunks[-1]["choices"][0]["finish_reason"], done) == ("length", "[DONE]")


@pytest.mark.parametrize("path", [PATH, OLD_PATH])
async def test_refusals_are_openai_s(service: Service, path: str) -> None:
    client = await service.with_key(models=["echo", "fail", "busy", "refuse", "json-broken", "embed"])
    prompt = DOCKER if path == PATH else {"prompt": "Hi"}
    cases: list[tuple[Any, int, str | None, str | None]] = [
        (b"{", 400, None, None),
        (b"[]", 400, None, None),
        (prompt | {"temperature": 9}, 400, "temperature", "invalid_value"),
        (prompt | {"logit_bias": {"1": 1}}, 400, "logit_bias", "invalid_value"),
        (prompt | {"model": "refuse"}, 400, None, "invalid_request"),
        (prompt | {"model": "embed"}, 400, "model", "unsupported_value"),
        (prompt | {"model": "see"}, 403, "model", "insufficient_permissions"),
        (prompt | {"model": "nowhere"}, 404, "model", "model_not_found"),
        (prompt | {"model": "fail"}, 502, None, "engines.failed"),
        (prompt | {"model": "busy"}, 503, None, "server_is_overloaded"),
    ]
    for body, status, param, code in cases:
        for stream in (False, True):
            sent = body if isinstance(body, bytes) else body | {"stream": stream}
            response = await client.post(path, sent)
            assert response.status == status, response.body
            error = response.json["error"]
            assert set(error) == {"message", "type", "param", "code"}
            assert (error["param"], error["code"]) == (param, code)
            assert response.header("x-should-retry") == ("true" if status >= 500 else "false")
            assert response.header("x-ratelimit-limit-requests") == "100"
    assert response.header("retry-after-ms") == "1000"
    assert (await service.client().post(path, prompt)).code == "invalid_api_key"
    assert (await client.get(path)).status == 405


async def test_502_and_504_are_openai_s_as_well(client: Client) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    broken = await client.post(PATH, DOCKER | {"model": "json-broken", "response_format": form})
    assert (broken.status, broken.json["error"]["type"]) == (502, "server_error")
    missed = await client.post(PATH, DOCKER, headers={"cache-control": "only-if-cached"})
    assert (missed.status, missed.header("x-should-retry")) == (504, "false")


async def test_429_tells_the_client_not_to_ask_again(service: Service) -> None:
    client = await service.with_key(quota_requests_per_hour=1)
    await client.post(PATH, DOCKER)
    response = await client.post(PATH, DOCKER | {"stream": True})
    assert (response.status, response.code) == (429, "rate_limit_exceeded")
    assert response.header("x-should-retry") == "false"
    assert int(response.header("retry-after-ms") or 0) == 1_000 * int(response.header("retry-after") or 0) > 60_000


@pytest.mark.parametrize("path", [PATH, OLD_PATH])
async def test_stream_that_breaks_says_so_and_has_no_done(client: Client, path: str) -> None:
    prompt = DOCKER if path == PATH else {"prompt": "Hi"}
    for model in ("cut", "fail-mid"):
        response = await client.post(path, prompt | {"model": model, "stream": True})
        *chunks, error = response.events
        assert response.status == 200
        said = [
            choice.get("text") or choice.get("delta", {}).get("content", "") for c in chunks for choice in c["choices"]
        ]
        assert "".join(said) == "one two "
        assert set(error["error"]) == {"message", "type", "param", "code"}
        assert error["error"]["type"] == "server_error"
