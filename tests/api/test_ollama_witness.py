"""A second service whose engine is the first one's Ollama door: what comes out of both is the same."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aiservice.app import create_app, prepare
from aiservice.core.clock import ManualClock
from aiservice.core.settings import load
from tests.api.asgi_client import Client, running
from tests.api.conftest import ENVIRON, Service
from tests.servers.http_server import Exchange, HttpServer

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CASES: tuple[dict[str, Any], ...] = (
    {"model": "echo", "prompt": 'Zürich 🙂\n\t"quoted" \\ \u2028 end'},
    {"model": "words-100", "prompt": "Go", "system": "Be short.", "max_tokens": 40, "stop": ["word30"], "seed": 7},
    {"model": "words-10", "prompt": "Go", "max_tokens": 3, "top_p": 0.9},
    {
        "model": "json",
        "prompt": 'Of "Oslo"',
        "response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}},
    },
)


class Bridge:
    """Serves an application in this process over TCP."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, exchange: Exchange) -> None:
        asked = exchange.request
        client = Client(self._app)
        response = await client.request(asked.method, asked.path, body=asked.body, headers=dict(asked.headers))
        if response.header("content-type") != "application/x-ndjson":
            await exchange.answer(response.status, response.body)
            return
        await exchange.begin("application/x-ndjson")
        for chunk in response.chunks:
            await exchange.send(chunk)
        await exchange.end()


@pytest.fixture
async def second(service: Service, tmp_path: Path) -> AsyncIterator[Service]:
    key = (await service.new_key())["api_key"]
    async with HttpServer(Bridge(service.app)) as server:
        engines = tmp_path / "engines.toml"
        engines.write_text(f'[[engine]]\nname = "first"\nkind = "ollama"\nurl = "{server.url}"\napi_key = "{key}"\n')
        settings = load(ENVIRON | {"DATA_DIR": str(tmp_path / "second"), "ENGINES_FILE": str(engines)})
        prepare(settings)
        clock = ManualClock()
        async with running(create_app(settings, clock)) as app:
            yield Service(app, settings, clock)


async def test_the_same_text_tokens_and_models_through_both(service: Service, second: Service):
    client, through = await service.with_key(), await second.with_key()
    fresh = {"cache-control": "no-store"}
    for case in CASES:
        body = {"temperature": 0, **case}
        itself = (await client.post("/ai/generate", body, headers=fresh)).json
        for stream in (False, True):
            asked = body | {"model": f"first/{case['model']}", "stream": stream}
            answer = await through.post("/ai/generate", asked, headers=fresh)
            text, usage = _said(answer) if stream else (answer.json["response"], answer.json["usage"])
            assert text.encode() == itself["response"].encode()
            assert usage == itself["usage"]

    models = {model["id"]: model for model in (await through.get("/ai/models")).json["models"]}
    for model in (await client.get("/ai/models")).json["models"]:
        seen = models[f"first/{model['name']}"]
        assert set(seen["capabilities"]) == set(model["capabilities"])
        assert (seen["context_length"], seen["loaded"]) == (model["context_length"], model["loaded"])


async def test_the_same_calls_vectors_and_failures_through_both(service: Service, second: Service):
    client, through = await service.with_key(), await second.with_key()
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
    body = {"messages": [{"role": "user", "content": "get_weather of Rome"}], "tools": tools}
    for stream in (False, True):
        called = await through.post("/api/chat", body | {"model": "first/tools", "stream": stream})
        assert b'"arguments":{"city":"Rome"}' in called.body

    texts = {"input": ["a cat", "ein Kätzchen"]}
    itself = await client.post("/api/embed", {"model": "embed", **texts})
    vectors = await through.post("/api/embed", {"model": "first/embed", **texts})
    assert vectors.json["embeddings"] == itself.json["embeddings"]

    for model, status in (("refuse", 400), ("fail", 502), ("busy", 503)):
        answer = await through.post("/ai/generate", {"model": f"first/{model}", "prompt": "Hi"})
        assert answer.status == status, answer.body


def _said(answer: Any) -> tuple[str, dict[str, int]]:
    *pieces, end, done = answer.events
    assert done == "[DONE]"
    return "".join(piece["delta"] for piece in pieces), end["usage"]
