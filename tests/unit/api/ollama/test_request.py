"""Ollama's chat and generate requests as generations, and what is refused of them."""

from typing import Any

import msgspec
import pytest

from aiservice.api.generate import GenerateDoor as NativeDoor
from aiservice.api.ollama.chat import ChatDoor
from aiservice.api.ollama.embed import EmbeddingsDoor, EmbedDoor
from aiservice.api.ollama.generate import GenerateDoor
from aiservice.api.ollama.request import OllamaRequest, plain_name
from aiservice.api.parse import decode
from aiservice.api.rooms import Rooms
from aiservice.core.clock import ManualClock
from aiservice.core.errors import FieldInvalid
from aiservice.core.settings import load
from aiservice.core.types import Asked, Embedding, Generation, Message
from aiservice.gateway import Visit
from aiservice.keys import LOCAL_CALLER
from aiservice.observe.metrics import Metrics
from tests.unit.api.ollama.test_content import PNG

ROOMS = Rooms(load({"ENVIRONMENT": "development", "PROMPT_CHARACTERS_MAX": "100"}), ManualClock(), Metrics())
VISIT = Visit("id", "/api/chat", LOCAL_CALLER, 0, 0.0)
DEFAULTS = ROOMS.settings.engines


def asked(door: Any, **body: Any) -> Asked:
    opened = door(ROOMS)
    found: Asked = opened.asked(decode(opened.decoder, msgspec.json.encode({"model": "echo"} | body)), VISIT)
    return found


def turns(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text} for text in texts]


def test_a_bare_chat_asks_nothing_that_was_not_said_but_a_stream() -> None:
    assert asked(ChatDoor, messages=turns("Hi")) == Generation(
        "echo", (Message("user", "Hi"),), DEFAULTS.temperature, DEFAULTS.max_tokens, stream=True
    )
    assert asked(ChatDoor, messages=turns("Hi"), stream=False, options={}, tools=[], format="", think=False) == (
        Generation("echo", (Message("user", "Hi"),), DEFAULTS.temperature, DEFAULTS.max_tokens)
    )


def test_every_option_of_a_chat_finds_its_place() -> None:
    options = {
        "temperature": 0,
        "num_predict": 9,
        "top_p": 0.5,
        "top_k": 40,
        "seed": 7,
        "stop": ["\n", "END"],
        "frequency_penalty": 0.1,
        "presence_penalty": -0.2,
        "num_ctx": 2_048,
    }
    found = asked(ChatDoor, messages=turns("Hi"), options=options, format="json", logprobs=True, top_logprobs=3)
    assert found == Generation(
        "echo",
        (Message("user", "Hi"),),
        temperature=0.0,
        max_tokens=9,
        top_p=0.5,
        top_k=40,
        seed=7,
        stop=("\n", "END"),
        frequency_penalty=0.1,
        presence_penalty=-0.2,
        response_format={"type": "json_object"},
        logprobs=3,
        stream=True,
    )


def test_logprobs_are_told_only_where_they_are_asked_for() -> None:
    assert _generation(asked(ChatDoor, messages=turns("Hi"), top_logprobs=3)).logprobs is None
    assert _generation(asked(ChatDoor, messages=turns("Hi"), logprobs=True)).logprobs == 0


def test_generate_is_a_chat_and_both_are_what_the_native_door_asks() -> None:
    said = {"options": {"temperature": 0, "num_predict": 5, "stop": "x"}, "stream": False}
    conversation = [{"role": "system", "content": "Be short."}, *turns("Hi")]
    chat = asked(ChatDoor, messages=conversation, **said)
    generate = asked(GenerateDoor, prompt="Hi", system="Be short.", raw=False, context=[], suffix="", **said)
    native = asked(NativeDoor, prompt="Hi", system="Be short.", temperature=0, max_tokens=5, stop="x")
    assert chat == generate == native


