"""Ollama's chat, generate and embed: streams of JSON lines, whole answers, refusals, and their rows in the ledger."""

import json
from typing import Any

import pytest

from tests.api.asgi_client import Client, Response
from tests.api.conftest import Service
from tests.api.rows import rows_of
from tests.unit.api.ollama.test_content import PNG

HI = [{"role": "user", "content": "Hi there"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]


def lines(response: Response) -> list[Any]:
    assert response.status == 200, response.body
    assert response.header("content-type") == "application/x-ndjson"
    return [json.loads(line) for line in response.body.splitlines()]


async def test_a_chat_is_a_stream_unless_it_is_said_otherwise(service: Service, client: Client):
    streamed = await client.post("/api/chat", {"model": "echo:latest", "messages": HI})
    *pieces, last = lines(streamed)
    whole = await client.post("/api/chat", {"model": "fake/echo", "messages": HI, "stream": False})

    assert "".join(piece["message"]["content"] for piece in pieces) == "echo: Hi there"
    assert [piece["done"] for piece in pieces] == [False] * len(pieces)
    assert (last["done"], last["done_reason"], last["model"]) == (True, "stop", "echo")
    assert (streamed.header("x-cache"), whole.header("x-cache")) == ("MISS", "HIT")
    assert whole.header("content-type") == "application/json"
    assert whole.json["message"] == {"role": "assistant", "content": "echo: Hi there"}
    assert (whole.json["prompt_eval_count"], whole.json["eval_count"]) == (
        last["prompt_eval_count"],
        last["eval_count"],
    )
    rows = await rows_of(service, client, count=2)
    assert {row["endpoint"] for row in rows} == {"/api/chat"}
    assert sorted(row["total_tokens"] for row in rows) == [0, last["prompt_eval_count"] + last["eval_count"]]


async def test_generate_answers_a_prompt(client: Client):
    body = {"model": "words-10", "prompt": "Go", "system": "Be short.", "options": {"num_predict": 3, "num_ctx": 4096}}
    *pieces, last = lines(await client.post("/api/generate", body))
    whole = await client.post("/api/generate", body | {"stream": False})

    assert "".join(piece["response"] for piece in pieces) == whole.json["response"] == "word0 word1 word2 "
    assert last["done_reason"] == whole.json["done_reason"] == "length"
    assert last["eval_count"] == 3


async def test_tools_pictures_and_forms(client: Client):
    asked = {"model": "tools", "messages": [{"role": "user", "content": "get_weather of Rome"}], "tools": TOOLS}
    called, last = lines(await client.post("/api/chat", asked))
    call = called["message"]["tool_calls"][0]
    assert call["function"] == {"name": "get_weather", "arguments": {"city": "Rome"}}
    assert last["done_reason"] == "stop"

    told = [*asked["messages"], called["message"], {"role": "tool", "tool_name": "get_weather", "content": "sunny"}]
    final = await client.post("/api/chat", asked | {"messages": told, "stream": False})
    assert "sunny" in final.json["message"]["content"]

    seen = await client.post("/api/generate", {"model": "see", "prompt": "?", "images": [PNG], "stream": False})
    assert seen.json["response"] == "saw 1 image(s): image/png"

    formed = {"model": "json", "messages": [{"role": "user", "content": 'Of "Oslo"'}], "stream": False}
    assert json.loads((await client.post("/api/chat", formed | {"format": SCHEMA})).json["message"]["content"]) == {
        "city": "Oslo"
    }
    broken = await client.post("/api/chat", formed | {"model": "json-broken", "format": "json"})
    assert (broken.status, list(broken.json)) == (502, ["error"])


async def test_a_request_without_a_prompt_asks_whether_the_model_is_there(service: Service, client: Client):
    for path in ("/api/chat", "/api/generate"):
        answer = await client.post(path, {"model": "echo"})
        assert answer.status == 200
        assert (answer.json["done"], answer.json["done_reason"], answer.json["eval_count"]) == (True, "load", 0)
        assert answer.header("content-type") == "application/json"
        remaining = answer.header("x-ratelimit-remaining")
    assert remaining == answer.header("x-ratelimit-limit")
    assert (await client.post("/api/embed", {"model": "embed", "input": []})).json["embeddings"] == []
    assert (await client.post("/api/embeddings", {"model": "embed"})).json == {"embedding": []}
    # Nothing was asked of a model, so the next request is the ledger's first.
    await client.post("/api/chat", {"model": "echo", "messages": HI, "stream": False})
    await rows_of(service, client, count=1)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"model": "nowhere"}, 404, "no model 'nowhere'"),
        ({"model": "embed"}, 400, '"embed" does not support chat'),
        ({"model": "echo", "keep_alive": 0}, 400, "unloaded by their engine"),
    ],
)
async def test_and_hears_why_it_is_not(client: Client, body: dict[str, Any], status: int, says: str):
    for path in ("/api/chat", "/api/generate"):
        answer = await client.post(path, body)
        assert (answer.status, list(answer.json)) == (status, ["error"])
        assert says in answer.json["error"]


async def test_vectors(client: Client):
    both = await client.post("/api/embed", {"model": "embed", "input": ["a", "b"]})
    one = await client.post("/api/embed", {"model": "embed", "input": "b", "dimensions": 4, "truncate": True})
    old = await client.post("/api/embeddings", {"model": "embed", "prompt": "b"})

    assert [len(vector) for vector in both.json["embeddings"]] == [8, 8]
    assert (both.json["model"], both.json["prompt_eval_count"]) == ("embed", 2)
    assert len(one.json["embeddings"][0]) == 4
    assert old.json == {"embedding": both.json["embeddings"][1]}
    assert (await client.post("/api/embed", {"model": "echo", "input": "a"})).status == 400


@pytest.mark.parametrize(
    ("model", "status"), [("refuse", 400), ("nowhere", 404), ("fail", 502), ("down", 502), ("busy", 503)]
)
async def test_an_engines_failure_is_a_sentence_with_its_status(client: Client, model: str, status: int):
    for body in ({"messages": HI}, {"messages": HI, "stream": False}):
        answer = await client.post("/api/chat", {"model": model, **body})
        assert (answer.status, list(answer.json)) == (status, ["error"])


async def test_a_stream_that_breaks_off_ends_with_the_sentence(client: Client):
    first, second, error = lines(await client.post("/api/chat", {"model": "fail-mid", "messages": HI}))
    assert first["message"]["content"] + second["message"]["content"] == "one two "
    assert error == {"error": "The engine failed in the middle of its answer; try again."}


async def test_refusals_before_any_engine(service: Service, client: Client):
    async def refused(status: int, asking: Client, path: str = "/api/chat", **body: Any) -> str:
        answer = await asking.post(path, {"model": "echo", "messages": HI, **body})
        assert (answer.status, list(answer.json)) == (status, ["error"]), answer.body
        return str(answer.json["error"])

    assert "options.mirostat" in await refused(400, client, options={"mirostat": 2})
    assert "think" in await refused(400, client, think=True)
    assert "raw" in await refused(400, client, "/api/generate", prompt="Hi", raw=True)
    await refused(401, service.client("vpn_nobody"))
    elsewhere = await service.with_key(models=["words-10"])
    await refused(403, elsewhere)
    await refused(403, elsewhere, messages=[])
    await refused(404, client, "/api/create")
    once = await service.with_key(quota_requests_per_hour=1)
    assert (await once.post("/api/chat", {"model": "echo", "messages": HI, "stream": False})).status == 200
    await refused(429, once)
    assert (await client.get("/api/chat")).status == 405
