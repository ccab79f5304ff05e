import json
import re

import pytest

from aiservice.core.errors import EngineRefused
from aiservice.core.types import Generation, Message, Tool, ToolCall, ToolChoice
from aiservice.engines.tool_script import called_tools, told_results

NUMBER = {"type": "object", "properties": {"input": {"type": "integer"}}, "required": ["input"]}
PLACE = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
TOOLS = (Tool("magic_function", parameters=NUMBER), Tool("get_weather", parameters=PLACE))


def ask(text: str, *more: Message, tools: tuple[Tool, ...] = TOOLS, choice: ToolChoice | None = None) -> Generation:
    messages = (Message("user", text), *more)
    return Generation("tools", messages, temperature=0.0, max_tokens=50, tools=tools, tool_choice=choice)


def names(generation: Generation) -> list[str]:
    return [call.name for call in called_tools(generation)]


def test_a_tool_is_called_with_what_the_text_says():
    (call,) = called_tools(ask("What is the value of magic_function(3)? Use the tool."))

    assert (call.name, json.loads(call.arguments), call.index) == ("magic_function", {"input": 3}, 0)
    assert re.fullmatch("call_[0-9a-f]{24}", call.id)


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("get_weather and magic_function", ["magic_function", "get_weather"]),
        ("Please Get Weather of Los Angeles", ["get_weather"]),
        ("magic_function_no_args()", []),
        ("Hello!", []),
    ],
)
def test_tools_are_called_by_their_names(text: str, called: list[str]):
    assert names(ask(text)) == called


def test_a_single_tool_needs_no_name():
    assert names(ask("Hello!", tools=TOOLS[:1])) == ["magic_function"]
    assert names(ask("Hello!", tools=())) == []


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        (ToolChoice("none"), []),
        (ToolChoice("auto"), ["magic_function", "get_weather"]),
        (ToolChoice("auto", is_parallel=True), ["magic_function", "get_weather"]),
        (ToolChoice("auto", is_parallel=False), ["magic_function"]),
        (ToolChoice("required"), ["magic_function", "get_weather"]),
        (ToolChoice("required", name="get_weather"), ["get_weather"]),
    ],
)
def test_choices(choice: ToolChoice, called: list[str]):
    assert names(ask("get_weather, magic_function", choice=choice)) == called


def test_the_first_tool_is_called_where_one_must_be():
    assert names(ask("Hello!", choice=ToolChoice("required"))) == ["magic_function"]


def test_results_are_told():
    done = (
        Message("assistant", "", tool_calls=(ToolCall("a", "magic_function", "{}"),)),
        Message("tool", "5", tool_call_id="a"),
        Message("tool", "sunny", tool_call_id="b"),
    )
    generation = ask("magic_function(3)", *done)

    assert (names(generation), told_results(generation)) == ([], "result: 5, sunny")
    assert told_results(ask("magic_function(3)", *done, Message("user", "And?"))) is None


def test_one_that_must_call_after_results_goes_on_with_the_next_tool():
    done = (
        Message("assistant", "", tool_calls=(ToolCall("a", "magic_function", "{}"),)),
        Message("tool", "5", tool_call_id="a"),
    )

    assert names(ask("magic_function(3)", *done, choice=ToolChoice("required"))) == ["get_weather"]
    assert names(ask("x", *done, tools=TOOLS[:1], choice=ToolChoice("required"))) == ["magic_function"]


def test_ids_are_the_same_for_the_same_call_alone():
    again, other = called_tools(ask("magic_function(3)")), called_tools(ask("magic_function(4)"))

    assert called_tools(ask("magic_function(3)")) == again
    assert again[0].id != other[0].id


def test_a_tool_without_parameters_has_no_arguments():
    assert called_tools(ask("now", tools=(Tool("now"),)))[0].arguments == "{}"


def test_a_tool_whose_schema_has_no_value_is_refused():
    broken = Tool("now", parameters={"type": "object", "properties": {"a": False}, "required": ["a"]})

    with pytest.raises(EngineRefused, match="no value of the schema: nothing is allowed"):
        called_tools(ask("now", tools=(broken,)))
