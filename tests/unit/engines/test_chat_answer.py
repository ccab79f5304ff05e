import json
import re

import pytest

from aiservice.core.types import Chunk, Generation, Logprob, Message, Tokens, ToolCall
from aiservice.engines import EstimatedTokens
from aiservice.engines.chat_answer import CallPieces, Delta, decode_event, finish_reason, whole_chunk

ASKED = Generation("m", (Message("user", "One two three four."),), temperature=0.0, max_tokens=50, logprobs=2)


def pieces_of(*pieces: object) -> list[ToolCall]:
    """What becomes of an engine's pieces of calls, each in an event of its own, and of the end of the answer."""
    calls = CallPieces()
    events = [{"choices": [{"delta": {"tool_calls": [piece]}}]} for piece in pieces]
    told: list[ToolCall] = []
    for event in events:
        delta = decode_event(json.dumps(event).encode()).choices[0].delta
        assert isinstance(delta, Delta)
        told += calls.take(delta.tool_calls or ())
    return [*told, *calls.rest()]


def piece(index: int | None, id_: str | None, name: str | None, arguments: object = None) -> dict[str, object]:
    return {"index": index, "id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_calls_in_pieces():
    told = pieces_of(
        piece(0, "a", "add", ""), piece(0, None, None, '{"x":'), piece(0, None, None, "1}"), piece(1, "b", "now", "{}")
    )

    assert told == [
        ToolCall("a", "add", "", 0),
        ToolCall("", "", '{"x":', 0),
        ToolCall("", "", "1}", 0),
        ToolCall("b", "now", "{}", 1),
    ]


@pytest.mark.parametrize("index", [None, 0])
def test_whole_calls_with_no_index_or_all_with_the_same(index: int | None):
    told = pieces_of(piece(index, "a", "add", '{"x":1}'), piece(index, "b", "add", {"x": 2}))

    assert told == [ToolCall("a", "add", '{"x":1}', 0), ToolCall("b", "add", '{"x":2}', 1)]


def test_calls_with_neither_index_nor_id():
    first, second = pieces_of(piece(None, None, "add", {"x": 1}), piece(None, "", "add", {"x": 2}))

    assert [(call.index, call.arguments) for call in (first, second)] == [(0, '{"x":1}'), (1, '{"x":2}')]
    assert first.id != second.id
    assert all(re.fullmatch("call_[0-9a-f]{24}", call.id) for call in (first, second))


@pytest.mark.parametrize("id_", ["a", None, "another"])
def test_a_piece_goes_on_though_it_has_an_id_again(id_: str | None):
    """Some give each piece the call's id, and some an id of its own."""
    told = pieces_of(piece(3, "a", "add", ""), piece(3, id_, None, '{"x":1}'))

    assert told == [ToolCall("a", "add", "", 0), ToolCall("", "", '{"x":1}', 0)]


def test_a_name_that_is_said_again_is_left_out():
    assert pieces_of(piece(0, "a", "add", "{"), piece(0, "a", "add", "}")) == [
        ToolCall("a", "add", "{", 0),
        ToolCall("", "", "}", 0),
    ]


def test_calls_without_arguments_have_empty_ones():
    assert pieces_of(piece(0, "a", "now"), piece(0, None, None, ""), piece(1, "b", "now", "")) == [
        ToolCall("a", "now", "", 0),
        ToolCall("b", "now", "", 1),
        ToolCall("", "", "{}", 0),
        ToolCall("", "", "{}", 1),
    ]


def test_a_plain_answer_with_all_there_can_be():
    top = [
        {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]},
        {"token": "Ho", "logprob": -1},
        {"token": "x", "logprob": -9},
    ]
    body = {
        "choices": [
            {
                "message": {"role": "assistant", "content": "Hi", "tool_calls": [piece(None, "a", "now", "")]},
                "finish_reason": "tool_calls",
                "logprobs": {"content": [{**top[0], "top_logprobs": top}]},
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }

    assert whole_chunk(json.dumps(body).encode(), "openai", ASKED) == Chunk(
        "Hi",
        "tool_calls",
        Tokens(3, 2),
        tool_calls=(ToolCall("a", "now", "{}", 0),),
        logprobs=(Logprob("Hi", -0.5, (72, 105), (Logprob("Hi", -0.5, (72, 105)), Logprob("Ho", -1.0))),),
    )


def test_calls_count_where_the_engine_does_not():
    body = {"choices": [{"message": {"tool_calls": [piece(None, "a", "now", '{"x":123}')]}}]}

    assert whole_chunk(json.dumps(body).encode(), "openai", ASKED).tokens == EstimatedTokens(4, 3)


@pytest.mark.parametrize(
    ("theirs", "ours", "with_calls"),
    [
        ("stop", "stop", "tool_calls"),
        ("length", "length", "length"),
        ("tool_calls", "stop", "tool_calls"),
        ("function_call", "stop", "tool_calls"),
        ("content_filter", "content_filter", "content_filter"),
        ("eos", "stop", "tool_calls"),
        (None, "stop", "tool_calls"),
    ],
)
def test_finish_reasons(theirs: str | None, ours: str, with_calls: str):
    assert finish_reason(theirs) == ours
    assert finish_reason(theirs, has_calls=True) == with_calls
