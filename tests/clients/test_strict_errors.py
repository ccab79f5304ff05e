"""Every error of the vendors' doors has its vendor's status, class and body, held to the vendor's own types."""

import gzip
import json
from typing import Any

import httpx
import pytest
from anthropic.types import ErrorResponse
from openai.types.responses import ResponseStreamEvent
from openai.types.shared import ErrorObject
from pydantic import BaseModel, ConfigDict

from tests.clients.conftest import Place
from tests.clients.strict import held_to, ndjson_lines, sse_events

pytestmark = pytest.mark.clients

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/completions": {"prompt": "Hi"},
    "/v1/responses": {"input": "Hi"},
    "/v1/embeddings": {"input": "Hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9},
    "/api/chat": {"messages": [{"role": "user", "content": "Hi"}]},
    "/api/generate": {"prompt": "Hi"},
    "/api/embed": {"input": "Hi"},
}
CHATTING = tuple(path for path in BODIES if path not in {"/v1/embeddings", "/api/embed"})
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
# How each asks for an answer of a schema.
FORMED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    },
    "/v1/responses": {"text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}},
    "/v1/messages": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    "/api/chat": {"format": SCHEMA},
    "/api/generate": {"format": SCHEMA},
}
TOO_LARGE_BYTES = 21 * 1024 * 1024


class OpenAIError(BaseModel):
    """The body of OpenAI's errors, of which its client has the inner part only."""

    model_config = ConfigDict(extra="forbid")
    error: ErrorObject


class OllamaError(BaseModel):
    """The body of Ollama's errors, of which its client reads the text."""

    model_config = ConfigDict(extra="forbid")
    error: str


def is_anthropic(path: str) -> bool:
    return path.startswith("/v1/messages")


def hold(path: str, body: bytes | str) -> None:
    if path.startswith("/api/"):
        assert held_to(OllamaError, body).error
    elif is_anthropic(path):
        assert held_to(ErrorResponse, body).request_id
    else:
        error = held_to(OpenAIError, body).error
        assert {"message", "type", "param", "code"} <= error.model_fields_set


