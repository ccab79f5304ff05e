"""Ollama's messages, pictures and calls, there and back."""

from base64 import b64encode
from typing import Any

import msgspec
import pytest

from aiservice.api.ollama.content import (
    OllamaCall,
    OllamaFunctionCall,
    OllamaMessage,
    OllamaTool,
    calls_of,
    images_of,
    messages_of,
    response_format_of,
    tools_of,
)
from aiservice.api.parse import decode
from aiservice.api.prompt import IMAGES_MAX
from aiservice.core.errors import FieldInvalid
from aiservice.core.settings import load
from aiservice.core.types import Image, Message, Tool, ToolCall

SETTINGS = load({"ENVIRONMENT": "development"})
HEADS = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff\xe0",
    "image/gif": b"GIF89a",
    "image/webp": b"RIFF\x10\0\0\0WEBP",
}
PNG = b64encode(HEADS["image/png"] + bytes(40)).decode()
_messages = msgspec.json.Decoder(list[OllamaMessage])
_tools = msgspec.json.Decoder(list[OllamaTool])


def read(*turns: dict[str, Any]) -> list[Message]:
    return messages_of(decode(_messages, msgspec.json.encode(turns)), SETTINGS)


def test_texts_stay_as_they_are_and_null_is_none() -> None:
    found = read({"role": "system", "content": "Be short."}, {"role": "user", "content": " é\n"}, {"role": "assistant"})
    assert found == [Message("system", "Be short."), Message("user", " é\n"), Message("assistant", "")]
    assert read({"role": "user", "content": None, "thinking": "hm", "novel": 1}) == [Message("user", "")]


@pytest.mark.parametrize("media_type", HEADS)
def test_a_pictures_type_is_told_by_its_first_bytes(media_type: str) -> None:
    picture = b64encode(HEADS[media_type] + bytes(40)).decode()
    url = f"data:{media_type};base64,{picture}"
    assert images_of([picture, url], "images", SETTINGS) == (Image(url), Image(url))
    turn = {"role": "user", "content": "What?", "images": [picture]}
    assert read(turn) == [Message("user", "What?", (Image(url),))]


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        ("", "is no PNG, JPEG, GIF or WebP"),
        ("https://pictures.example/cat.png", "is no PNG"),
        (b64encode(b"%PDF-1.7 and more of it").decode(), "is no PNG"),
        (b64encode(b"RIFF\x10\0\0\0WAVEfmt ").decode(), "is no PNG"),
        (PNG + "=", "is not valid base64"),
        ("data:image/tiff;base64," + PNG, "image/tiff"),
    ],
)
def test_what_is_no_picture_is_refused_by_its_place(picture: str, says: str) -> None:
    with pytest.raises(FieldInvalid, match=says) as refused:
        read({"role": "user", "content": "Hi"}, {"role": "user", "images": [PNG, picture]})
    assert refused.value.param == "messages[1].images[1]"


def test_too_many_pictures_are_refused() -> None:
    with pytest.raises(FieldInvalid, match=f"has {IMAGES_MAX + 1} images"):
        read({"role": "user", "images": [PNG] * IMAGES_MAX}, {"role": "user", "images": [PNG]})


def test_calls_and_results_keep_their_names_and_ids() -> None:
    call = {"id": "call_1", "function": {"index": 0, "name": "weather", "arguments": {"city": "Zürich", "days": 2}}}
    bare = {"function": {"name": "clock", "arguments": {}}}
    found = read(
        {"role": "assistant", "content": "", "tool_calls": [call, bare]},
        {"role": "tool", "content": "sunny", "tool_name": "weather", "tool_call_id": "call_1"},
        {"role": "tool", "content": "noon"},
    )
    calls = (ToolCall("call_1", "weather", '{"city":"Zürich","days":2}'), ToolCall("", "clock", "{}", 1))
    assert found == [
        Message("assistant", "", (), calls),
        Message("tool", "sunny", tool_call_id="call_1", tool_name="weather"),
        Message("tool", "noon"),
    ]


@pytest.mark.parametrize(
    ("turn", "param"),
    [
        ({"role": "assistant", "images": [PNG]}, "messages[0].images"),
        ({"role": "tool", "images": [PNG]}, "messages[0].images"),
        ({"role": "user", "tool_calls": [{"function": {"name": "clock"}}]}, "messages[0].tool_calls"),
    ],
)
def test_pictures_and_calls_of_the_wrong_role_are_refused(turn: dict[str, Any], param: str) -> None:
    with pytest.raises(FieldInvalid) as refused:
        read(turn)
    assert refused.value.param == param


def test_tools_are_offered_as_they_are() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    full = {"type": "function", "function": {"name": "weather", "description": "Tells it.", "parameters": schema}}
    bare = {"function": {"name": "clock", "strict": True}}
    assert tools_of(decode(_tools, msgspec.json.encode([full, bare]))) == (
        Tool("weather", "Tells it.", schema),
        Tool("clock", strict=True),
    )
    assert tools_of(None) == tools_of([]) == ()
    with pytest.raises(FieldInvalid, match="two tools are named clock"):
        tools_of(decode(_tools, msgspec.json.encode([bare, bare])))


def test_a_format_is_json_or_a_schema() -> None:
    schema = {"type": "object"}
    assert response_format_of(None) is None
    assert response_format_of("") is None
    assert response_format_of("json") == {"type": "json_object"}
    assert response_format_of(schema) == {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def test_arguments_go_out_as_an_object() -> None:
    calls = [ToolCall("c1", "weather", '{"city": "Rome",\n "days": 2}'), ToolCall("c2", "clock", "", 1)]
    assert calls_of(calls, "tool_calls") == [
        OllamaCall(OllamaFunctionCall("weather", {"city": "Rome", "days": 2}), "c1"),
        OllamaCall(OllamaFunctionCall("clock", {}), "c2"),
    ]


@pytest.mark.parametrize("arguments", ['{"city": "Ro', "[1]", "7", "[" * 100_000])
def test_arguments_that_are_no_object_are_kept_as_text_unless_they_were_cut(arguments: str) -> None:
    calls = [ToolCall("c1", "clock", "{}"), ToolCall("c2", "weather", arguments, 1)]
    assert calls_of(calls, "tool_calls")[1].function.arguments == {"INVALID_JSON": arguments}
    assert [call.function.name for call in calls_of(calls, "length")] == ["clock"]
