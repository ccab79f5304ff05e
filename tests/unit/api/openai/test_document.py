"""What the OpenAPI document says of the doors' streams and answers holds for what they send."""

import json
from typing import Any

import jsonschema_rs
import pytest

from aiservice.api import openapi
from aiservice.api.openai.chat import ChatDoor
from aiservice.api.openai.completions import CompletionDoor
from aiservice.api.openai.embeddings import EmbeddingDoor
from aiservice.core.types import Chunk, Logprob, Tokens, ToolCall
from tests.unit.api.openai.doors import streamed, whole

TOKENS = Tokens(7, 3)
LOGPROB = Logprob("a", -0.5, None, (Logprob("b", -1.5, (98,)),))
PIECES = (
    Chunk("a", logprobs=(LOGPROB,)),
    Chunk("", tool_calls=(ToolCall("call_1", "f", "", 0),)),
    Chunk("", tool_calls=(ToolCall("", "", "{}", 0),)),
    Chunk("b", "stop", TOKENS),
)
SHOWN = {"stream": True, "stream_options": {"include_usage": True}}
DOORS = [
    pytest.param(ChatDoor, {"messages": [{"role": "user", "content": "Hi"}]}, id="chat"),
    pytest.param(CompletionDoor, {"prompt": "Hi", "logprobs": 1}, id="completions"),
]


def validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    whole_schema = {**schema, "components": openapi.document()["components"]}
    return jsonschema_rs.validator_for(whole_schema)


def content(path: str, media_type: str) -> dict[str, Any]:
    schema: dict[str, Any] = openapi.document()["paths"][path]["post"]["responses"]["200"]["content"][media_type][
        "schema"
    ]
    return schema


@pytest.mark.parametrize(("door", "body"), DOORS)
@pytest.mark.parametrize("options", [{}, SHOWN])
def test_every_event_is_of_the_documented_form(door: Any, body: dict[str, Any], options: dict[str, Any]) -> None:
    documented = content(door.path, "text/event-stream")
    event, (done, data) = validator(documented), documented["properties"]["data"]["anyOf"]
    assert done == {"const": "[DONE]"}
    piece = validator(data["contentSchema"])
    events = streamed(door, body | options, *PIECES)
    assert len(events) >= len(PIECES)
    for said in events:
        event.validate({"data": json.dumps(said)})
        piece.validate(said)
    piece.validate({"error": {"message": "a", "type": "b", "param": None, "code": None}})
    with pytest.raises(jsonschema_rs.ValidationError):
        piece.validate({"id": "a"})


@pytest.mark.parametrize(("door", "body"), DOORS)
def test_every_answer_is_of_the_documented_form(door: Any, body: dict[str, Any]) -> None:
    documented = validator(content(door.path, "application/json"))
    call = (ToolCall("call_1", "f", "{}"),)
    documented.validate(whole(door, body, Chunk("a", "stop", TOKENS, tool_calls=call, logprobs=(LOGPROB,))))
    documented.validate(whole(door, body, Chunk("a", "stop"), Chunk("b", "length", TOKENS, 1)))


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_vectors_are_of_the_documented_form(encoding: str) -> None:
    body = {"model": "m", "input": "a", "encoding_format": encoding}
    chunk = Chunk("", "stop", TOKENS, vectors=(b"\0\0\x80?",))
    validator(content(EmbeddingDoor.path, "application/json")).validate(whole(EmbeddingDoor, body, chunk))
