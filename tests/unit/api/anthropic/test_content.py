"""Anthropic's blocks as the corridor's messages."""

from typing import Any

import msgspec
import pytest

from aiservice.api.anthropic.content import AnthropicText, AnthropicTurn, conversation
from aiservice.api.parse import decode
from aiservice.core.errors import FieldInvalid
from aiservice.core.settings import load
from aiservice.core.types import Image, Message, ToolCall

PNG = "iVBORw0KGgo="
SETTINGS = load({"ENVIRONMENT": "development", "IMAGE_HOSTS": "pictures.example"})
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris", "days": 3}}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}


class Body(msgspec.Struct):
    messages: list[AnthropicTurn]
    system: str | list[AnthropicText] | None = None


_decoder = msgspec.json.Decoder(Body)


def read(*turns: tuple[str, Any], system: Any = None) -> tuple[Message, ...]:
    rows = [{"role": role, "content": content} for role, content in turns]
    body = decode(_decoder, msgspec.json.encode({"messages": rows, "system": system}))
    return conversation(body.system, body.messages, SETTINGS)


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def test_a_text_and_one_block_of_it_are_the_same_message() -> None:
    assert read(("user", "Hi"), system="Be brief.") == (Message("system", "Be brief."), Message("user", "Hi"))
    blocks = read(("user", [text("Hi", cache_control={"type": "ephemeral"})]), system=[text("Be brief.")])
    assert blocks == read(("user", "Hi"), system="Be brief.")


def test_several_blocks_are_one_text_with_a_blank_line_between_them() -> None:
    found = read(("user", [text("one"), text(""), text("two")]), system=[text("a"), text("b")])
    assert found == (Message("system", "a\n\nb"), Message("user", "one\n\ntwo"))


@pytest.mark.parametrize("system", [None, "", []])
def test_no_system_is_no_message(system: Any) -> None:
    assert read(("user", "Hi"), system=system) == (Message("user", "Hi"),)


def test_turns_of_the_same_role_and_a_system_in_between_are_kept_as_they_are() -> None:
    found = read(("user", "one"), ("user", "two"), ("system", [text("Now be brief.")]), ("user", "three"))
    assert [(message.role, message.content) for message in found] == [
        ("user", "one"),
        ("user", "two"),
        ("system", "Now be brief."),
        ("user", "three"),
    ]


def test_a_call_and_its_result_become_messages_of_their_own_before_the_rest_of_the_turn() -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [text("sunny"), text("25 degrees")]}
    found = read(("user", "Go"), ("assistant", [text("I look."), CALL]), ("user", [text("And now?"), result]))
    assert found[1:] == (
        Message("assistant", "I look.", tool_calls=(ToolCall("toolu_1", "weather", '{"city":"Paris","days":3}'),)),
        Message("tool", "sunny\n\n25 degrees", tool_call_id="toolu_1", tool_name="weather"),
        Message("user", "And now?"),
    )


def test_several_calls_are_numbered_and_their_results_keep_their_order() -> None:
    calls = [CALL, {**CALL, "id": "toolu_2", "name": "time", "input": {}}]
    results = [{"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": f"r{n}"} for n in (2, 1)]
    _, asked, *told = read(("user", "Go"), ("assistant", calls), ("user", results))
    assert [(call.index, call.name, call.arguments) for call in asked.tool_calls] == [
        (0, "weather", '{"city":"Paris","days":3}'),
        (1, "time", "{}"),
    ]
    assert [(message.role, message.content, message.tool_name) for message in told] == [
        ("tool", "r2", "time"),
        ("tool", "r1", "weather"),
    ]


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"content": "no such city", "is_error": True}, "The tool failed: no such city"),
        ({"content": "fine", "is_error": False}, "fine"),
        ({}, ""),
        ({"content": None, "is_error": True}, "The tool failed: "),
        ({"content": []}, ""),
    ],
)
def test_a_failure_is_told_and_nothing_is_nothing(result: dict[str, Any], told: str) -> None:
    found = read(("user", [{"type": "tool_result", "tool_use_id": "unknown", **result}]))
    assert found == (Message("tool", told, tool_call_id="unknown"),)


def test_pictures_come_as_data_urls_or_from_an_allowed_host() -> None:
    link = {"type": "image", "source": {"type": "url", "url": "https://pictures.example/cat.png"}}
    found = read(("user", [PICTURE, text("What is it?"), link]))
    pictures = (Image(f"data:image/png;base64,{PNG}"), Image("https://pictures.example/cat.png"))
    assert found == (Message("user", "What is it?", images=pictures),)


def test_a_result_s_pictures_follow_it_in_a_user_s_message() -> None:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [PICTURE]}
    found = read(("user", [result, text("What is it?")]))
    assert found == (
        Message("tool", "The result is in the pictures that follow.", tool_call_id="toolu_1"),
        Message("user", "What is it?", images=(Image(f"data:image/png;base64,{PNG}"),)),
    )


def test_what_a_model_thought_is_left_out() -> None:
    thoughts = [
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "redacted_thinking", "data": "x"},
    ]
    found = read(("user", "Go"), ("assistant", thoughts), ("assistant", [*thoughts, text("So.")]), ("user", "On"))
    assert [message.content for message in found] == ["Go", "So.", "On"]


@pytest.mark.parametrize(
    ("turns", "param", "said"),
    [
        ([("user", [{"type": "document", "source": {}}])], "messages[0].content[0].type", "'document' is not supp"),
        ([("user", [{"type": "search_result"}])], "messages[0].content[0].type", "'search_result' is not supp"),
        ([("user", [CALL])], "messages[0].content", "tool_use block"),
        ([("assistant", [PICTURE])], "messages[0].content", "image block"),
        ([("system", [PICTURE])], "messages[0].content", "image block"),
        ([("user", [{**PICTURE, "source": {"type": "file", "file_id": "f"}}])], "messages[0].content[0].source.type",
         "'file' is not supp"),
        ([("user", [{**PICTURE, "source": {"type": "base64", "media_type": "image/tiff", "data": PNG}}])],
         "messages[0].content[0].source.media_type", "image/tiff"),
        ([("user", [{**PICTURE, "source": {"type": "base64", "media_type": "image/png", "data": "%%"}}])],
         "messages[0].content[0].source.data", "no picture as base64"),
        ([("user", [{**PICTURE, "source": {"type": "url", "url": "https://elsewhere.example/cat.png"}}])],
         "messages[0].content[0].source.url", "not fetched"),
        ([("user", [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "document"}]}])],
         "messages[0].content[0].content[0].type", "'document' is not supp"),
        ([("user", [PICTURE] * 101)], "messages", "101 images"),
        ([("user", "")], "messages", "empty"),
        ([("user", [])], "messages", "empty"),
        ([("user", "a\0b")], "messages", "U+0000"),
        ([("user", "x" * 200_001)], "messages", "200001 characters"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(turns: list[tuple[str, Any]], param: str, said: str) -> None:
    with pytest.raises(FieldInvalid) as refused:
        read(*turns)
    assert refused.value.param == param
    assert said in refused.value.public
