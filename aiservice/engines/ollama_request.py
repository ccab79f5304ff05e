"""A generation in the form of Ollama's own API.

It knows no choice among tools: where none may be called it is offered none; see `forced_calls` for those that must be.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aiservice.core.errors import EngineRefused
from aiservice.core.types import Generation, Message, ToolCall
from aiservice.engines.chat_request import tool_definition

_OPTIONS = ("top_p", "seed", "top_k", "frequency_penalty", "presence_penalty")
_encoder = msgspec.json.Encoder()


def chat_body(model: str, generation: Generation) -> bytes:
    """The request; raises `EngineRefused` for what Ollama cannot be asked."""
    options: dict[str, Any] = {"temperature": generation.temperature, "num_predict": generation.max_tokens}
    for name in _OPTIONS:
        if (value := getattr(generation, name)) is not None:
            options[name] = value
    if generation.stop:
        options["stop"] = generation.stop
    body = {"model": model, "messages": _messages(generation.messages), "stream": generation.stream, "options": options}
    if tools := _tools(generation):
        body["tools"] = tools
    if generation.logprobs is not None:
        body.update(logprobs=True, top_logprobs=generation.logprobs)
    if (answer_format := _format(generation.response_format)) is not None:
        body["format"] = answer_format
    return _encoder.encode(body)


def _messages(messages: Sequence[Message]) -> Sequence[Message | Mapping[str, Any]]:
    """The conversation in Ollama's form; that of a text is our own."""
    if all(message.is_text for message in messages):
        return messages
    names = {call.id: call.name for message in messages for call in message.tool_calls if call.id}
    return [message if message.is_text else _message(message, names) for message in messages]


def _message(message: Message, names: Mapping[str, str]) -> Mapping[str, Any]:
    """A message with more than text: pictures bare, arguments as objects, results told by their tools' names."""
    converted: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.images:
        converted["images"] = [_picture(image.url) for image in message.images]
    if message.tool_calls:
        converted["tool_calls"] = [
            {"id": call.id, "function": {"index": call.index, "name": call.name, "arguments": _arguments(call)}}
            for call in message.tool_calls
        ]
    if (name := message.tool_name or names.get(message.tool_call_id or "")) is not None:
        converted["tool_name"] = name
    if message.tool_call_id is not None:
        converted["tool_call_id"] = message.tool_call_id
    return converted


def _picture(url: str) -> str:
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        raise EngineRefused("Ollama fetches no pictures from addresses; send the picture as a base64 data URL.")
    return data


def _arguments(call: ToolCall) -> Any:
    try:
        arguments = msgspec.json.decode(call.arguments or "{}")
    except msgspec.DecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise EngineRefused("A message has a tool call whose arguments are no JSON object, which Ollama does not take.")
    return arguments


def _tools(generation: Generation) -> list[dict[str, Any]]:
    choice = generation.tool_choice
    is_none = choice is not None and choice.mode == "none"
    return [] if is_none else [tool_definition(tool) for tool in generation.tools]


def _format(response_format: Mapping[str, Any] | None) -> Any:
    """OpenAI's response_format in Ollama's words: `json`, or the schema itself."""
    if response_format is None:
        return None
    if response_format.get("type") == "json_schema":
        return (response_format.get("json_schema") or {}).get("schema")
    return "json" if response_format.get("type") == "json_object" else None
