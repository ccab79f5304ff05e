"""Calls that a model must make, of engines that cannot be told so: llama.cpp and Ollama.

Ollama knows no choice among tools; llama.cpp holds a model to a call only where it knows the form of calls from the
model's template, and says nothing where it does not. Both hold it to a JSON schema by a grammar, so that they are
asked for the call as JSON: one call an answer.
"""

import re
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from aiservice.core.types import Chunk, Generation, Message, Tool, ToolCall

ID_BYTES = 12
_PREAMBLE = "Answer with a call of one of these functions, as JSON with its name and its arguments:"
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
# The grammar keeps the order of the properties.
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*"([^"]*)"\s*,\s*"arguments"\s*:\s*')
# The brace around the call, unless more comes.
_LAST_BRACE = re.compile(r"\s*\}\s*$")
_encoder = msgspec.json.Encoder()


def is_call_forced(generation: Generation) -> bool:
    choice = generation.tool_choice
    return bool(generation.tools) and choice is not None and choice.mode == "required"


def asked_as_json(generation: Generation) -> Generation:
    """The same generation with its tools as a system text and a schema; without logprobs, which calls have none of."""
    choice = generation.tool_choice
    name = None if choice is None else choice.name
    tools = [tool for tool in generation.tools if name in (None, tool.name)]
    return msgspec.structs.replace(
        generation,
        messages=_told(generation.messages, tools),
        tools=(),
        tool_choice=None,
        logprobs=None,
        response_format={"type": "json_schema", "json_schema": {"name": "call", "schema": _schema(tools)}},
    )


async def calls_of(chunks: AsyncGenerator[Chunk]) -> AsyncGenerator[Chunk]:
    """The JSON of `asked_as_json` as the pieces of a call, as it comes; what is no call stays text."""
    said, is_begun = "", False
    async with aclosing(chunks):
        async for chunk in chunks:
            said += chunk.text
            if not is_begun and (head := _HEAD.match(said)) is not None:
                yield _piece(ToolCall(f"call_{secrets.token_hex(ID_BYTES)}", head[1], ""))
                said, is_begun = said[head.end() :], True
            if is_begun:
                arguments = _LAST_BRACE.sub("", said)
                said = said[len(arguments) :]
                if arguments:
                    yield _piece(ToolCall("", "", arguments))
            if chunk.is_last:
                if said and not is_begun:
                    yield Chunk(said)
                is_called = is_begun and chunk.finish_reason == "stop"
                yield Chunk("", "tool_calls" if is_called else chunk.finish_reason, chunk.tokens)


def _piece(call: ToolCall) -> Chunk:
    return Chunk("", tool_calls=(call,))


def _told(messages: Sequence[Message], tools: Sequence[Tool]) -> tuple[Message, ...]:
    rows = [{"name": tool.name, "description": tool.description, "parameters": tool.parameters} for tool in tools]
    told = "\n".join([_PREAMBLE, *(_encoder.encode(row).decode() for row in rows)])
    if messages[0].role == "system":
        return (Message("system", f"{messages[0].content}\n\n{told}"), *messages[1:])
    return (Message("system", told), *messages)


def _schema(tools: Sequence[Tool]) -> Mapping[str, Any]:
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": {"$ref": f"#/$defs/{tool.name}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    parameters = {tool.name: _moved(tool.parameters or _NO_PARAMETERS, f"#/$defs/{tool.name}") for tool in tools}
    return {"anyOf": calls, "$defs": parameters}


def _moved(schema: Any, to: str) -> Any:
    """A schema as a part of another document: what it refers to inside itself has moved with it."""
    if isinstance(schema, Mapping):
        return {
            key: to + part[1:] if key == "$ref" and isinstance(part, str) and part.startswith("#") else _moved(part, to)
            for key, part in schema.items()
        }
    return [_moved(part, to) for part in schema] if isinstance(schema, list) else schema
