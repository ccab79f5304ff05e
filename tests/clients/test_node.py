"""The npm clients: openai, @anthropic-ai/sdk, ollama, and ai with two of its providers; the scripts are in node/."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import Place
from tests.clients.nodes import run_node
from tests.clients.pictures import PNG_BASE64, PNG_URL

pytestmark = pytest.mark.clients

SCRIPTS = Path(__file__).parent / "node"
SEEN = "saw 1 image(s): image/png"


def told_by(script: str, place: Place, **environ: str) -> dict[str, Any]:
    """What the script's calls gave, after what all of them have in common was checked."""
    printed = run_node(
        (SCRIPTS / f"{script}.mjs").read_text(encoding="utf-8"),
        URL_=place.url,
        KEY=place.key,
        MODEL=place.model,
        EMBEDDER=place.embedder,
        IS_SCRIPTED="1" if place.model == "echo" else "",
        PNG_BASE64=PNG_BASE64,
        PNG_URL=PNG_URL,
        **environ,
    )
    told: dict[str, Any] = json.loads(printed)
    assert told["plain"]
    assert told["streamed"] == told["plain"]
    assert told["usage"] is True
    return told


def test_openai(place: Place):
    told = told_by("openai", place)

    assert told["response"]
    assert len(told["vectors"]) == 2
    assert told["listed"]
    assert told["retrieved"] == place.model


def test_openai_on_the_scripted_engine(scripted_place: Place):
    told = told_by("openai", scripted_place)

    assert (told["tool"]["name"], json.loads(told["tool"]["arguments"])) == ("get_weather", {"city": "Rome"})
    assert told["parsed"] == {"name": "Ann", "age": 41}
    assert told["seen"] == SEEN
    assert told["events"] == ["response.created", "response.completed"]
    assert told["kept"] == "echo: Hello"
    assert told["forgotten"]["kind"] == "NotFoundError"
    assert told["unknownModel"] == {
        "kind": "NotFoundError",
        "status": 404,
        "code": "model_not_found",
        "requestId": True,
    }
    assert (told["failed"]["kind"], told["failed"]["status"]) == ("InternalServerError", 502)
    assert told["broken"]["kind"] == "APIError"
    assert told["unknownKey"]["kind"] == "AuthenticationError"


def test_anthropic(place: Place):
    told = told_by("anthropic", place)

    assert told["counted"] >= 3
    assert told["listed"]
    assert told["retrieved"] == place.model


def test_anthropic_on_the_scripted_engine(scripted_place: Place):
    told = told_by("anthropic", scripted_place)

    assert told["tool"] == {"name": "get_weather", "input": {"city": "Rome"}, "reason": "tool_use"}
    assert told["parsed"] == {"city": "Oslo"}
    assert told["seen"] == SEEN
    assert told["unknownModel"] == {
        "kind": "NotFoundError",
        "status": 404,
        "type": "not_found_error",
        "requestId": True,
    }
    assert (told["failed"]["kind"], told["failed"]["type"]) == ("InternalServerError", "api_error")
    assert (told["busy"]["status"], told["busy"]["type"]) == (529, "overloaded_error")
    assert told["broken"]["type"] == "api_error"
    assert told["unknownKey"]["kind"] == "AuthenticationError"


def test_ollama(place: Place):
    told = told_by("ollama", place)

    assert told["generated"]
    assert len(told["vectors"]) == 2
    assert told["listed"]
    assert told["running"]
    assert "completion" in told["capabilities"]


def test_ollama_on_the_scripted_engine(scripted_place: Place):
    told = told_by("ollama", scripted_place)

    assert told["tool"] == {"name": "get_weather", "arguments": {"city": "Rome"}}
    assert told["parsed"] == {"city": "Oslo"}
    assert told["seen"] == SEEN
    assert told["version"]
    assert told["unknownModel"] == {"status": 404, "message": True}
    assert told["failed"] == {"status": 502, "message": True}
    assert told["broken"]["message"]
    assert told["unknownKey"]["status"] == 401


@pytest.mark.parametrize("provider", ["openai-compatible", "anthropic"])
def test_ai_sdk(place: Place, provider: str):
    told = told_by("ai", place, PROVIDER=provider)

    assert len(told.get("vectors", (1, 2))) == 2


@pytest.mark.parametrize("provider", ["openai-compatible", "anthropic"])
def test_ai_sdk_on_the_scripted_engine(scripted_place: Place, provider: str):
    told = told_by("ai", scripted_place, PROVIDER=provider)

    assert "sunny in Rome" in told["ran"]
    assert told["tool"] == [["weather", {"city": "Rome"}]]
    assert told["parsed"] == {"name": "Ann", "age": 41}
    assert told["seen"] == SEEN
    assert told["unknownModel"] == {"status": 404, "retryable": False}
    assert told["failed"] == {"status": 502, "retryable": True}
