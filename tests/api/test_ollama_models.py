"""What Ollama's clients are told of the models, and how operators fetch more."""

import json
import re

from aiservice.api.ollama.models import API_VERSION
from aiservice.app import create_app, prepare
from aiservice.core.clock import ManualClock
from aiservice.core.settings import load
from tests.api.asgi_client import Client, Response, running
from tests.api.conftest import Service
from tests.servers.ollama_server import OllamaServer

SHA256 = re.compile(r"[0-9a-f]{64}")


async def test_the_models_that_the_key_may_use_are_listed(service: Service, client: Client):
    every = (await client.get("/api/tags")).json["models"]
    few = await service.with_key(models=["echo", "fake/embed"])
    tags = (await few.get("/api/tags")).json["models"]
    running_ = (await few.get("/api/ps")).json["models"]

    assert {"echo", "embed", "words-10"} < {model["name"] for model in every}
    assert [model["name"] for model in tags] == ["echo", "embed"] == [model["model"] for model in tags]
    assert all(SHA256.fullmatch(model["digest"]) for model in tags)
    assert len({model["digest"] for model in every}) == len(every)
    assert [model["name"] for model in running_] == ["echo", "embed"]
    assert running_[0]["context_length"] == 8_192
    assert running_[0]["expires_at"].startswith("9999-")


async def test_what_a_model_can_is_said_in_ollamas_words(client: Client):
    async def capabilities(model: str) -> list[str]:
        return list((await client.post("/api/show", {"model": model})).json["capabilities"])

    assert await capabilities("echo:latest") == ["completion"]
    assert await capabilities("fake/tools") == ["completion", "tools"]
    assert await capabilities("see") == ["completion", "vision"]
    assert await capabilities("embed") == ["embedding"]

    shown = (await client.post("/api/show", {"name": "echo", "verbose": True})).json
    architecture = shown["model_info"]["general.architecture"]
    assert shown["model_info"][f"{architecture}.context_length"] == 8_192
    assert {"license", "modelfile", "parameters", "template", "details", "modified_at"} <= shown.keys()


async def test_an_unknown_model_is_not_shown(service: Service, client: Client):
    async def shown(asking: Client, body: object) -> tuple[int, list[str]]:
        answer = await asking.post("/api/show", body)
        return answer.status, list(answer.json)

    assert await shown(client, {"model": "nowhere"}) == (404, ["error"])
    assert await shown(client, {}) == (400, ["error"])
    assert await shown(client, {"model": 7}) == (400, ["error"])
    assert await shown(await service.with_key(models=["words-10"]), {"model": "echo"}) == (403, ["error"])


async def test_the_version_is_three_numbers(client: Client):
    version = (await client.get("/api/version")).json["version"]

    assert version == API_VERSION
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)


async def test_only_operators_pull(service: Service, client: Client):
    refused = await client.post("/api/pull", {"model": "echo"})
    operator = await service.with_key(scopes=["generate", "admin"])
    by_key = await operator.post("/api/pull", {"model": "echo"})
    by_admin_key = await service.admin("POST", "/api/pull", {"model": "fake/echo", "stream": False})

    assert (refused.status, list(refused.json)) == (403, ["error"])
    assert (await service.client().post("/api/pull", {"model": "echo"})).status == 401
    assert lines(by_key)[-1] == {"status": "success"}
    assert by_admin_key.json == {"status": "success"}
    for body in ({}, {"model": "echo", "insecure": True}, {"model": "x" * 300}):
        assert (await operator.post("/api/pull", body)).status == 400


async def test_an_ollama_fetches(environ: dict[str, str]):
    async with OllamaServer() as server, running(_app(environ | {"OLLAMA_URL": server.url})) as app:
        service = Service(app, load(environ), ManualClock())
        pulled = lines(await service.admin("POST", "/api/pull", {"model": "ollama/novel:1b"}))
        assert pulled[0] == {"status": "pulling manifest"}
        assert pulled[-1] == {"status": "success"}
        assert pulled[2].keys() == {"status", "digest", "total", "completed"}
        assert "novel:1b" in server.models

        *_, last = lines(await service.admin("POST", "/api/pull", {"model": "unknown-model"}))
        assert "does not exist" in last["error"]
        failed = await service.admin("POST", "/api/pull", {"model": "full-disk", "stream": False})
        assert (failed.status, list(failed.json)) == (502, ["error"])

    async with running(_app(environ | {"OLLAMA_URL": server.url})) as app:
        down = await Service(app, load(environ), ManualClock()).admin("POST", "/api/pull", {"model": "ollama/novel"})
        assert (down.status, list(down.json)) == (502, ["error"])


async def test_where_no_engine_fetches_it_is_said(environ: dict[str, str]):
    async with running(_app(environ | {"ENVIRONMENT": "development"})) as app:
        service = Service(app, load(environ), ManualClock())
        answer = await service.admin("POST", "/api/pull", {"model": "novel"})

    assert answer.status == 400
    assert "OLLAMA_URL" in answer.json["error"]


def lines(response: Response) -> list[dict[str, object]]:
    assert response.status == 200, response.body
    assert response.header("content-type") == "application/x-ndjson"
    return [json.loads(line) for line in response.body.splitlines()]


def _app(environ: dict[str, str]) -> object:
    settings = load(environ)
    prepare(settings)
    return create_app(settings, ManualClock())