def test_generate_takes_pictures() -> None:
    (message,) = _generation(asked(GenerateDoor, prompt="What?", images=[PNG], system="")).messages
    assert [image.url for image in message.images] == [f"data:image/png;base64,{PNG}"]


def test_latest_is_no_tag() -> None:
    assert _generation(asked(ChatDoor, model="echo:latest", messages=turns("Hi"))).model == "echo"
    assert plain_name("ollama/llama3:latest") == "ollama/llama3"
    assert plain_name(":latest") == ":latest"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("raw", True, "raw: "),
        ("template", "{{ .Prompt }}", "template: "),
        ("suffix", "}", "suffix: "),
        ("context", [1, 2], "/api/chat"),
        ("images", [PNG] * 101, "more than 100"),
    ],
)
def test_generate_refuses_what_it_cannot_do(field: str, value: Any, says: str) -> None:
    with pytest.raises(FieldInvalid, match=says) as refused:
        asked(GenerateDoor, prompt="Hi", **{field: value})
    assert refused.value.param == field


@pytest.mark.parametrize("think", [True, "low", "high"])
def test_thinking_aloud_is_refused(think: Any) -> None:
    with pytest.raises(FieldInvalid, match="does not support thinking") as refused:
        asked(ChatDoor, messages=turns("Hi"), think=think)
    assert refused.value.param == "think"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": ""}, "model"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [{"role": "nobody", "content": "Hi"}]}, "messages[0].role"),
        ({"messages": turns("Hi"), "format": "xml"}, "format"),
        ({"messages": turns("Hi"), "top_logprobs": 21}, "top_logprobs"),
        ({"messages": turns("Hi"), "options": {"temperature": 3}}, "options.temperature"),
        ({"messages": turns("Hi"), "options": {"min_p": 0.1}}, "options.min_p"),
        ({"messages": turns("x" * 101)}, "messages"),
        ({"messages": turns("a\0")}, "messages"),
        ({"messages": turns("Hi"), "tools": [{"type": "function", "function": {"name": "bad name"}}]}, "tools"),
        ({"messages": turns("Hi"), "tools": [{"type": "web", "function": {"name": "x"}}]}, "tools[0].type"),
    ],
)
def test_a_bad_field_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(FieldInvalid) as refused:
        asked(ChatDoor, **body)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("kept", "is_unload"),
    [(0, True), (0.0, True), ("0", True), ("0s", True), ("0.0ms", True), (-1, False), ("5m", False), (None, False)],
)
def test_a_model_is_to_go_when_it_is_kept_for_no_time(kept: Any, is_unload: bool) -> None:
    assert OllamaRequest(model="echo", keep_alive=kept).is_unload is is_unload


def test_texts_to_embed() -> None:
    assert asked(EmbedDoor, input="a", truncate=True, options={"num_ctx": 1}) == Embedding("echo", ("a",))
    assert asked(EmbedDoor, input=["a", "b"], dimensions=4) == Embedding("echo", ("a", "b"), 4)
    assert asked(EmbedDoor, input=["a"], dimensions=0) == Embedding("echo", ("a",))
    assert asked(EmbedDoor, input=["x" * 100] * 9) == Embedding("echo", ("x" * 100,) * 9)
    assert asked(EmbeddingsDoor, prompt="a", model="echo:latest") == Embedding("echo", ("a",))


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["a", ""], "empty text"),
        (["a\0"], r"U\+0000"),
        (["a", "x" * 101], "a text of 101 characters"),
        ([[1, 2]], "Expected `str`"),
        (["x"] * 2_049, "length <= 2048"),
    ],
)
def test_texts_that_have_no_vector_are_refused(texts: list[Any], says: str) -> None:
    with pytest.raises(FieldInvalid, match=says) as refused:
        asked(EmbedDoor, input=texts)
    assert (refused.value.param or "").startswith("input")


def _generation(found: Asked) -> Generation:
    assert isinstance(found, Generation)
    return found
