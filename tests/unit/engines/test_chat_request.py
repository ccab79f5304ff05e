import json
from typing import Any

import pytest

from aiservice.core.types import Generation, Image, Message, Tool, ToolCall, ToolChoice
from aiservice.engines.chat_request import chat_body

MESSAGES = (Message("system", "Be short."), Message("user", "One two three four."))
SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}}
TOOLS = (Tool("weather", "Tells the weather.", SCHEMA), Tool("now", strict=True))
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells the weather.", "parameters": SCHEMA},
}
NOW = {"type": "function", "function": {"name": "now", "strict": True}}
CALLS = (ToolCall("a", "weather", '{"place":"Rome"}', 0), ToolCall("b", "now", "", 1))


def body_of(*, is_streamed: bool = False, messages: tuple[Message, ...] = MESSAGES, **fields: object) -> dict[str, Any]:
    generation = Generation("m", messages, temperature=0.0, max_tokens=50, **fields)
    return json.loads(chat_body("m", generation, is_streamed=is_streamed))


def test_the_body_says_only_what_was_asked():
    assert body_of() == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "One two three four."}],
        "temperature": 0.0,
        "max_tokens": 50,
        "stream": False,
    }


def test_the_body_says_all_that_was_asked():
    fields = {
        "top_p": 0.5,
        "seed": 3,
        "stop": ("a", "b"),
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
        "top_k": 5,
        "frequency_penalty": 0.0,
        "presence_penalty": -1.5,
    }

    body = body_of(is_streamed=True, **fields)

    assert {name: body[name] for name in fields} == {**fields, "stop": ["a", "b"]}
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


@pytest.mark.parametrize(("asked", "sent"), [(0, 1), (1, 1), (5, 5)])
def test_logprobs(asked: int, sent: int):
    body = body_of(logprobs=asked)

    assert (body["logprobs"], body["top_logprobs"]) == (True, sent)


def test_tools_without_a_choice():
    body = body_of(tools=TOOLS)

    assert body["tools"] == [WEATHER, NOW]
    assert {"tool_choice", "parallel_tool_calls"} & body.keys() == set()


@pytest.mark.parametrize("mode", ["auto", "none", "required"])
def test_a_choice_of_tools(mode: str):
    body = body_of(tools=TOOLS, tool_choice=ToolChoice(mode, is_parallel=False))

    assert (body["tool_choice"], body["parallel_tool_calls"]) == (mode, False)
    assert len(body["tools"]) == 2


def test_a_choice_of_one_tool():
    body = body_of(tools=TOOLS, tool_choice=ToolChoice("required", name="now"))

    assert body["tool_choice"] == {"type": "function", "function": {"name": "now"}}
    assert len(body["tools"]) == 2


def test_a_choice_without_tools_is_left_out():
    assert {"tools", "tool_choice"} & body_of(tool_choice=ToolChoice("none")).keys() == set()


def test_pictures_are_parts():
    url = "data:image/png;base64,aGk="

    sent = body_of(messages=(Message("user", "What?", (Image(url),)), Message("user", "", (Image(url), Image("u")))))

    picture = {"type": "image_url", "image_url": {"url": url}}
    assert sent["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "What?"}, picture]},
        {"role": "user", "content": [picture, {"type": "image_url", "image_url": {"url": "u"}}]},
    ]


def test_calls_and_their_results():
    messages = (
        *MESSAGES,
        Message("assistant", "", tool_calls=CALLS),
        Message("tool", "rain", tool_call_id="a"),
        Message("tool", "noon", tool_call_id="b", tool_name="clock"),
    )

    sent = body_of(messages=messages)["messages"]

    assert sent[:2] == [{"role": message.role, "content": message.content} for message in MESSAGES]
    assert sent[2:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"place":"Rome"}'}},
                {"id": "b", "type": "function", "function": {"name": "now", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "a", "name": "weather"},
        {"role": "tool", "content": "noon", "tool_call_id": "b", "name": "clock"},
    ]


@pytest.mark.parametrize(
    ("names", "order"), [((None, None), (0, 1)), (("now", "weather"), (1, 0)), (("now", None), (1, 0))]
)
def test_results_without_ids_get_those_of_their_calls(names: tuple[str | None, str | None], order: tuple[int, int]):
    calls = tuple(ToolCall("", call.name, call.arguments, call.index) for call in CALLS)
    results = tuple(Message("tool", "x", tool_name=name) for name in names)

    sent = body_of(messages=(MESSAGES[1], Message("assistant", "I ask.", tool_calls=calls), *results))["messages"]

    ids = [call["id"] for call in sent[1]["tool_calls"]]
    assert len(set(ids)) == 2
    assert sent[1]["content"] == "I ask."
    assert [result["tool_call_id"] for result in sent[2:]] == [ids[row] for row in order]


def test_a_result_of_no_known_call_keeps_its_id():
    (sent,) = body_of(messages=(Message("tool", "x", tool_call_id="z"),))["messages"]

    assert sent == {"role": "tool", "content": "x", "tool_call_id": "z"}