def hold_answer(path: str, answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    hold(path, answer.content)
    shown_id = answer.headers["request-id" if is_anthropic(path) else "x-request-id"]
    assert shown_id
    if is_anthropic(path):
        assert answer.json()["request_id"] == shown_id


def post(place: Place, path: str, model: str = "echo", headers: dict[str, str] | None = None, **extra: Any):
    body = {"model": model, **BODIES[path], **extra}
    sent = (place.headers if headers is None else headers) | {"anthropic-version": "2026-10-21"}
    return httpx.post(place.url + path, json=body, headers=sent, timeout=60)


def send(place: Place, path: str, content: bytes, **headers: str) -> httpx.Response:
    sent = place.headers | {"content-type": "application/json", "anthropic-version": "2026-10-21"} | headers
    return httpx.post(place.url + path, content=content, headers=sent, timeout=60)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("content", [b"{", b"[]", b'{"model": 7}', b"\xff"], ids=["cut", "array", "type", "bytes"])
def test_400_for_what_cannot_be_read(scripted_place: Place, path: str, content: bytes):
    hold_answer(path, send(scripted_place, path, content), 400)


@pytest.mark.parametrize("path", CHATTING)
def test_400_for_what_the_engine_refuses(scripted_place: Place, path: str):
    hold_answer(path, post(scripted_place, path, "refuse"), 400)


@pytest.mark.parametrize("path", BODIES)
def test_401_without_a_key_and_with_a_wrong_one(scripted_place: Place, path: str):
    for headers in ({}, {"authorization": "Bearer vpn_nobody"}, {"x-api-key": "vpn_nobody"}):
        hold_answer(path, post(scripted_place, path, headers=headers), 401)


@pytest.mark.parametrize("path", BODIES)
def test_403_for_a_model_that_the_key_may_not_use(scripted_place: Place, path: str):
    key = scripted_place.service.new_key(models=["words-10"])

    hold_answer(path, post(scripted_place, path, headers={"authorization": f"Bearer {key}"}), 403)


@pytest.mark.parametrize("path", BODIES)
def test_404_for_an_unknown_model(scripted_place: Place, path: str):
    hold_answer(path, post(scripted_place, path, "nowhere"), 404)


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/models/nowhere", "/v1/responses/resp_none", "/api/nothing"])
def test_404_for_what_is_not_there(scripted_place: Place, path: str):
    hold_answer(path, httpx.get(scripted_place.url + path, headers=scripted_place.headers), 404)


def test_404_for_an_unknown_model_of_anthropic(scripted_place: Place):
    headers = scripted_place.headers | {"anthropic-version": "2026-10-21"}
    answer = httpx.get(f"{scripted_place.v1}/models/nowhere", headers=headers)

    assert answer.status_code == 404
    held_to(ErrorResponse, answer.content)


@pytest.mark.parametrize("path", BODIES)
def test_405_for_another_method(scripted_place: Place, path: str):
    hold_answer(path, httpx.put(scripted_place.url + path, headers=scripted_place.headers), 405)


@pytest.mark.parametrize("path", BODIES)
def test_413_for_a_large_body(scripted_place: Place, path: str):
    content = json.dumps({"model": "echo", **BODIES[path], "user": "x" * TOO_LARGE_BYTES}).encode()

    hold_answer(path, send(scripted_place, path, content), 413)


@pytest.mark.parametrize("path", BODIES)
def test_a_body_of_another_kind(scripted_place: Place, path: str):
    """Ours say 415; the vendors have no such status and say 400."""
    body = json.dumps({"model": "echo", **BODIES[path]}).encode()

    hold_answer(path, send(scripted_place, path, gzip.compress(body), **{"content-encoding": "gzip"}), 400)


@pytest.mark.parametrize("path", BODIES)
def test_429_says_whether_to_try_again(scripted_place: Place, path: str):
    key = scripted_place.service.new_key(quota_requests_per_hour=1)
    headers = {"authorization": f"Bearer {key}"}
    model = "embed" if "embed" in path else "echo"
    assert post(scripted_place, path, model, headers=headers).status_code == 200
    answer = post(scripted_place, path, model, headers=headers)

    hold_answer(path, answer, 429)
    assert int(answer.headers["retry-after"]) > 0
    if path.startswith("/v1/"):
        assert answer.headers["x-should-retry"] == "false"
        assert int(answer.headers["retry-after-ms"]) > 0


@pytest.mark.parametrize("path", CHATTING)
@pytest.mark.parametrize(("model", "status"), [("fail", 502), ("down", 502), ("busy", 503)])
def test_an_engines_failure(scripted_place: Place, path: str, model: str, status: int):
    expected = 529 if status == 503 and is_anthropic(path) else status

    hold_answer(path, post(scripted_place, path, model), expected)
    hold_answer(path, post(scripted_place, path, model, stream=True), expected)


@pytest.mark.parametrize("path", FORMED)
def test_502_for_an_answer_that_is_not_of_its_form(scripted_place: Place, path: str):
    hold_answer(path, post(scripted_place, path, "json-broken", stream=False, **FORMED[path]), 502)


@pytest.mark.parametrize("path", CHATTING)
def test_504_for_an_answer_that_only_the_cache_may_give(scripted_place: Place, path: str):
    headers = scripted_place.headers | {"cache-control": "only-if-cached"}

    hold_answer(path, post(scripted_place, path, headers=headers, stream=False), 504)


@pytest.mark.parametrize("path", CHATTING)
@pytest.mark.parametrize("model", ["fail-mid", "cut"])
def test_an_error_after_the_first_byte(scripted_place: Place, path: str, model: str):
    answer = post(scripted_place, path, model, stream=True)

    assert answer.status_code == 200
    if path.startswith("/api/"):
        hold(path, ndjson_lines(answer.text)[-1])
        return
    events = sse_events(answer.text)
    name, data = events[-1]
    if path == "/v1/responses":
        kinds = [held_to(ResponseStreamEvent, data).type for _, data in events]
        assert kinds == [name for name, _ in events]
        assert kinds[-2:] == ["error", "response.failed"]
    else:
        assert name == ("error" if is_anthropic(path) else None)
        hold(path, data)
