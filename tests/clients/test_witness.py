"""The service's engines for Ollama and for OpenAI, asked of the service's own doors with another key.

What comes through both a door and an engine must be what comes without them: each is a witness for the other.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.conftest import Place
from tests.clients.pictures import PNG_URL
from tests.clients.services import Service, serving
from tests.clients.strict import sse_events

pytestmark = pytest.mark.clients

CHAINS = ("by-ollama", "by-openai")
PROMPTS = ("Name three rivers of Europe.", "Was ist die Hauptstadt von Österreich? 🙂", "def add(a, b):")
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "Weather.", "parameters": PARAMETERS}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "place", "schema": PARAMETERS}}
PICTURE = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": PNG_URL}}]


@contextmanager
def chained_to(first: Service, folder: Path) -> Iterator[Service]:
    """A service that asks the first one, once through its Ollama door and once through its OpenAI door."""
    rows = [("by-ollama", "ollama", first.url), ("by-openai", "openai_compat", f"{first.url}/v1")]
    engines = folder / "engines.toml"
    engines.write_text(
        "".join(
            f'[[engine]]\nname = "{name}"\nkind = "{kind}"\nurl = "{url}"\napi_key = "{first.new_key()}"\n'
            for name, kind, url in rows
        )
    )
    with serving(folder, ENGINES_FILE=str(engines)) as service:
        yield service


@pytest.fixture(scope="module")
def scripted_chain(scripted: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with chained_to(scripted, tmp_path_factory.mktemp("scripted-chain")) as service:
        yield Place(service, service.new_key(), "echo", "embed")


@pytest.fixture(scope="module")
def real_chain(real: Service, real_place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with chained_to(real, tmp_path_factory.mktemp("real-chain")) as service:
        yield Place(service, service.new_key(), real_place.model, real_place.embedder)


def post(place: Place, path: str, **body: Any) -> httpx.Response:
    headers = place.headers | {"cache-control": "no-store"}
    answer = httpx.post(place.url + path, json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def generated(place: Place, model: str, prompt: str) -> tuple[str, Any]:
    """The text and the tokens of an answer at temperature 0."""
    answer = post(place, "/ai/generate", model=model, prompt=prompt, temperature=0, max_tokens=40).json()
    return answer["response"], answer["usage"]


def streamed(place: Place, model: str, prompt: str) -> tuple[str, Any]:
    answer = post(place, "/ai/generate", model=model, prompt=prompt, temperature=0, max_tokens=40, stream=True)
    *events, done = [data for _, data in sse_events(answer.text)]
    assert done == "[DONE]"
    pieces = [json.loads(event) for event in events]
    return "".join(piece.get("delta", "") for piece in pieces), pieces[-1]["usage"]


def chatted(place: Place, model: str, content: Any, **fields: Any) -> Any:
    """The message of a chat, without what is made anew for each."""
    messages = [{"role": "user", "content": content}]
    choice = post(place, "/v1/chat/completions", model=model, messages=messages, **fields).json()["choices"][0]
    functions = [call["function"] for call in choice["message"].get("tool_calls") or ()]
    calls = [(function["name"], json.loads(function["arguments"])) for function in functions]
    return choice["message"]["content"], calls, choice["finish_reason"]


@pytest.mark.real
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_same_bytes_of_the_real_model(real_place: Place, real_chain: Place, chain: str, prompt: str):
    itself = generated(real_place, real_place.model, prompt)

    assert itself[0]
    assert streamed(real_place, real_place.model, prompt) == itself
    assert generated(real_chain, f"{chain}/{real_chain.model}", prompt) == itself
    assert streamed(real_chain, f"{chain}/{real_chain.model}", prompt) == itself


@pytest.mark.real
@pytest.mark.parametrize("chain", CHAINS)
def test_the_same_vectors_of_the_real_model(real_place: Place, real_chain: Place, chain: str):
    texts = ["a cat sits", "ein Kätzchen"]
    itself = post(real_place, "/v1/embeddings", model=real_place.embedder, input=texts).json()
    through = post(real_chain, "/v1/embeddings", model=f"{chain}/{real_chain.embedder}", input=texts).json()

    for one, other in zip(itself["data"], through["data"], strict=True):
        assert one["embedding"] == pytest.approx(other["embedding"], abs=1e-6)
    assert through["usage"] == itself["usage"]


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize(
    ("model", "content", "fields"),
    [
        ("words-10", "Go", {"stop": ["word7"], "max_tokens": 5}),
        ("words-10", "Go", {"stop": ["word3"]}),
        ("tools", "The weather in Paris for 3 days", {"tools": [TOOL]}),
        ("json", 'Of "Oslo", 2 days', {"response_format": SCHEMA}),
        ("json", "JSON", {"response_format": {"type": "json_object"}}),
        ("see", PICTURE, {}),
    ],
    ids=["length", "stop", "tools", "schema", "json", "picture"],
)
def test_the_same_message(
    scripted_place: Place, scripted_chain: Place, *, chain: str, model: str, content: Any, fields: dict[str, Any]
):
    itself = chatted(scripted_place, model, content, **fields)

    assert chatted(scripted_chain, f"{chain}/{model}", content, **fields) == itself


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize(("model", "status"), [("fail", 502), ("busy", 503), ("refuse", 400)])
def test_the_same_failure(scripted_chain: Place, chain: str, model: str, status: int):
    body = {"model": f"{chain}/{model}", "prompt": "Hi"}
    answer = httpx.post(f"{scripted_chain.url}/ai/generate", json=body, headers=scripted_chain.headers, timeout=60)

    assert answer.status_code == status, answer.text
