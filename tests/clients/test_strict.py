"""Whether the strict check is strict: an answer in which anything is missing or wrong fails."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion
from pydantic import ValidationError

from tests.clients.strict import held_to, sse_events

pytestmark = pytest.mark.clients

WHOLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "echo",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hi", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each field of an object, however deep."""
    if isinstance(value, dict):
        return [found for key, part in value.items() for found in [(*path, key), *paths_in(part, (*path, key))]]
    if isinstance(value, list):
        return [found for row, part in enumerate(value) for found in paths_in(part, (*path, row))]
    return []


def changed(path: tuple[Any, ...], *value: Any) -> str:
    """The answer without that field, or with the value there."""
    copy = json.loads(json.dumps(WHOLE))
    holder = copy
    for step in path[:-1]:
        holder = holder[step]
    if value:
        holder[path[-1]] = value[0]
    else:
        del holder[path[-1]]
    return json.dumps(copy)


def test_a_whole_answer_is_taken():
    assert held_to(ChatCompletion, json.dumps(WHOLE)).id == "chatcmpl-1"


@pytest.mark.parametrize("path", paths_in(WHOLE), ids=lambda path: ".".join(map(str, path)))
def test_a_missing_field_is_found(path: tuple[Any, ...]):
    with pytest.raises((AssertionError, ValidationError)):
        held_to(ChatCompletion, changed(path))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("created",), "1"),
        (("object",), "chat.completion.chunk"),
        (("usage", "prompt_tokens"), "1"),
        (("choices", 0, "finish_reason"), "done"),
        (("choices", 0, "message", "role"), "user"),
        (("choices", 0, "message", "contents"), "Hi"),
        (("usages",), None),
    ],
)
def test_a_foreign_value_and_an_unknown_field_are_found(path: tuple[Any, ...], value: Any):
    with pytest.raises((AssertionError, ValidationError)):
        held_to(ChatCompletion, changed(path, value))


def test_events_are_cut_at_empty_lines():
    assert sse_events(': ping\n\nevent: a\ndata: {"b": 1}\n\ndata: [DONE]\n\n') == [
        ("a", '{"b": 1}'),
        (None, "[DONE]"),
    ]
