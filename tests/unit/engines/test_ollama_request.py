import json
from typing import Any

import pytest

from aiservice.core.errors import EngineRefused
from aiservice.core.types import Generation, Image, Message, Tool, ToolCall, ToolChoice
from aiservice.engines.ollama_request import chat_body

HELLO = Message("user", "Hello.")
TOOLS = (Tool("weather", "Tells.", {"type": "object"}), Tool("now"))


def body_of(*messages: Message, **fields: object) -> dict[str, Any]:
    return json.loads(chat_body("m", Generation("m", messages or (HELLO,), temperature=0.0, max_tokens=5, **fields)))


def test_a_picture_goes_without_its_head():
    (sent,) = body_of(Message("user", "What?", (Image("data:image/png;base64,aGk="),)))["messages"]

    assert sent == {"role": "user", "content": "What?", "images": ["aGk="]}


@pytest.mark.parametrize("url", ["https://example.com/a.png", "data:image/png,raw", "aGk=", ""])
def test_other_pictures_are_refused(url: str):
    with pytest.raises(EngineRefused, match="base64 data URL"):
        body_of(Message("user", "What?", (Image(url),)))


def test_calls_go_as_objects_and_results_with_their_tools_names():
    calls = (ToolCall("a", "weather", '{"place": "Rome"}', 0), ToolCall("b", "now", "", 1))

    _, asking, rain, noon, other = body_of(
        HELLO,
        Message("assistant", "", tool_calls=calls),
        Message("tool", "rain", tool_call_id="a"),
        Message("tool", "noon", tool_call_id="b", tool_name="clock"),
        Message("tool", "?", tool_name="now"),
    )["messages"]

    assert [call["function"] for call in asking["tool_calls"]] == [
        {"index": 0, "name": "weather", "arguments": {"place": "Rome"}},
        {"index": 1, "name": "now", "arguments": {}},
    ]
    assert rain == {"role": "tool", "content": "rain", "tool_name": "weather", "tool_call_id": "a"}
    assert noon["tool_name"] == "clock"
    assert other == {"role": "tool", "content": "?", "tool_name": "now"}


@pytest.mark.parametrize("arguments", ["[1]", "{", "5"])
def test_arguments_that_are_no_object_are_refused(arguments: str):
    with pytest.raises(EngineRefused, match="no JSON object"):
        body_of(HELLO, Message("assistant", "", tool_calls=(ToolCall("a", "now", arguments),)))


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (None, ["weather", "now"]),
        (ToolChoice("auto"), ["weather", "now"]),
        (ToolChoice("none"), []),
    ],
)
def test_no_tool_is_offered_where_none_may_be_called(choice: ToolChoice | None, names: list[str]):
    body = body_of(tools=TOOLS, tool_choice=choice)

    assert [tool["function"]["name"] for tool in body.get("tools", ())] == names
    assert ("tools" in body) == bool(names)
