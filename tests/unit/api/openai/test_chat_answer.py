"""The corridor's chunks as a chat's answer and as its chunks."""

from typing import Any

import pytest

from aiservice.api.openai.chat import ChatDoor
from aiservice.core.types import Chunk, FinishReason, Logprob, Tokens, ToolCall
from tests.unit.api.openai.doors import CREATED_S, streamed, whole

ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
SHOWN: dict[str, Any] = ASKED | {"stream": True, "stream_options": {"include_usage": True}}
TOKENS = Tokens(7, 3)
END = Chunk("", "stop", TOKENS)
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "total_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
HEAD = {"id": "chatcmpl-0190ab", "created": CREATED_S, "model": "echo", "system_fingerprint": None}
LOGPROB = Logprob("Hé", -0.5, (72, 195, 169), (Logprob("Hé", -0.5, (72, 195, 169)), Logprob("Ho", -1.5)))
SHOWN_LOGPROB = {
    "token": "Hé",
    "logprob": -0.5,
    "bytes": [72, 195, 169],
    "top_logprobs": [
        {"token": "Hé", "logprob": -0.5, "bytes": [72, 195, 169]},
        {"token": "Ho", "logprob": -1.5, "bytes": None},
    ],
}
CALLS = (ToolCall("call_1", "weather", '{"city": "Paris"}', 0), ToolCall("call_2", "time", "{}", 1))


def choices_of(*chunks: Chunk, asked: dict[str, Any] = ASKED) -> list[Any]:
    """The choice of each event after those with the roles."""
    return [event["choices"][0] for event in streamed(ChatDoor, asked, *chunks)[asked.get("n", 1) :]]


def test_a_whole_answer() -> None:
    assert whole(ChatDoor, ASKED, Chunk("Héllo\n", "stop", TOKENS)) == HEAD | {
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Héllo\n", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
    }


def test_a_whole_answer_of_several_choices() -> None:
    answer = whole(ChatDoor, ASKED | {"n": 2}, Chunk("a", "stop", index=0), Chunk("b", "length", TOKENS, 1))
    assert [
        (choice["index"], choice["message"]["content"], choice["finish_reason"]) for choice in answer["choices"]
    ] == [
        (0, "a", "stop"),
        (1, "b", "length"),
    ]
    assert answer["usage"] == USAGE


@pytest.mark.parametrize(("text", "content"), [("", None), ("Let me see.", "Let me see.")])
def test_a_whole_answer_that_calls_tools(text: str, content: str | None) -> None:
    choice = whole(ChatDoor, ASKED, Chunk(text, "tool_calls", TOKENS, tool_calls=CALLS))["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": content,
        "refusal": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}},
            {"id": "call_2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
        ],
    }


def test_a_whole_answer_with_logprobs() -> None:
    choice = whole(ChatDoor, ASKED, Chunk("Hé", "stop", TOKENS, logprobs=(LOGPROB,)))["choices"][0]
    assert choice["logprobs"] == {"content": [SHOWN_LOGPROB], "refusal": None}


def test_a_stream_begins_with_the_role_and_ends_with_the_reason() -> None:
    events = streamed(ChatDoor, ASKED, Chunk("Hé"), Chunk(""), Chunk('"\n'), END)
    assert events == [
        HEAD | {"object": "chat.completion.chunk", "choices": [choice]}
        for choice in (
            {
                "index": 0,
                "delta": {"role": "assistant", "content": ""},
                "logprobs": None,
                "finish_reason": None,
            },
            {"index": 0, "delta": {"content": "Hé"}, "logprobs": None, "finish_reason": None},
            {"index": 0, "delta": {"content": '"\n'}, "logprobs": None, "finish_reason": None},
            {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"},
        )
    ]


def test_usage_is_shown_in_a_chunk_of_its_own_and_is_null_in_the_others() -> None:
    *chunks, last = streamed(ChatDoor, SHOWN, Chunk("a"), END)
    assert [chunk["usage"] for chunk in chunks] == [None, None, None]
    assert last == HEAD | {"object": "chat.completion.chunk", "choices": [], "usage": USAGE}


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
def test_one_chunk_may_be_all(reason: FinishReason) -> None:
    text, end = choices_of(Chunk("all of it", reason, TOKENS))
    assert (text["delta"], text["finish_reason"]) == ({"content": "all of it"}, None)
    assert (end["delta"], end["finish_reason"]) == ({}, reason)


def test_calls_in_pieces() -> None:
    choices = choices_of(
        Chunk("", tool_calls=(ToolCall("call_1", "weather", "", 0),)),
        Chunk("", tool_calls=(ToolCall("", "", '{"city": ', 0),)),
        Chunk("", tool_calls=(ToolCall("", "", '"Paris"}', 0), ToolCall("call_2", "time", "{}", 1))),
        Chunk("", "tool_calls", TOKENS),
    )
    assert [choice["delta"].get("tool_calls") for choice in choices] == [
        [{"index": 0, "function": {"name": "weather", "arguments": ""}, "id": "call_1", "type": "function"}],
        [{"index": 0, "function": {"arguments": '{"city": '}}],
        [
            {"index": 0, "function": {"arguments": '"Paris"}'}},
            {"index": 1, "function": {"name": "time", "arguments": "{}"}, "id": "call_2", "type": "function"},
        ],
        None,
    ]
    assert choices[-1]["finish_reason"] == "tool_calls"


def test_one_chunk_may_have_text_calls_logprobs_and_the_end() -> None:
    text, calls, end = choices_of(Chunk("Hé", "tool_calls", TOKENS, tool_calls=CALLS, logprobs=(LOGPROB,)))
    assert text["delta"] == {"content": "Hé"}
    assert text["logprobs"] == {"content": [SHOWN_LOGPROB], "refusal": None}
    assert [call["id"] for call in calls["delta"]["tool_calls"]] == ["call_1", "call_2"]
    assert calls["logprobs"] is None
    assert end["finish_reason"] == "tool_calls"


def test_a_token_that_is_no_text_yet_has_its_logprob() -> None:
    (choice, _) = choices_of(Chunk("", logprobs=(LOGPROB,)), END)
    assert choice["delta"] == {"content": ""}
    assert choice["logprobs"]["content"] == [SHOWN_LOGPROB]


def test_several_choices_each_have_their_role_and_their_end() -> None:
    events = streamed(
        ChatDoor,
        SHOWN | {"n": 2},
        Chunk("b", index=1),
        Chunk("a", index=0),
        Chunk("", "length", index=1),
        Chunk("c", "stop", TOKENS, index=0),
    )
    *chunks, last = events
    assert last["choices"] == []
    said = [
        (choice["index"], choice["delta"], choice["finish_reason"]) for chunk in chunks for choice in chunk["choices"]
    ]
    assert said == [
        (0, {"role": "assistant", "content": ""}, None),
        (1, {"role": "assistant", "content": ""}, None),
        (1, {"content": "b"}, None),
        (0, {"content": "a"}, None),
        (1, {}, "length"),
        (0, {"content": "c"}, None),
        (0, {}, "stop"),
    ]
