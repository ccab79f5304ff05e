"""The events of a streamed response, as typed as they are documented, and the response that they build up."""

import json
from typing import Any

import msgspec
import pytest

from aiservice.api.openai.response_event_types import EVENTS, ResponseEvent
from aiservice.api.openai.response_events import ResponseEvents
from aiservice.api.openai.response_object import ResponseError, ResponseObject, ResponseTextConfig, finished, output_of
from aiservice.api.surfaces import ErrorFacts
from aiservice.core.types import Chunk, Logprob, Tokens, ToolCall, merged

LAST = Chunk("", "stop", Tokens(3, 4))
CALLS = (
    Chunk("", tool_calls=(ToolCall("call_1", "weather", "", 0),)),
    Chunk("", tool_calls=(ToolCall("", "", '{"city": ', 0),)),
    Chunk("", tool_calls=(ToolCall("", "", '"Paris"}', 0),)),
)
TEXT = (Chunk("Hello "), Chunk('"wörld"\n'))
_decoder = msgspec.json.Decoder(ResponseEvent)


def head_of(status: str = "in_progress") -> ResponseObject:
    return ResponseObject(
        id="resp_m",
        created_at=1,
        status=status,
        background=status == "queued",
        instructions=None,
        max_output_tokens=None,
        model="m",
        parallel_tool_calls=True,
        previous_response_id=None,
        store=False,
        temperature=0.7,
        text=ResponseTextConfig({"type": "text"}),
        tool_choice="auto",
        tools=[],
        top_logprobs=0,
        top_p=1.0,
        user=None,
        metadata={},
    )


