"""A generation in OpenAI's form, as llama.cpp, vLLM and the clouds take it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aiservice.core.types import Generation, Message, Tool, ToolCall

NO_ARGUMENTS = "{}"
# Fields that are called the same here and there, and left out where the caller left them open.
_OPTIONAL = ("top_p", "seed", "response_format", "top_k", "frequency_penalty", "presence_penalty")
_encoder = msgspec.json.Encoder()


def chat_body(model: str, generation: Generation, *, is_streamed: bool) -> bytes:
    """The request in OpenAI's form; what the caller left open is left open."""
    body: dict[str, Any] = {
        "model": model,
        "messages": messages_of(generation.messages),
        "temperature": generation.temperature,
        "max_tokens": generation.max_tokens,
        "stream": is_streamed,
    }
    if is_streamed:
        body["stream_options"] = {"include_usage": True}
    if generation.stop:
        body["stop"] = generation.stop
    for name in _OPTIONAL:
        if (value := getattr(generation, name)) is not None:
            body[name] = value
    if generation.tools:
        body.update(_tools(generation))
    if generation.logprobs is not None:
        # One at least: llama.cpp tells the token's own only beside others.
        body.update(logprobs=True, top_logprobs=max(1, generation.logprobs))
    return _encoder.encode(body)


def messages_of(messages: Sequence[Message]) -> Sequence[Message | Mapping[str, Any]]:
    """The conversation in OpenAI's form; that of a text is our own.

    Calls and results that came without ids are given some, in order: here each result must name its call.
    """
    if all(message.is_text for message in messages):
        return messages
    converted: list[Message | Mapping[str, Any]] = []
    unanswered: list[ToolCall] = []
    for row, message in enumerate(messages):
        if message.tool_calls:
            unanswered = [_identified(call, row) for call in message.tool_calls]
            converted.append(_calling(message.content, unanswered))
        elif message.role == "tool":
            converted.append(_result(message, unanswered))
        elif message.images:
            converted.append({"role": message.role, "content": _parts(message)})
        else:
            converted.append(message)
    return converted


def tool_definition(tool: Tool) -> dict[str, Any]:
    """A tool as OpenAI's and Ollama's requests have it."""
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _tools(generation: Generation) -> dict[str, Any]:
    fields: dict[str, Any] = {"tools": [tool_definition(tool) for tool in generation.tools]}
    choice = generation.tool_choice
    if choice is not None:
        named = {"type": "function", "function": {"name": choice.name}}
        fields["tool_choice"] = choice.mode if choice.name is None else named
        if choice.is_parallel is not None:
            fields["parallel_tool_calls"] = choice.is_parallel
    return fields


def _identified(call: ToolCall, row: int) -> ToolCall:
    return call if call.id else msgspec.structs.replace(call, id=f"call_{row}_{call.index}")


def _calling(content: str, calls: Sequence[ToolCall]) -> Mapping[str, Any]:
    rows = [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments or NO_ARGUMENTS},
        }
        for call in calls
    ]
    return {"role": "assistant", "content": content or None, "tool_calls": rows}


def _result(message: Message, unanswered: list[ToolCall]) -> Mapping[str, Any]:
    """A tool's result; takes its call out of those that wait for theirs."""
    call = next((call for call in unanswered if message.tool_call_id == call.id), None)
    if call is None and message.tool_call_id is None:
        named = (call for call in unanswered if message.tool_name in (None, call.name))
        call = next(named, None)
    if call is not None:
        unanswered.remove(call)
    result = {"role": "tool", "content": message.content, "tool_call_id": message.tool_call_id or (call and call.id)}
    name = message.tool_name or (call and call.name)
    return {**result, "name": name} if name else result


def _parts(message: Message) -> list[Mapping[str, Any]]:
    pictures: list[Mapping[str, Any]] = [
        {"type": "image_url", "image_url": {"url": image.url}} for image in message.images
    ]
    return [{"type": "text", "text": message.content}, *pictures] if message.content else pictures
