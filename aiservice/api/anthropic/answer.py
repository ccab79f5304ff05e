"""Anthropic's message, whole and as the events of a stream: all that the types of its client 2.13 require."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from aiservice.api.answers import arguments_of
from aiservice.core.types import Chunk, FinishReason, Tokens

StopReason = Literal["end_turn", "max_tokens", "tool_use", "refusal"]
# A stop sequence ends a turn like any other end: engines do not tell the two apart, nor which sequence it was.
STOP_REASONS: Mapping[FinishReason, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}


class MessageUsage(msgspec.Struct):
    """Token counts as the engine gave them. Nothing is read from or written to Anthropic's prompt cache."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    service_tier: Literal["standard"] = "standard"


class MessageText(msgspec.Struct, tag_field="type", tag="text"):
    text: str
    citations: None = None


class MessageToolUse(msgspec.Struct, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: dict[str, Any]


MessageBlock = MessageText | MessageToolUse


class MessageAnswer(msgspec.Struct, tag_field="type", tag="message"):
    """A whole answer; `model` is the model that gave it. `stop_sequence` is null: engines do not tell it."""

    id: str
    model: str
    content: list[MessageBlock]
    stop_reason: StopReason | None
    usage: MessageUsage
    stop_sequence: None = None
    role: Literal["assistant"] = "assistant"


class MessageStart(msgspec.Struct, tag_field="type", tag="message_start"):
    """The message before its content. `usage.input_tokens` is 0 where the engine has not counted yet."""

    message: MessageAnswer


class MessagePing(msgspec.Struct, tag_field="type", tag="ping"):
    """Says nothing."""


class MessageBlockStart(msgspec.Struct, tag_field="type", tag="content_block_start"):
    index: int
    content_block: MessageBlock


class MessageTextDelta(msgspec.Struct, tag_field="type", tag="text_delta"):
    text: str


class MessageInputDelta(msgspec.Struct, tag_field="type", tag="input_json_delta"):
    """A piece of a call's input: the pieces of a block make one JSON object."""

    partial_json: str


class MessageBlockDelta(msgspec.Struct, tag_field="type", tag="content_block_delta"):
    index: int
    delta: MessageTextDelta | MessageInputDelta


class MessageBlockStop(msgspec.Struct, tag_field="type", tag="content_block_stop"):
    index: int


class MessageStopFacts(msgspec.Struct):
    """Why the message ended."""

    stop_reason: StopReason
    stop_sequence: None = None


class MessageDeltaUsage(msgspec.Struct):
    """The exact counts of the whole message."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0


class MessageDelta(msgspec.Struct, tag_field="type", tag="message_delta"):
    """The end of the message: its reason and its counts."""

    delta: MessageStopFacts
    usage: MessageDeltaUsage


class MessageStop(msgspec.Struct, tag_field="type", tag="message_stop"):
    """The last event of a stream."""


EVENTS = (
    MessageStart,
    MessagePing,
    MessageBlockStart,
    MessageBlockDelta,
    MessageBlockStop,
    MessageDelta,
    MessageStop,
)


def whole_message(choices: Sequence[Chunk], *, id: str, model: str) -> MessageAnswer:
    """The one choice of an answer as a message; a text that is empty has no block."""
    choice = choices[0]
    assert choice.tokens is not None
    content: list[MessageBlock] = [MessageText(choice.text)] if choice.text else []
    content += [MessageToolUse(call.id, call.name, arguments_of(call)) for call in choice.tool_calls]
    usage = MessageUsage(choice.tokens.prompt, choice.tokens.completion)
    return MessageAnswer(id, model, content, stop_reason(choice), usage)


def stop_reason(last: Chunk) -> StopReason:
    assert last.finish_reason is not None
    return STOP_REASONS[last.finish_reason]


def message_end(last: Chunk) -> MessageDelta:
    tokens = last.tokens
    assert tokens is not None
    return MessageDelta(MessageStopFacts(stop_reason(last)), MessageDeltaUsage(tokens.prompt, tokens.completion))


def message_begin(tokens: Tokens | None, *, id: str, model: str) -> MessageStart:
    """`tokens` where they are known already, of an answer that was kept."""
    usage = MessageUsage(0 if tokens is None else tokens.prompt, 0)
    return MessageStart(MessageAnswer(id, model, [], None, usage))
