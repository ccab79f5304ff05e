"""OpenAI's tools and the choice among them."""

from typing import Any

import pytest

from aiservice.api.openai.chat import ChatDoor
from aiservice.core.types import Generation, Tool, ToolChoice
from tests.unit.api.openai.doors import asked, refused

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Tells it.", "parameters": SCHEMA}}
TIME = {"type": "function", "function": {"name": "time", "strict": True}}
NAMED = {"type": "function", "function": {"name": "time"}}


def body(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Hi"}], **fields}


def read(**fields: Any) -> Generation:
    found = asked(ChatDoor, body(**fields))
    assert isinstance(found, Generation)
    return found


def allowed(mode: str, *tools: Any) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}


def test_tools_are_the_corridors() -> None:
    assert read(tools=[WEATHER, TIME]).tools == (
        Tool("weather", "Tells it.", SCHEMA),
        Tool("time", None, None, strict=True),
    )


@pytest.mark.parametrize("tools", [None, []])
def test_without_tools_there_is_no_choice(tools: Any) -> None:
    for choice in (None, "auto", "none"):
        found = read(tools=tools, tool_choice=choice, parallel_tool_calls=False)
        assert (found.tools, found.tool_choice) == ((), None)


@pytest.mark.parametrize(
    ("choice", "is_parallel", "found"),
    [
        (None, None, None),
        ("auto", None, None),
        ("auto", True, ToolChoice("auto", None, True)),
        (None, False, ToolChoice("auto", None, False)),
        ("none", None, ToolChoice("none")),
        ("none", False, ToolChoice("none")),
        ("required", None, ToolChoice("required")),
        ("required", False, ToolChoice("required", None, False)),
        (NAMED, None, ToolChoice("required", "time")),
        (NAMED, False, ToolChoice("required", "time", False)),
    ],
)
def test_the_choice(choice: Any, is_parallel: bool | None, found: ToolChoice | None) -> None:
    asked_for = read(tools=[WEATHER, TIME], tool_choice=choice, parallel_tool_calls=is_parallel)
    assert asked_for.tool_choice == found
    assert len(asked_for.tools) == 2


def test_allowed_tools_are_all_that_is_offered() -> None:
    found = read(tools=[WEATHER, TIME], tool_choice=allowed("auto", NAMED))
    assert ([tool.name for tool in found.tools], found.tool_choice) == (["time"], None)
    found = read(tools=[WEATHER, TIME], tool_choice=allowed("required", NAMED), parallel_tool_calls=False)
    assert ([tool.name for tool in found.tools], found.tool_choice) == (["time"], ToolChoice("required", None, False))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0]"),
        ({"tools": [WEATHER, {"type": "function"}]}, "tools[1]"),
        ({"tools": [{"function": {"name": "a b"}}]}, "tools"),
        ({"tools": [WEATHER, WEATHER]}, "tools"),
        ({"tools": [{"function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": NAMED}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": NAMED}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "custom", "custom": {"name": "f"}}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": allowed("auto")}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": allowed("auto", NAMED)}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "robot"}}, "tool_choice.type"),
    ],
)
def test_what_is_not_taken_is_named(fields: dict[str, Any], param: str) -> None:
    assert refused(ChatDoor, body(**fields)).param == param
