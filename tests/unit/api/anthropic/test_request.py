"""A request of Anthropic's as a `Generation`: what it becomes, and what is refused by name."""

from typing import Any

import msgspec
import pytest

from aiservice.api.anthropic.count_tokens import CountTokensDoor
from aiservice.api.anthropic.messages import MessagesDoor
from aiservice.api.generate import GenerateDoor
from aiservice.api.parse import decode
from aiservice.api.rooms import Rooms
from aiservice.api.surfaces import ThreadUnsupported
from aiservice.core.clock import ManualClock
from aiservice.core.errors import FieldInvalid
from aiservice.core.settings import load
from aiservice.core.types import Generation, Message, Tool, ToolChoice
from aiservice.gateway import Visit
from aiservice.keys import LOCAL_CALLER
from aiservice.observe.metrics import Metrics

ROOMS = Rooms(load({"ENVIRONMENT": "development"}), ManualClock(), Metrics())
VISIT = Visit("id", "/v1/messages", LOCAL_CALLER, 0, 0.0)
ASK = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "weather", "description": "Tells it.", "input_schema": SCHEMA}


def read(**fields: Any) -> Generation:
    door = MessagesDoor(ROOMS)
    return door.asked(decode(door.decoder, msgspec.json.encode(ASK | fields)), VISIT)


def counted(**fields: Any) -> Generation:
    door = CountTokensDoor(ROOMS)
    body = {"model": "m", "messages": ASK["messages"], **fields}
    return door.asked(decode(door.decoder, msgspec.json.encode(body)), VISIT)


def refused(**fields: Any) -> FieldInvalid:
    with pytest.raises(FieldInvalid) as caught:
        read(**fields)
    return caught.value


def test_a_bare_request_asks_for_nothing_more() -> None:
    assert read() == Generation("m", (Message("user", "Hi"),), 0.7, 9)


def test_the_native_door_makes_the_same_of_the_same() -> None:
    door = GenerateDoor(ROOMS)
    body = {"model": "m", "max_tokens": 9, "prompt": "Hi", "system": "Be brief.", "temperature": 0, "stop": ["END"]}
    native = door.asked(decode(door.decoder, msgspec.json.encode(body)), VISIT)
    assert read(system="Be brief.", temperature=0, stop_sequences=["END"]) == native


def test_every_parameter_arrives() -> None:
    found = read(temperature=0.5, top_p=0.9, top_k=40, stop_sequences=["a", "b"], stream=True)
    assert (found.temperature, found.top_p, found.top_k) == (0.5, 0.9, 40)
    assert (found.stop, found.stream) == (("a", "b"), True)


def test_more_tokens_than_the_tier_has_are_as_many_as_it_has() -> None:
    largest = ROOMS.settings.limits.max_tokens_of(LOCAL_CALLER.tier)
    assert read(max_tokens=10**9).max_tokens == largest


def test_what_means_nothing_here_is_passed_over() -> None:
    extras = {
        "metadata": {"user_id": "ann"},
        "service_tier": "auto",
        "cache_control": {"type": "ephemeral"},
        "thinking": {"type": "enabled", "budget_tokens": 2_000},
        "context_management": {"edits": []},
        "output_config": {"effort": "high", "format": None},
        "diagnostics": {"previous_message_id": None},
        "inference_geo": "global",
        "container": None,
        "mcp_servers": [],
        "tools": [],
        "tool_choice": {"type": "auto"},
        "speed": "fast",
    }
    assert read(**extras) == read()


def test_tools_arrive_with_their_schemas() -> None:
    found = read(tools=[WEATHER, {**WEATHER, "name": "b", "type": "custom", "strict": True, "cache_control": None}])
    assert found.tools == (Tool("weather", "Tells it.", SCHEMA), Tool("b", "Tells it.", SCHEMA, strict=True))
    assert found.tool_choice is None


