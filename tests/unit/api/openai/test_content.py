"""A chat's messages as the corridor's."""

from typing import Any

import pytest

from aiservice.api.openai.chat import ChatDoor
from aiservice.api.prompt import IMAGES_MAX
from aiservice.core.types import Generation, Image, Message, ToolCall
from tests.unit.api.openai.doors import asked, refused

PNG = "data:image/png;base64,iVBORw0KGgo="
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
USER = {"role": "user", "content": "Hi"}


def read(*messages: dict[str, Any]) -> tuple[Message, ...]:
    found = asked(ChatDoor, {"messages": list(messages)})
    assert isinstance(found, Generation)
    return found.messages


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, "detail": "high"}}


def test_the_roles_are_the_corridors_and_a_developer_is_a_system() -> None:
    messages = [("system", "a"), ("developer", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")]
    found = read(*[{"role": role, "content": content, "name": "ann"} for role, content in messages])
    assert [(message.role, message.content) for message in found] == [
        ("system", "a"),
        ("system", "b"),
        ("user", "c"),
        ("assistant", "d"),
        ("user", "e"),
    ]


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_parts_of_text_are_one_text_with_a_blank_line_between_them(role: str) -> None:
    parts = [text("one"), text(""), text("two")]
    assert read({"role": role, "content": parts}, USER)[0].content == "one\n\ntwo"
    assert read({"role": role, "content": [text("one")]}, USER) == read({"role": role, "content": "one"}, USER)


def test_pictures_come_after_the_text_and_their_detail_is_nobodys_business() -> None:
    content = [picture(PNG), text("What is this?"), picture("https://pictures.example/a.png")]
    assert read({"role": "user", "content": content}) == (
        Message("user", "What is this?", (Image(PNG), Image("https://pictures.example/a.png"))),
    )
    assert read({"role": "user", "content": [picture(PNG)]}) == (Message("user", "", (Image(PNG),)),)


def test_more_pictures_than_a_conversation_may_have_are_refused() -> None:
    turns = [{"role": "user", "content": [picture(PNG)] * IMAGES_MAX}, {"role": "user", "content": [picture(PNG)]}]
    error = refused(ChatDoor, {"messages": turns})
    assert (error.param, error.public) == ("messages", f"messages has {IMAGES_MAX + 1} images; at most 100 are taken.")


def test_calls_and_their_results() -> None:
    second = {"id": "call_2", "function": {"name": "time", "arguments": ""}}
    found = read(
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL, second]},
        {"role": "tool", "tool_call_id": "call_2", "content": [text("noon"), text("sharp")]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call_0", "content": "of a call that is not shown"},
    )
    calls = (ToolCall("call_1", "weather", '{"city": "Paris"}', 0), ToolCall("call_2", "time", "", 1))
    assert found[1:] == (
        Message("assistant", "", tool_calls=calls),
        Message("tool", "noon\n\nsharp", tool_call_id="call_2", tool_name="time"),
        Message("tool", "sunny", tool_call_id="call_1", tool_name="weather"),
        Message("tool", "of a call that is not shown", tool_call_id="call_0"),
    )


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ({"content": None}, ""),
        ({}, ""),
        ({"content": []}, ""),
        ({"content": "", "tool_calls": []}, ""),
        ({"content": None, "refusal": "I will not."}, "I will not."),
        ({"content": [{"type": "refusal", "refusal": "No."}, text("Never.")]}, "No.\n\nNever."),
        ({"content": "yes", "refusal": None, "annotations": [], "audio": None, "function_call": None}, "yes"),
    ],
)
def test_what_the_assistant_said(turn: dict[str, Any], said: str) -> None:
    assert read(USER, {"role": "assistant", **turn}, USER)[1] == Message("assistant", said)


@pytest.mark.parametrize(
    ("message", "param", "words"),
    [
        ({"role": "function", "name": "f", "content": "1"}, "messages[0].role", "use tools"),
        ({"role": "robot", "content": "1"}, "messages[0].role", "robot"),
        ({"role": "assistant", "function_call": {"name": "f"}}, "messages[0].function_call", "use tools"),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages[0].audio", "send the text"),
        ({"role": "assistant", "tool_calls": [{"id": "a", "type": "custom"}]}, "messages[0].tool_calls[0]", "function"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "messages[0].content[0]", "text and image_url"),
        ({"role": "user", "content": [text("a"), {"type": "file"}]}, "messages[0].content[1]", "is of the type file"),
        ({"role": "system", "content": [picture(PNG)]}, "messages[0].content[0]", "text is taken"),
        ({"role": "tool", "tool_call_id": "a", "content": [picture(PNG)]}, "messages[0].content[0]", "text is taken"),
        ({"role": "assistant", "content": [picture(PNG)]}, "messages[0].content[0]", "text and refusal"),
        ({"role": "user", "content": [{"type": "video"}]}, "messages[0].content[0].type", "video"),
        ({"role": "user", "content": None}, "messages[0].content", "null"),
        ({"role": "user"}, "messages[0].content", "content"),
        ({"role": "tool", "content": "1"}, "messages[0].tool_call_id", "tool_call_id"),
        (
            {"role": "user", "content": [picture("https://elsewhere.example/a.png")]},
            "messages[0].content[0].image_url.url",
            "data URL",
        ),
        ({"role": "user", "content": ""}, "messages", "empty"),
        ({"role": "user", "content": "a\0b"}, "messages", "U+0000"),
        ({"role": "user", "content": "x" * 200_001}, "messages", "200001 characters"),
    ],
)
def test_what_is_not_taken_is_named(message: dict[str, Any], param: str, words: str) -> None:
    error = refused(ChatDoor, {"messages": [message]})
    assert error.param == param
    assert words in error.public


def test_no_message_is_refused() -> None:
    assert refused(ChatDoor, {"messages": []}).param == "messages"
    assert refused(ChatDoor, {}).param == "messages"
