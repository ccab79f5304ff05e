"""A request for a response is the same generation as its twin for a chat."""

import json
from typing import Any

import msgspec
import pytest

from aiservice.api.openai.chat import ChatDoor
from aiservice.api.openai.response_items import conversation
from aiservice.api.openai.response_request import (
    ResponsesRequest,
    generation_of,
    head_of,
    refuse_unsupported,
)
from aiservice.api.parse import decode
from aiservice.api.rooms import Rooms
from aiservice.core.clock import SystemClock
from aiservice.core.errors import FieldInvalid
from aiservice.core.settings import Settings
from aiservice.core.types import Generation
from aiservice.gateway import Visit
from aiservice.keys import LOCAL_CALLER
from aiservice.observe.metrics import Metrics

SETTINGS = Settings()
VISIT = Visit("01a20f92-8088-7bd2-89aa-53ec6578e6bd", "/v1/responses", LOCAL_CALLER, 1_750_000_000_999_999, 0.0)
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
PICTURE = "data:image/png;base64,iVBORw0KGgo="
FUNCTION = {"name": "weather", "description": "d", "parameters": SCHEMA, "strict": True}
USER = {"role": "user", "content": "hi"}


def request_of(body: dict[str, Any]) -> ResponsesRequest:
    return decode(msgspec.json.Decoder(ResponsesRequest), json.dumps(body).encode())


def generation(body: dict[str, Any]) -> Generation:
    request = request_of({"input": "hi"} | body)
    refuse_unsupported(request)
    request.input = conversation(request.input, [], mark="m", settings=SETTINGS)
    return generation_of(request, SETTINGS, LOCAL_CALLER)


def chat(body: dict[str, Any]) -> Generation:
    door = ChatDoor(Rooms(SETTINGS, SystemClock(), Metrics()))
    return door.asked(decode(door.decoder, json.dumps({"messages": [USER]} | body).encode()), VISIT)


def chat_of(**parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": parts["content"]}]}


@pytest.mark.parametrize(
    ("body", "twin"),
    [
        ({}, {}),
        ({"input": [USER]}, {}),
        ({"instructions": "be kind"}, {"messages": [{"role": "system", "content": "be kind"}, USER]}),
        ({"instructions": "", "user": "u", "metadata": {"a": "b"}, "reasoning": {"effort": "low"}, "store": True}, {}),
        ({"include": ["reasoning.encrypted_content"], "top_logprobs": 0, "truncation": "disabled"}, {}),
        (
            {"input": [{"role": "developer", "content": "d"}, USER]},
            {"messages": [{"role": "developer", "content": "d"}, USER]},
        ),
        (
            {"model": "m", "temperature": 0, "top_p": 0.5, "max_output_tokens": 7, "stream": True},
            {"model": "m", "temperature": 0, "top_p": 0.5, "max_tokens": 7, "stream": True},
        ),
        ({"max_output_tokens": 1_000_000}, {"max_tokens": 1_000_000}),
        ({"text": {"format": {"type": "text"}}}, {"response_format": {"type": "text"}}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                }
            },
        ),
        (
            {"tools": [{"type": "function"} | FUNCTION]},
            {"tools": [{"type": "function", "function": FUNCTION}]},
        ),
        (
            {"tools": [{"type": "function", "name": "f"}], "tool_choice": "required", "parallel_tool_calls": False},
            {
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "tool_choice": "required",
                "parallel_tool_calls": False,
            },
        ),
        (
            {"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function", "name": "f"}},
            {
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}},
            },
        ),
        ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
        ({"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
        (
            {
                "input": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_text", "text": "a"},
                            {"type": "input_image", "image_url": PICTURE},
                            {"type": "input_text", "text": "b"},
                        ],
                    }
                ]
            },
            chat_of(
                content=[
                    {"type": "text", "text": "a"},
                    {"type": "image_url", "image_url": {"url": PICTURE}},
                    {"type": "text", "text": "b"},
                ]
            ),
        ),
        (
            {
                "input": [
                    USER,
                    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "c", "output": "r"},
                ]
            },
            {
                "messages": [
                    USER,
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                    },
                    {"role": "tool", "tool_call_id": "c", "content": "r"},
                ]
            },
        ),
    ],
)
def test_it_is_the_same_generation_as_its_twin_for_a_chat(body: dict[str, Any], twin: dict[str, Any]):
    assert generation(body) == chat(twin)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": "a\0b"}, "input"),
        ({"input": "x" * 200_001}, "input"),
        ({"input": [{"role": "critic", "content": "x"}]}, "input[0].role"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
        ({"truncation": "auto"}, "truncation"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        (
            {"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function", "name": "g"}},
            "tool_choice",
        ),
        ({"text": {"format": {"type": "yaml"}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "schema": SCHEMA}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"temperature": 2.1}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"metadata": {f"k{row}": "v" for row in range(17)}}, "metadata"),
        ({"metadata": {"k": 1}}, "metadata[...]"),
    ],
)
def test_what_cannot_be_taken_is_named(body: dict[str, Any], param: str):
    with pytest.raises(FieldInvalid) as refused:
        generation(body)

    assert refused.value.param == param


def test_a_background_response_is_stored():
    refuse_unsupported(request_of({"input": "hi", "background": True, "store": True}))


def test_the_response_says_again_what_was_asked():
    tool = {"type": "function", "name": "f", "description": None, "parameters": SCHEMA, "strict": True}
    body = {
        "input": "hi",
        "instructions": "i",
        "previous_response_id": "resp_1",
        "store": True,
        "background": True,
        "temperature": 0.5,
        "top_p": 0.25,
        "max_output_tokens": 9,
        "tools": [tool],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}},
        "top_logprobs": 2,
        "metadata": {"a": "b"},
        "user": "u",
    }
    head = msgspec.to_builtins(head_of(request_of(body), SETTINGS, VISIT, model="m", status="queued"))

    said = {name: head[name] for name in body if name != "input"}
    assert said == {name: value for name, value in body.items() if name != "input"}
    assert head["id"] == "resp_01a20f9280887bd289aa53ec6578e6bd"
    assert (head["model"], head["status"], head["created_at"]) == ("m", "queued", 1_750_000_000)


def test_what_was_left_open_is_said_as_it_is():
    head = msgspec.to_builtins(head_of(request_of({"input": "hi"}), SETTINGS, VISIT, model="m", status="in_progress"))

    expected = {
        "store": False,
        "background": False,
        "temperature": 0.7,
        "top_p": 1.0,
        "tool_choice": "auto",
        "tools": [],
    }
    expected |= {"text": {"format": {"type": "text"}}, "parallel_tool_calls": True, "metadata": {}, "output": []}
    expected |= {"truncation": "disabled", "usage": None, "error": None, "incomplete_details": None}
    assert head == head | expected
