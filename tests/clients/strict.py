"""Holds JSON to a vendor's own types, strictly: nothing missing, nothing of another type, no field unknown to them.

The clients themselves build their objects without a check, so that a missing field is a surprise of later.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import anthropic.types
import ollama
import openai.types.chat
import openai.types.responses
from openai.types import completion_choice
from openai.types.chat import chat_completion, chat_completion_chunk
from openai.types.responses import response_text_delta_event, response_text_done_event
from pydantic import BaseModel, TypeAdapter

# Fields that may be null but are always there: the clients' types do not tell these from optional ones.
ALWAYS: Mapping[type[BaseModel], tuple[str, ...]] = {
    chat_completion.Choice: ("logprobs",),
    chat_completion_chunk.Choice: ("finish_reason",),
    openai.types.chat.ChatCompletion: ("usage",),
    openai.types.chat.ChatCompletionMessage: ("content", "refusal"),
    completion_choice.CompletionChoice: ("logprobs",),
    openai.types.responses.Response: (
        "error",
        "incomplete_details",
        "instructions",
        "metadata",
        "status",
        "temperature",
        "text",
        "top_p",
        "usage",
    ),
    openai.types.responses.ResponseFunctionToolCall: ("id", "status"),
    anthropic.types.Message: ("stop_reason", "stop_sequence"),
    anthropic.types.raw_message_delta_event.Delta: ("stop_reason", "stop_sequence"),
    ollama.ListResponse.Model: ("model", "modified_at", "digest", "size", "details"),
    ollama.ProcessResponse.Model: ("model", "name", "digest", "expires_at", "size", "size_vram", "details"),
    ollama.ShowResponse: ("modified_at", "details", "capabilities"),
    ollama.EmbedResponse: ("model", "total_duration", "load_duration", "prompt_eval_count"),
    ollama.ChatResponse: ("model", "created_at", "done"),
    ollama.GenerateResponse: ("model", "created_at", "done", "response"),
}
# Fields that a vendor's own answers have, though its client's types do not know them.
FURTHER: Mapping[type[BaseModel], frozenset[str]] = {
    openai.types.responses.Response: frozenset({"store"}),
    openai.types.responses.ResponseErrorEvent: frozenset({"error"}),
    openai.types.responses.ResponseFunctionCallArgumentsDoneEvent: frozenset({"name"}),
    response_text_delta_event.Logprob: frozenset({"bytes"}),
    response_text_delta_event.LogprobTopLogprob: frozenset({"bytes"}),
    response_text_done_event.Logprob: frozenset({"bytes"}),
    response_text_done_event.LogprobTopLogprob: frozenset({"bytes"}),
}
# What Ollama's last line has besides.
OLLAMA_LAST = (
    "done_reason",
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
)


def held_to(form: Any, data: bytes | str) -> Any:
    """The value; raises `ValidationError` or `AssertionError` where the JSON is not of the type."""
    value = TypeAdapter(form).validate_json(data, strict=True)
    for part in models_in(value):
        missing = set(ALWAYS.get(type(part), ())) - part.model_fields_set
        assert not missing, f"{type(part).__name__} lacks {sorted(missing)}: {data!r}"
        unknown = set(part.model_extra or ()) - FURTHER.get(type(part), frozenset())
        assert not unknown, f"{type(part).__name__} knows no {sorted(unknown)}"
        if isinstance(part, ollama.ChatResponse | ollama.GenerateResponse) and part.done:
            assert set(OLLAMA_LAST) <= part.model_fields_set, data
    return value


def models_in(value: Any) -> Iterator[BaseModel]:
    """Every object of a type in a value, itself too."""
    if isinstance(value, BaseModel):
        yield value
        for name in type(value).model_fields:
            yield from models_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from models_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from models_in(part)


def sse_events(text: str) -> list[tuple[str | None, str]]:
    """The name and the data of each event; comments are left out."""
    events = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        fields = dict(line.split(": ", 1) for line in lines)
        assert set(fields) <= {"event", "data"}, block
        events.append((fields.get("event"), fields["data"]))
    return events


def ndjson_lines(text: str) -> list[str]:
    assert text.endswith("\n")
    return text.splitlines()


def keys_of(lines: Iterable[str]) -> list[set[str]]:
    return [set(json.loads(line)) for line in lines]