@pytest.mark.parametrize(
    ("asked", "choice"),
    [
        ({"type": "auto"}, None),
        ({"type": "auto", "disable_parallel_tool_use": True}, ToolChoice("auto", None, False)),
        ({"type": "any"}, ToolChoice("required")),
        ({"type": "any", "disable_parallel_tool_use": False}, ToolChoice("required", None, True)),
        ({"type": "tool", "name": "weather"}, ToolChoice("required", "weather")),
        ({"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
         ToolChoice("required", "weather", False)),
        ({"type": "none"}, ToolChoice("none")),
    ],
)  # fmt: skip
def test_the_choice_of_a_tool(asked: dict[str, Any], choice: ToolChoice | None) -> None:
    assert read(tools=[WEATHER], tool_choice=asked).tool_choice == choice
    assert counted(tools=[WEATHER], tool_choice=asked).tool_choice == choice


@pytest.mark.parametrize("field", ["output_config", "output_format"])
def test_a_schema_for_the_answer(field: str) -> None:
    form = {"type": "json_schema", "schema": SCHEMA}
    found = read(**{field: {"format": form} if field == "output_config" else form})
    assert found.response_format is not None
    assert found.response_format["type"] == "json_schema"
    assert found.response_format["json_schema"]["schema"] == SCHEMA


def test_a_count_is_the_same_prompt_with_one_token() -> None:
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    prompt = {"system": "Be brief.", "tools": [WEATHER], "tool_choice": {"type": "any"}, "output_config": form}
    assert counted(**prompt) == msgspec.structs.replace(read(**prompt), max_tokens=1)


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"max_tokens": 0}, "max_tokens", ">= 1"),
        ({"max_tokens": None}, "max_tokens", "int"),
        ({"temperature": 1.01}, "temperature", "<= 1"),
        ({"top_p": -0.1}, "top_p", ">= 0"),
        ({"top_k": -1}, "top_k", ">= 0"),
        ({"stop_sequences": [""]}, "stop_sequences[0]", ">= 1"),
        ({"model": ""}, "model", ">= 1"),
        ({"messages": []}, "messages", ">= 1"),
        ({"container": "c"}, "container", "no code is run"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers", "MCP"),
        ({"compaction": {"type": "summarize"}}, "compaction", "summarised"),
        ({"inference_geo": "us"}, "inference_geo", "us"),
        ({"tools": [{"type": "web_search_20260101", "name": "web_search"}]}, "tools[0].type", "web_search_20260101"),
        ({"tools": [{"name": "weather"}]}, "tools[0].input_schema", "missing"),
        ({"tools": [WEATHER, WEATHER]}, "tools", "two tools are named weather"),
        ({"tools": [{**WEATHER, "name": "a b"}]}, "tools", "letters, digits"),
        ({"tool_choice": {"type": "any"}}, "tool_choice", "no tools"),
        ({"tool_choice": {"type": "tool", "name": "x"}, "tools": [WEATHER]}, "tool_choice.name", "no tool"),
        ({"tool_choice": {"type": "mine"}}, "tool_choice.type", "'mine' is not supported"),
        ({"output_format": {"type": "text"}}, "output_format.type", "'text' is not supported"),
    ],
)
def test_what_is_refused_is_named(fields: dict[str, Any], param: str, said: str) -> None:
    error = refused(**fields)
    assert (error.param, said in error.public) == (param, True), error.public


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
def test_a_conversation_to_be_kept_is_refused_in_a_way_that_its_client_knows(thread: dict[str, str]) -> None:
    error = refused(thread=thread)
    assert isinstance(error, ThreadUnsupported)
    assert error.details.error_code == "thread_unsupported_request"


def test_only_a_message_needs_max_tokens() -> None:
    door = MessagesDoor(ROOMS)
    with pytest.raises(FieldInvalid) as caught:
        decode(door.decoder, msgspec.json.encode({name: ASK[name] for name in ("model", "messages")}))
    assert caught.value.param == "max_tokens"
    assert counted().max_tokens == 1
