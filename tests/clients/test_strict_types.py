"""Every answer, every event and every error of the vendors' doors, held to the vendors' own types: see strict.py."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import ollama
import pytest
from anthropic.pagination import SyncPage as AnthropicPage
from anthropic.types import Message, MessageTokensCount, ModelInfo, RawMessageStreamEvent
from openai.pagination import SyncPage
from openai.types import Completion, CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseItemList, ResponseStreamEvent

from tests.clients.conftest import Place
from tests.clients.strict import held_to, ndjson_lines, sse_events

pytestmark = pytest.mark.clients

VERSION = {"anthropic-version": "2026-10-21"}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CHAT_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
TOOL = {"type": "function", "name": "get_weather", "parameters": PARAMETERS}
CLAUDE_TOOL = {"name": "get_weather", "input_schema": PARAMETERS}
SCHEMA = {"name": "place", "schema": PARAMETERS}


@dataclass(frozen=True)
class Case:
    """A request and the type of its answer, or of each event of it."""

    name: str
    path: str
    model: str
    form: Any
    body: dict[str, Any] = field(default_factory=dict)
    prompt: str = "The weather in Paris"

    def ask(self, place: Place, **extra: Any) -> httpx.Response:
        body = {"model": self.model, **self.prompted(), **self.body, **extra}
        headers = place.headers | (VERSION if "messages" in self.path else {})
        answer = httpx.post(place.url + self.path, json=body, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer

    def prompted(self) -> dict[str, Any]:
        if self.path in {"/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens", "/api/chat"}:
            return {"messages": [{"role": "user", "content": self.prompt}]}
        if self.path in {"/v1/completions", "/api/generate", "/api/embeddings"}:
            return {"prompt": self.prompt}
        return {"input": self.prompt}


def case(name: str, path: str, model: str, form: Any, **body: Any) -> Any:
    return pytest.param(Case(name, path, model, form, body), id=f"{path} {name}")


CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
# Each of these is asked for plainly and as a stream.
OPENAI_CHAT = (
    case("echo", CHAT, "echo", None),
    case("n", CHAT, "words-10", None, n=2, stop=["word4"]),
    case("length", CHAT, "words-10", None, max_tokens=2),
    case("logprobs", CHAT, "words-10", None, logprobs=True, top_logprobs=2),
    case("tools", CHAT, "tools", None, tools=[CHAT_TOOL], tool_choice="required"),
    case("json", CHAT, "json", None, response_format={"type": "json_schema", "json_schema": SCHEMA}),
    case("echo", "/v1/completions", "echo", None),
    case("logprobs", "/v1/completions", "words-10", None, logprobs=2, n=2),
)
OPENAI_RESPONSES = (
    case("echo", RESPONSES, "echo", None, instructions="Be short.", metadata={"a": "b"}, user="ann"),
    case("stored", RESPONSES, "echo", None, store=True),
    case("length", RESPONSES, "words-10", None, max_output_tokens=2),
    case("logprobs", RESPONSES, "words-10", None, include=["message.output_text.logprobs"], top_logprobs=2),
    case("tools", RESPONSES, "tools", None, tools=[TOOL], tool_choice="required", parallel_tool_calls=False),
    case("tool", RESPONSES, "tools", None, tools=[TOOL], tool_choice={"type": "function", "name": "get_weather"}),
    case("json", RESPONSES, "json", None, text={"format": {"type": "json_schema", **SCHEMA}}),
    case("json_object", RESPONSES, "json", None, text={"format": {"type": "json_object"}}),
)
ANTHROPIC = (
    case("echo", MESSAGES, "echo", Message, max_tokens=50),
    case("length", MESSAGES, "words-10", Message, max_tokens=2),
    case("stop", MESSAGES, "words-10", Message, max_tokens=50, stop_sequences=["word4"]),
    case("tools", MESSAGES, "tools", Message, max_tokens=50, tools=[CLAUDE_TOOL], tool_choice={"type": "any"}),
    case(
        "json",
        MESSAGES,
        "json",
        Message,
        max_tokens=50,
        output_config={"format": {"type": "json_schema", "schema": PARAMETERS}},
    ),
)
OLLAMA = (
    case("echo", "/api/chat", "echo", ollama.ChatResponse),
    case("length", "/api/chat", "words-10", ollama.ChatResponse, options={"num_predict": 2}),
    case("tools", "/api/chat", "tools", ollama.ChatResponse, tools=[CHAT_TOOL]),
    case("json", "/api/chat", "json", ollama.ChatResponse, format=PARAMETERS),
    case("logprobs", "/api/chat", "words-10", ollama.ChatResponse, logprobs=True, top_logprobs=2),
    case("echo", "/api/generate", "echo", ollama.GenerateResponse),
    case("json", "/api/generate", "json", ollama.GenerateResponse, format="json"),
    case("logprobs", "/api/generate", "words-10", ollama.GenerateResponse, logprobs=True, top_logprobs=2),
)


@pytest.mark.parametrize("asked", OPENAI_CHAT)
def test_openai_chat(scripted_place: Place, asked: Case):
    form = ChatCompletion if asked.path == CHAT else Completion

    held_to(form, asked.ask(scripted_place).content)


@pytest.mark.parametrize("shows_usage", [False, True])
@pytest.mark.parametrize("asked", OPENAI_CHAT)
def test_openai_chat_streamed(scripted_place: Place, asked: Case, shows_usage: bool):
    form = ChatCompletionChunk if asked.path == CHAT else Completion
    options = {"stream_options": {"include_usage": True}} if shows_usage else {}
    answer = asked.ask(scripted_place, stream=True, **options)
    *events, done = sse_events(answer.text)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert done == (None, "[DONE]")
    for name, data in events:
        assert name is None
        chunk = held_to(form, with_finish_reason(data) if form is Completion else data)
        assert ("usage" in chunk.model_fields_set) == shows_usage
    assert (chunk.choices == []) == shows_usage


def with_finish_reason(data: str) -> str:
    """OpenAI's own streamed completions carry a null where its client's type has none: only that is forgiven."""
    chunk = json.loads(data)
    for choice in chunk["choices"]:
        choice["finish_reason"] = choice["finish_reason"] or "stop"
    return json.dumps(chunk)


@pytest.mark.parametrize("asked", OPENAI_RESPONSES)
def test_openai_responses(scripted_place: Place, asked: Case):
    held_to(Response, asked.ask(scripted_place).content)


@pytest.mark.parametrize("asked", OPENAI_RESPONSES)
def test_openai_responses_streamed(scripted_place: Place, asked: Case):
    events = sse_events(asked.ask(scripted_place, stream=True).text)
    if events[-1] == (None, "[DONE]"):
        events.pop()
    held = [(name, held_to(ResponseStreamEvent, data)) for name, data in events]

    assert all(name == event.type for name, event in held)
    assert held[-1][1].type in {"response.completed", "response.incomplete"}


def test_openai_stored_responses(scripted_place: Place):
    url, headers = f"{scripted_place.url}{RESPONSES}", scripted_place.headers
    body = {
        "model": "tools",
        "store": True,
        "tools": [TOOL],
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": '{"city": "Rome"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
        ],
    }
    made = held_to(Response, httpx.post(url, json=body, headers=headers).content)

    held_to(Response, httpx.get(f"{url}/{made.id}", headers=headers).content)
    page = held_to(ResponseItemList, httpx.get(f"{url}/{made.id}/input_items", headers=headers).content)
    assert len(page.data) == 3
    assert httpx.delete(f"{url}/{made.id}", headers=headers).json() == {
        "id": made.id,
        "object": "response",
        "deleted": True,
    }


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_openai_embeddings(place: Place, encoding: str):
    asked = Case("embed", "/v1/embeddings", place.embedder, CreateEmbeddingResponse, {"encoding_format": encoding})
    answer = asked.ask(place).json()
    for row in answer["data"]:
        if encoding == "base64":
            assert len(base64.b64decode(row["embedding"], validate=True)) % 4 == 0
            row["embedding"] = [0.0]

    held_to(CreateEmbeddingResponse, json.dumps(answer))


def test_openai_models(place: Place):
    listed = held_to(SyncPage[Model], httpx.get(f"{place.v1}/models", headers=place.headers).content)

    held_to(Model, httpx.get(f"{place.v1}/models/{listed.data[0].id}", headers=place.headers).content)


@pytest.mark.parametrize("asked", ANTHROPIC)
def test_anthropic(scripted_place: Place, asked: Case):
    held_to(asked.form, asked.ask(scripted_place).content)


@pytest.mark.parametrize("asked", ANTHROPIC)
def test_anthropic_streamed(scripted_place: Place, asked: Case):
    answer = asked.ask(scripted_place, stream=True)
    for name, data in sse_events(answer.text):
        if name == "ping":
            assert json.loads(data) == {"type": "ping"}
        else:
            assert held_to(RawMessageStreamEvent, data).type == name
    assert name == "message_stop"


def test_anthropic_models_and_counts(place: Place):
    headers = place.headers | VERSION
    listed = held_to(AnthropicPage[ModelInfo], httpx.get(f"{place.v1}/models", headers=headers).content)

    assert {"has_more", "first_id", "last_id"} <= listed.model_fields_set
    held_to(ModelInfo, httpx.get(f"{place.v1}/models/{listed.data[0].id}", headers=headers).content)
    counted = Case("count", f"{MESSAGES}/count_tokens", place.model, MessageTokensCount)
    held_to(MessageTokensCount, counted.ask(place).content)


@pytest.mark.parametrize("asked", OLLAMA)
def test_ollama(scripted_place: Place, asked: Case):
    assert held_to(asked.form, asked.ask(scripted_place, stream=False).content).done


@pytest.mark.parametrize("asked", OLLAMA)
def test_ollama_streamed(scripted_place: Place, asked: Case):
    answer = asked.ask(scripted_place)
    lines = [held_to(asked.form, line) for line in ndjson_lines(answer.text)]

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]


@pytest.mark.parametrize(
    ("path", "form"), [("/api/embed", ollama.EmbedResponse), ("/api/embeddings", ollama.EmbeddingsResponse)]
)
def test_ollama_embeddings(place: Place, path: str, form: type):
    held_to(form, Case("embed", path, place.embedder, form).ask(place).content)


def test_ollama_models(place: Place):
    def get(path: str) -> bytes:
        return httpx.get(place.url + path, headers=place.headers).content

    held_to(ollama.ListResponse, get("/api/tags"))
    held_to(ollama.ProcessResponse, get("/api/ps"))
    shown = httpx.post(f"{place.url}/api/show", json={"model": place.model}, headers=place.headers)
    held_to(ollama.ShowResponse, shown.content)
    assert set(json.loads(get("/api/version"))) == {"version"}


def test_ollama_pull(scripted_place: Place):
    key = scripted_place.service.new_key(scopes=["generate", "admin"])
    headers = {"authorization": f"Bearer {key}"}
    answer = httpx.post(f"{scripted_place.url}/api/pull", json={"model": "echo"}, headers=headers)
    lines = [held_to(ollama.ProgressResponse, line) for line in ndjson_lines(answer.text)]

    assert lines[-1].status == "success"


@pytest.mark.real
@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES, "/api/chat", "/api/generate"])
def test_the_real_model(real_place: Place, path: str, is_streamed: bool):
    limit = {CHAT: {"max_tokens": 5}, RESPONSES: {"max_output_tokens": 16}, MESSAGES: {"max_tokens": 5}}
    asked = Case("real", path, real_place.model, None, limit.get(path, {"options": {"num_predict": 5}}))
    text = asked.ask(real_place, stream=is_streamed).text
    whole, piece = {
        CHAT: (ChatCompletion, ChatCompletionChunk),
        RESPONSES: (Response, ResponseStreamEvent),
        MESSAGES: (Message, RawMessageStreamEvent),
        "/api/chat": (ollama.ChatResponse, ollama.ChatResponse),
        "/api/generate": (ollama.GenerateResponse, ollama.GenerateResponse),
    }[path]

    if not is_streamed:
        held_to(whole, text)
        return
    pieces = ndjson_lines(text) if path.startswith("/api/") else [data for _, data in sse_events(text)]
    for data in pieces:
        if data not in {"[DONE]", '{"type":"ping"}'}:
            held_to(piece, data)
