"""The corridor's chunks as Anthropic's message and as its events."""

import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec
import pytest

from aiservice.api.anthropic.count_tokens import CountTokensReply, CountTokensRequest
from aiservice.api.anthropic.messages import MessagesReply, MessagesRequest
from aiservice.api.rooms import Rooms
from aiservice.core.clock import ManualClock
from aiservice.core.errors import EngineError
from aiservice.core.settings import load
from aiservice.core.types import Chunk, FinishReason, Tokens, ToolCall
from aiservice.gateway import Answer, Visit
from aiservice.keys import LOCAL_CALLER
from aiservice.limits import Decision
from aiservice.observe.metrics import Metrics

ROOMS = Rooms(load({"ENVIRONMENT": "development"}), ManualClock(), Metrics())
VISIT = Visit("0190-ab", "/v1/messages", LOCAL_CALLER, 0, 0.0)
REQUEST = msgspec.convert(
    {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": ""}]}, MessagesRequest
)
END = Chunk("", "stop", Tokens(7, 3))


async def nothing() -> AsyncGenerator[Chunk]:
    return
    yield


def answer_of(first: Chunk) -> Answer:
    return Answer("echo", "fake", "MISS", Decision(True, ()), first, nothing())


def whole(chunk: Chunk) -> dict[str, Any]:
    return json.loads(MessagesReply(ROOMS, REQUEST, VISIT, answer=answer_of(chunk)).whole([chunk]))


def events(chunks: Sequence[Chunk]) -> list[tuple[str, dict[str, Any]]]:
    reply = MessagesReply(ROOMS, REQUEST, VISIT, answer=answer_of(chunks[0]))
    data = reply.opening() + b"".join([reply.piece(chunk) for chunk in chunks]) + reply.closing(chunks[-1])
    found = []
    for event in data.decode().removesuffix("\n\n").split("\n\n"):
        name, content = event.split("\n")
        found.append((name.removeprefix("event: "), json.loads(content.removeprefix("data: "))))
        assert found[-1][0] == found[-1][1]["type"]
    return found


def shown(chunks: Sequence[Chunk]) -> list[str]:
    """The events in short: what opens, what is said, what closes."""
    short = []
    for name, data in events(chunks)[2:-2]:
        index = data["index"]
        if name == "content_block_start":
            short.append(f"{index}+{data['content_block']['type']}")
        elif name == "content_block_delta":
            delta = data["delta"]
            short.append(f"{index}:{delta['text'] if delta['type'] == 'text_delta' else delta['partial_json']}")
        else:
            short.append(f"{index}-")
    return short


def test_a_whole_message_has_every_field() -> None:
    assert whole(Chunk("Hi", "stop", Tokens(7, 3))) == {
        "id": "msg_0190ab",
        "type": "message",
        "role": "assistant",
        "model": "echo",
        "content": [{"type": "text", "text": "Hi", "citations": None}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 7,
            "output_tokens": 3,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "service_tier": "standard",
        },
    }


@pytest.mark.parametrize(
    ("reason", "said"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("content_filter", "refusal")],
)
def test_each_reason_has_its_name(reason: FinishReason, said: str) -> None:
    last = Chunk("", reason, Tokens(7, 3))
    assert whole(last)["stop_reason"] == said
    assert events([last])[-2][1]["delta"] == {"stop_reason": said, "stop_sequence": None}


@pytest.mark.parametrize(
    ("arguments", "input"),
    [
        ('{"city": "Paris"}', {"city": "Paris"}),
        ("", {}),
        ("{}", {}),
        ('{"city": "Pa', {"INVALID_JSON": '{"city": "Pa'}),
        ("[1]", {"INVALID_JSON": "[1]"}),
    ],
)
def test_a_call_s_input_is_always_an_object(arguments: str, input: dict[str, Any]) -> None:
    message = whole(Chunk("", "tool_calls", Tokens(7, 3), tool_calls=(ToolCall("c1", "weather", arguments),)))
    assert message["content"] == [{"type": "tool_use", "id": "c1", "name": "weather", "input": input}]


def test_a_text_before_calls_is_a_block_of_its_own_and_no_text_is_none() -> None:
    calls = (ToolCall("c1", "a", "{}"), ToolCall("c2", "b", "{}", 1))
    message = whole(Chunk("I look.", "tool_calls", Tokens(7, 3), tool_calls=calls))
    assert [block["type"] for block in message["content"]] == ["text", "tool_use", "tool_use"]
    assert whole(END)["content"] == []


def test_a_stream_begins_and_ends_as_anthropic_s() -> None:
    start, ping, *_, delta, stop = events([Chunk("Hi"), END])
    message = start[1]["message"]
    assert (message["id"], message["content"], message["stop_reason"]) == ("msg_0190ab", [], None)
    assert message.keys() == whole(Chunk("Hi", "stop", Tokens(7, 3))).keys()
    assert ping == ("ping", {"type": "ping"})
    assert delta[1]["usage"] == {
        "input_tokens": 7,
        "output_tokens": 3,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }
    assert stop == ("message_stop", {"type": "message_stop"})


@pytest.mark.parametrize(("first", "tokens"), [(Chunk("Hi"), 0), (Chunk("Hi", "stop", Tokens(7, 3)), 7)])
def test_the_start_tells_the_prompt_s_tokens_where_they_are_known(first: Chunk, tokens: int) -> None:
    assert events([first, END])[0][1]["message"]["usage"]["input_tokens"] == tokens


def test_text_comes_in_one_block() -> None:
    chunks = [Chunk("a"), Chunk(""), Chunk('"b"\n'), END]
    assert shown(chunks) == ["0+text", "0:a", '0:"b"\n', "0-"]


def test_an_answer_of_nothing_has_no_block() -> None:
    assert [name for name, _ in events([END])] == ["message_start", "ping", "message_delta", "message_stop"]


def test_each_call_is_a_block_after_the_text() -> None:
    chunks = [
        Chunk("I look."),
        Chunk("", tool_calls=(ToolCall("c1", "a", ""),)),
        Chunk("", tool_calls=(ToolCall("", "", '{"x":'),)),
        Chunk("", tool_calls=(ToolCall("", "", "1}"), ToolCall("c2", "b", "{}", 1))),
        Chunk("Done."),
        Chunk("", "tool_calls", Tokens(7, 3)),
    ]
    assert shown(chunks) == [
        "0+text", "0:I look.", "0-",
        "1+tool_use", '1:{"x":', "1:1}", "1-",
        "2+tool_use", "2:{}", "2-",
        "3+text", "3:Done.", "3-",
    ]  # fmt: skip
    block = next(data for name, data in events(chunks) if data.get("index") == 1)["content_block"]
    assert block == {"type": "tool_use", "id": "c1", "name": "a", "input": {}}


def test_a_kept_answer_comes_at_once() -> None:
    calls = (ToolCall("c1", "a", '{"x":1}'), ToolCall("c2", "b", "{}", 1))
    kept = Chunk("I look.", "tool_calls", Tokens(7, 3), tool_calls=calls)
    assert shown([kept]) == ["0+text", "0:I look.", "0-", "1+tool_use", '1:{"x":1}', "1-", "2+tool_use", "2:{}", "2-"]
    assert events([kept])[-2][1]["delta"]["stop_reason"] == "tool_use"


def test_a_call_that_has_ended_is_not_gone_on_with() -> None:
    calls = [ToolCall("c1", "a", "{"), ToolCall("c2", "b", "{}", 1), ToolCall("", "", "}")]
    with pytest.raises(EngineError):
        events([Chunk("", tool_calls=tuple(calls)), END])


def test_a_count_is_the_prompt_s() -> None:
    request = msgspec.convert(REQUEST, CountTokensRequest, from_attributes=True)
    reply = CountTokensReply(ROOMS, request, VISIT, answer=answer_of(END))
    assert json.loads(reply.whole([END])) == {"input_tokens": 7}