def parsed(data: bytes) -> list[Any]:
    """The events as JSON; each is of its type, and named as it."""
    events = []
    for part in data.decode().split("\n\n")[:-1]:
        name, value = part.split("\n")
        event = json.loads(value.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert msgspec.to_builtins(_decoder.decode(value.removeprefix("data: "))) == event
        events.append(event)
    return events


def streamed(*chunks: Chunk, after: int = -1, status: str = "in_progress") -> tuple[list[Any], ResponseObject]:
    events = ResponseEvents(head_of(status), after=after)
    data = events.opening() + b"".join(events.piece(chunk) for chunk in chunks)
    end, response = events.closing(chunks[-1], completed_at=9)
    return parsed(data + end), response


def types_of(events: list[Any]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_a_text_is_built_up_in_order():
    events, response = streamed(*TEXT, LAST)

    assert types_of(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(10))
    assert "".join(event["delta"] for event in events if "delta" in event) == 'Hello "wörld"\n'
    assert events[-1]["response"] == msgspec.to_builtins(response)
    assert events[-1]["response"]["output"] == [events[-2]["item"]]
    assert response.completed_at == 9
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (3, 4, 7)


@pytest.mark.parametrize(
    "chunks",
    [
        (*TEXT, LAST),
        (*TEXT, *CALLS, Chunk("", "tool_calls", Tokens(1, 1))),
        (*CALLS, Chunk("", "tool_calls", Tokens(1, 1))),
        (Chunk("cut", "length", Tokens(1, 1)),),
        (*TEXT, *CALLS, Chunk("", "length", Tokens(1, 1))),
        (Chunk("", "content_filter", Tokens(1, 0)),),
        (Chunk("", "stop", Tokens(1, 0)),),
        (Chunk("a", logprobs=(Logprob("a", -0.5, None, (Logprob("b", -1.0, (98,)),)),)), LAST),
    ],
)
def test_a_stream_ends_with_the_response_that_a_plain_answer_is(chunks: tuple[Chunk, ...]):
    (whole,) = merged(chunks)

    plain = finished(head_of(), output_of(whole, "m"), whole, completed_at=9)

    assert streamed(*chunks)[1] == plain
    assert streamed(whole)[1] == plain


def test_a_whole_answer_in_one_chunk_is_streamed_as_well():
    calls = (ToolCall("call_1", "f", "{}", 0), ToolCall("call_2", "g", '{"a": 1}', 1))

    events, response = streamed(Chunk("text", "tool_calls", Tokens(1, 2), tool_calls=calls))

    assert [(call.id, call.call_id, call.name, call.arguments) for call in response.output[1:]] == [
        ("fc_m_1", "call_1", "f", "{}"),
        ("fc_m_2", "call_2", "g", '{"a": 1}'),
    ]
    assert types_of(events)[-5:] == [
        "function_call_arguments.done",
        "output_item.done",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]


def test_calls_end_a_text_and_a_later_text_is_another_message():
    events, response = streamed(*TEXT, *CALLS, Chunk("and"), Chunk("", "length", Tokens(1, 1)))

    assert [event["output_index"] for event in events if event["type"] == "response.output_item.added"] == [0, 1, 2]
    assert [item.id for item in response.output] == ["msg_m_0", "fc_m_1", "msg_m_2"]
    assert [item.status for item in response.output] == ["completed", "incomplete", "incomplete"]
    assert types_of(events).index("output_text.done") < types_of(events).index("function_call_arguments.delta")


def test_a_call_without_an_id_gets_one():
    _, response = streamed(Chunk("", "tool_calls", Tokens(1, 1), tool_calls=(ToolCall("", "f", "{}", 0),)))

    assert response.output[0].call_id == "call_m_0"


def test_pieces_of_two_calls_may_take_turns():
    pieces = [("a", 0, "{"), ("b", 1, "["), ("", 0, "}"), ("", 1, "]")]
    chunks = [Chunk("", tool_calls=(ToolCall(name, name, text, index),)) for name, index, text in pieces]

    _, response = streamed(*chunks, Chunk("", "tool_calls", Tokens(1, 1)))

    assert [(call.name, call.arguments) for call in response.output] == [("a", "{}"), ("b", "[]")]


def test_an_answer_without_a_word_has_its_message():
    events, response = streamed(Chunk("", "stop", Tokens(1, 0)))

    assert response.output[0].content[0].text == ""
    assert "output_text.done" in types_of(events)


def test_logprobs_are_told_with_their_pieces_and_at_the_end():
    own = Logprob("é", -0.5, None, (Logprob("é", -0.5, (195, 169)), Logprob("e", -1.0, (101,))))

    events, _ = streamed(Chunk("é", logprobs=(own,)), LAST)

    delta = next(event for event in events if event["type"] == "response.output_text.delta")
    done = next(event for event in events if event["type"] == "response.output_text.done")
    assert delta["logprobs"] == done["logprobs"]
    assert delta["logprobs"] == [
        {
            "token": "é",
            "bytes": [195, 169],
            "logprob": -0.5,
            "top_logprobs": [
                {"token": "é", "bytes": [195, 169], "logprob": -0.5},
                {"token": "e", "bytes": [101], "logprob": -1.0},
            ],
        }
    ]


@pytest.mark.parametrize("after", [-1, 0, 3, 5, 9, 99])
def test_events_up_to_a_number_are_left_out(after: int):
    chunks = (*TEXT, *CALLS, LAST)

    assert streamed(*chunks, after=after)[0] == streamed(*chunks)[0][after + 1 :]


def test_a_background_response_is_queued_first():
    events, _ = streamed(*TEXT, LAST, status="queued")

    assert types_of(events)[:3] == ["created", "queued", "in_progress"]
    assert [event["response"]["status"] for event in events[:3]] == ["queued", "queued", "in_progress"]


def test_a_stream_that_breaks_off_says_why_and_what_there_was():
    events = ResponseEvents(head_of())
    data = events.opening() + b"".join(events.piece(chunk) for chunk in (*TEXT, *CALLS))
    facts = ErrorFacts("It broke.", "server_error", None, "engines.failed")

    end, response = events.failing(ResponseError("server_error", "It broke."), facts)

    error, failed = parsed(end)
    number = parsed(data)[-1]["sequence_number"]
    assert error == {
        "type": "error",
        "code": "engines.failed",
        "message": "It broke.",
        "param": None,
        "error": {"message": "It broke.", "type": "server_error", "param": None, "code": "engines.failed"},
        "sequence_number": number + 1,
    }
    assert failed["sequence_number"] == number + 2
    assert failed["response"] == msgspec.to_builtins(response)
    assert response.status == "failed"
    assert [item.status for item in response.output] == ["completed", "incomplete"]
    assert response.output[0].content[0].text == 'Hello "wörld"\n'


def test_every_type_of_event_is_documented():
    assert set(EVENTS) == set(ResponseEvent.__args__)
