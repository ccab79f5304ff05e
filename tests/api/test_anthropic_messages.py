"""POST /v1/messages and /v1/messages/count_tokens: what a client of Anthropic's gets."""

import json
from typing import Any

from tests.api.asgi_client import Client, Response
from tests.api.conftest import Service
from tests.api.rows import rows_of

PATH = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
VERSION: dict[str, str | None] = {"anthropic-version": "2023-06-01"}
DOCKER = {"model": "echo", "max_tokens": 50, "messages": [{"role": "user", "content": "What is Docker?"}]}
WEATHER = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
FAILURES = (("fail", 502, "api_error"), ("down", 502, "api_error"), ("busy", 529, "overloaded_error"))


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def events(response: Response) -> list[tuple[str, dict[str, Any]]]:
    pairs = [event.split("\n") for event in response.body.decode().removesuffix("\n\n").split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


def error(response: Response) -> tuple[int, str]:
    body = response.json
    assert body.keys() == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert body["request_id"] == response.header("request-id") == response.header("x-request-id")
    return response.status, body["error"]["type"]


async def test_200_message_with_its_headers_and_its_row(service: Service, client: Client) -> None:
    response = await client.post(PATH, DOCKER, headers=VERSION)
    assert response.status == 200
    message = response.json
    assert message["content"] == [{"type": "text", "text": "echo: What is Docker?", "citations": None}]
    assert (message["model"], message["stop_reason"], message["role"]) == ("echo", "end_turn", "assistant")
    assert message["usage"]["input_tokens"] == 3
    assert message["usage"]["output_tokens"] == 4
    assert response.header("request-id") == response.header("x-request-id")
    assert message["id"] == f"msg_{response.header('request-id').replace('-', '')}"  # type: ignore[union-attr]
    assert response.header("anthropic-ratelimit-requests-limit") == "100"
    assert response.header("anthropic-ratelimit-requests-remaining") == "99"
    assert response.header("x-cache") == "MISS"
    (row,) = await rows_of(service, client, count=1)
    assert (row["endpoint"], row["model_used"], row["total_tokens"]) == (PATH, "echo", 7)


async def test_200_the_native_door_s_answer_is_a_hit_here(client: Client) -> None:
    native = {"model": "echo", "prompt": "What is Docker?", "max_tokens": 50}
    assert (await client.post("/ai/generate", native)).header("x-cache") == "MISS"
    plain = await client.post(PATH, DOCKER)
    streamed = await client.post(PATH, DOCKER | {"stream": True})
    assert (plain.header("x-cache"), streamed.header("x-cache")) == ("HIT", "HIT")
    named = dict(events(streamed))
    assert named["message_start"]["message"]["usage"]["input_tokens"] == 3
    assert named["content_block_delta"]["delta"]["text"] == plain.json["content"][0]["text"]


async def test_200_stream_is_anthropic_s_events_in_their_order(client: Client) -> None:
    response = await client.post(PATH, DOCKER | {"stream": True})
    assert response.header("content-type") == "text/event-stream; charset=utf-8"
    found = events(response)
    assert [name for name, _ in found] == [
        "message_start",
        "ping",
        "content_block_start",
        *["content_block_delta"] * 4,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    text = "".join([data["delta"]["text"] for name, data in found if name == "content_block_delta"])
    assert text == "echo: What is Docker?"
    end = found[-2][1]
    assert end["delta"]["stop_reason"] == "end_turn"
    assert (end["usage"]["input_tokens"], end["usage"]["output_tokens"]) == (3, 4)
    assert found[0][1]["message"]["usage"]["input_tokens"] == 0


async def test_200_a_tool_is_called_plain_and_streamed_and_its_result_told(client: Client) -> None:
    asked = {"model": "tools", "max_tokens": 50, "tools": [WEATHER], "messages": said("The weather in Paris?")}
    plain = (await client.post(PATH, asked, headers={"cache-control": "no-store"})).json
    (call,) = plain["content"]
    assert (call["type"], call["name"], call["input"]) == ("tool_use", "get_weather", {"city": "Paris"})
    assert plain["stop_reason"] == "tool_use"
    streamed = events(await client.post(PATH, asked | {"stream": True}, headers={"cache-control": "no-store"}))
    pieces = [data["delta"]["partial_json"] for name, data in streamed if name == "content_block_delta"]
    assert len(pieces) > 1
    assert json.loads("".join(pieces)) == {"city": "Paris"}
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "sunny", "is_error": False}
    turns = [{"role": "assistant", "content": plain["content"]}, {"role": "user", "content": [result]}]
    told = await client.post(PATH, asked | {"messages": [*asked["messages"], *turns]})
    assert told.json["content"][0]["text"] == "result: sunny"


async def test_200_json_of_a_schema_a_picture_and_an_answer_that_is_cut(client: Client) -> None:
    form = {"format": {"type": "json_schema", "schema": WEATHER["input_schema"]}}
    formed = await client.post(PATH, DOCKER | {"model": "json", "output_config": form})
    assert json.loads(formed.json["content"][0]["text"]).keys() == {"city"}
    seen = await client.post(PATH, DOCKER | {"model": "see", "messages": [{"role": "user", "content": [PICTURE]}]})
    assert seen.json["content"][0]["text"] == "saw 1 image(s): image/png"
    cut = await client.post(PATH, DOCKER | {"max_tokens": 2})
    assert (cut.json["stop_reason"], cut.json["usage"]["output_tokens"]) == ("max_tokens", 2)
    stopped = await client.post(PATH, DOCKER | {"model": "words-10", "stop_sequences": ["word3"]})
    assert (stopped.json["stop_reason"], stopped.json["stop_sequence"]) == ("end_turn", None)


async def test_200_a_count_is_what_the_message_then_uses_and_is_kept(service: Service, client: Client) -> None:
    prompt = {
        "model": "tools",
        "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}],
        "tools": [WEATHER],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "The weather in Paris?"}]}],
    }
    first = await client.post(COUNT, prompt, headers=VERSION)
    again = await client.post(COUNT, prompt, headers=VERSION)
    assert first.json == again.json == {"input_tokens": 8}
    assert (first.header("x-cache"), again.header("x-cache")) == ("MISS", "HIT")
    assert first.header("anthropic-ratelimit-requests-remaining") == "99"
    message = await client.post(PATH, prompt | {"max_tokens": 50})
    assert message.json["usage"]["input_tokens"] == first.json["input_tokens"]
    rows = await rows_of(service, client, count=3)
    assert sorted(row["endpoint"] for row in rows) == [PATH, COUNT, COUNT]


