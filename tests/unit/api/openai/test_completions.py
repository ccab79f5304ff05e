"""The older door: its prompt as a generation, chunks as its answer."""

from typing import Any

import pytest

from aiservice.api.openai.completions import CompletionDoor
from aiservice.core.types import Chunk, Generation, Logprob, Message, Tokens, ToolCall
from tests.unit.api.openai.doors import CREATED_S, asked, refused, streamed, whole

ASKED: dict[str, Any] = {"prompt": "Hi"}
TOKENS = Tokens(7, 3)
HEAD = {
    "id": "cmpl-0190ab",
    "object": "text_completion",
    "created": CREATED_S,
    "model": "echo",
    "system_fingerprint": None,
}
ROWS = (Logprob("Hé", -0.5, None, (Logprob("Ho", -0.25), Logprob("Ha", -0.75))), Logprob("y", -1.0))


def read(**fields: Any) -> Generation:
    found = asked(CompletionDoor, ASKED | fields)
    assert isinstance(found, Generation)
    return found


def test_a_prompt_is_a_message_of_the_users() -> None:
    assert read().messages == (Message("user", "Hi"),)
    assert read(prompt=["Hi"]) == read()
    assert read(logprobs=5).logprobs == 5
    assert (read(n=3, best_of=3).n, read(best_of=1).n) == (3, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"echo": False, "suffix": "", "best_of": None, "tools": [], "response_format": {"type": "text"}},
        {"echo": None, "suffix": None, "user": "ann", "logit_bias": {}},
    ],
)
def test_what_says_nothing_here_changes_nothing(fields: dict[str, Any]) -> None:
    assert read(**fields) == read()


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"prompt": ["a", "b"]}, "prompt", "one a request"),
        ({"prompt": []}, "prompt", "0 texts"),
        ({"prompt": [1, 2]}, "prompt", "token ids"),
        ({"prompt": [[1, 2]]}, "prompt", "token ids"),
        ({"prompt": ["a", [1]]}, "prompt", "token ids"),
        ({"prompt": None}, "prompt", "null"),
        ({"prompt": ""}, "prompt", "empty"),
        ({"prompt": "a\0"}, "prompt", "U+0000"),
        ({"echo": True}, "echo", "not supported"),
        ({"suffix": "."}, "suffix", "not supported"),
        ({"tools": [{"type": "function"}]}, "tools", "/v1/chat/completions"),
        ({"response_format": {"type": "json_object"}}, "response_format", "/v1/chat/completions"),
        ({"best_of": 2}, "best_of", "n"),
        ({"n": 3, "best_of": 2}, "best_of", "n"),
        ({"logprobs": 6}, "logprobs", "5"),
        ({"logprobs": -1}, "logprobs", "0"),
        ({"logprobs": True}, "logprobs", "int"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(fields: dict[str, Any], param: str, words: str) -> None:
    error = refused(CompletionDoor, ASKED | fields)
    assert error.param == param
    assert words in error.public


def test_a_whole_answer() -> None:
    answer = whole(CompletionDoor, ASKED, Chunk("Héy", "length", TOKENS))
    assert answer.pop("usage")["total_tokens"] == 10
    choice = {"index": 0, "text": "Héy", "logprobs": None, "finish_reason": "length"}
    assert answer == HEAD | {"choices": [choice]}


def test_a_call_that_nobody_asked_for_is_an_ordinary_end() -> None:
    chunk = Chunk("", "tool_calls", TOKENS, tool_calls=(ToolCall("a", "b", "{}"),))
    assert whole(CompletionDoor, ASKED, chunk)["choices"][0]["finish_reason"] == "stop"


def test_logprobs_stand_side_by_side_with_the_token_among_the_likeliest() -> None:
    answer = whole(CompletionDoor, ASKED | {"logprobs": 2}, Chunk("Héy", "stop", TOKENS, logprobs=ROWS))
    assert answer["choices"][0]["logprobs"] == {
        "tokens": ["Hé", "y"],
        "token_logprobs": [-0.5, -1.0],
        "top_logprobs": [{"Ho": -0.25, "Ha": -0.75, "Hé": -0.5}, {"y": -1.0}],
        "text_offset": [0, 2],
    }


def test_logprobs_without_others() -> None:
    answer = whole(CompletionDoor, ASKED | {"logprobs": 0}, Chunk("Héy", "stop", TOKENS, logprobs=ROWS))
    assert answer["choices"][0]["logprobs"]["top_logprobs"] is None
    assert answer["choices"][0]["logprobs"]["token_logprobs"] == [-0.5, -1.0]


def test_a_stream() -> None:
    events = streamed(CompletionDoor, ASKED, Chunk("Hé"), Chunk("y"), Chunk("", "stop", TOKENS))
    assert events == [
        HEAD | {"choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": reason}]}
        for text, reason in (("Hé", None), ("y", None), ("", "stop"))
    ]


def test_a_stream_with_usage_and_all_in_one_chunk() -> None:
    body = ASKED | {"stream_options": {"include_usage": True}}
    chunk, usage = streamed(CompletionDoor, body, Chunk("all", "stop", TOKENS))
    assert (chunk["choices"][0]["text"], chunk["choices"][0]["finish_reason"], chunk["usage"]) == ("all", "stop", None)
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 3


def test_offsets_go_on_through_the_stream_of_each_choice() -> None:
    one, other = Logprob("ab", -1.0), Logprob("cde", -2.0)
    events = streamed(
        CompletionDoor,
        ASKED | {"n": 2, "logprobs": 1},
        Chunk("ab", logprobs=(one,), index=0),
        Chunk("cde", logprobs=(other,), index=1),
        Chunk("cde", logprobs=(other,), index=0),
        Chunk("ab", "stop", logprobs=(one,), index=1),
        Chunk("", "stop", TOKENS, index=0),
    )
    told = [(choice["index"], choice["logprobs"]) for event in events for choice in event["choices"]]
    assert [(index, rows["text_offset"]) for index, rows in told[:-1]] == [(0, [0]), (1, [0]), (0, [2]), (1, [3])]
    assert told[-1] == (0, None)