async def test_400_names_what_is_wrong(service: Service, client: Client) -> None:
    for change, named in [
        ({"max_tokens": None}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305"),
        (
            {"messages": [{"role": "user", "content": [{"type": "document"}]}]},
            "messages[0].content[0].type: 'document'",
        ),
        ({"container": "c"}, "container"),
        ({"model": "refuse"}, "did not accept"),
        ({"messages": [{"role": "user", "content": [PICTURE]}]}, "takes no images"),
    ]:
        response = await client.post(PATH, DOCKER | change, headers=VERSION)
        assert error(response) == (400, "invalid_request_error"), change
        assert named in response.json["error"]["message"]
        assert response.header("x-should-retry") == "false"
    thread = await client.post(PATH, DOCKER | {"thread": {"type": "create"}})
    assert thread.json["error"]["details"] == {"error_code": "thread_unsupported_request"}
    missing = {name: DOCKER[name] for name in ("model", "messages")}
    assert "max_tokens" in (await client.post(PATH, missing)).json["error"]["message"]
    for body in (b"{", b"[]", b"\xff", b""):
        assert error(await client.post(PATH, body)) == (400, "invalid_request_error")
    large = await client.post(PATH, DOCKER | {"x": "x" * service.settings.server.image_body_bytes_max})
    assert error(large) == (413, "invalid_request_error")
    gzipped = await client.post(PATH, DOCKER, headers={"content-encoding": "gzip"})
    assert error(gzipped) == (400, "invalid_request_error")
    assert error(await client.get(PATH)) == (405, "invalid_request_error")
    assert error(await client.post(f"{PATH}/nothing", DOCKER)) == (404, "not_found_error")


async def test_every_refusal_is_anthropic_s(service: Service) -> None:
    client = await service.with_key()
    other = await service.with_key(models=["json"])
    for path in (PATH, COUNT):
        assert error(await service.client().post(path, DOCKER)) == (401, "authentication_error")
        assert error(await client.post(path, DOCKER | {"model": "nowhere"})) == (404, "not_found_error")
        for model, status, kind in FAILURES:
            response = await client.post(path, DOCKER | {"model": model})
            assert error(response) == (status, kind)
            assert response.header("x-should-retry") == "true"
            assert response.header("anthropic-ratelimit-requests-limit") == "100"
        only_kept = await client.post(path, DOCKER, headers={"cache-control": "only-if-cached"})
        assert error(only_kept) == (504, "timeout_error")
        assert error(await other.post(path, DOCKER)) == (403, "permission_error")


async def test_429_says_when_and_that_waiting_that_long_is_for_nothing(service: Service) -> None:
    client = await service.with_key(quota_requests_per_hour=1)
    assert (await client.post(COUNT, DOCKER)).status == 200
    response = await client.post(PATH, DOCKER)
    assert error(response) == (429, "rate_limit_error")
    assert int(response.header("retry-after") or 0) > 60
    assert response.header("x-should-retry") == "false"
    assert response.header("anthropic-ratelimit-requests-remaining") == "0"
    assert (response.header("anthropic-ratelimit-requests-reset") or "").endswith("Z")


async def test_a_stream_that_breaks_off_ends_with_an_error(client: Client) -> None:
    for model in ("cut", "fail-mid"):
        response = await client.post(PATH, DOCKER | {"model": model, "stream": True})
        assert response.status == 200
        *_, (name, data) = events(response)
        assert name == "error"
        assert (data["type"], data["error"]["type"]) == ("error", "api_error")
        assert data["request_id"] == response.header("request-id")
