"""A chat's answer: as one object, or as chunks."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from aiservice.api.openai.answer import ChoicesReply, OpenAIUsage, encode, usage_of
from aiservice.api.openai.chat_request import ChatRequest
from aiservice.core.types import Chunk, FinishReason, Logprob, ToolCall


class ChatAlternative(msgspec.Struct):
    """A token that stood in for another, with its logarithmic probability."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None


class ChatLogprob(msgspec.Struct):
    """A token of the answer, and the likeliest in its place."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None
    top_logprobs: list[ChatAlternative]


class ChatLogprobs(msgspec.Struct):
    """The tokens of a choice."""

    content: list[ChatLogprob]
    refusal: None = None


class ChatAnsweredFunction(msgspec.Struct):
    """The function to call; `arguments` is JSON text."""

    name: str
    arguments: str


class ChatAnsweredCall(msgspec.Struct):
    """A call that the model asks for."""

    id: str
    type: Literal["function"]
    function: ChatAnsweredFunction


class ChatMessage(msgspec.Struct):
    """What the model says; `content` is null where it only calls tools."""

    role: Literal["assistant"]
    content: str | None
    refusal: None = None
    tool_calls: list[ChatAnsweredCall] | msgspec.UnsetType = msgspec.UNSET


class ChatChoiceFacts(msgspec.Struct):
    """One of the answers."""

    index: int
    message: ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatAnswer(msgspec.Struct):
    """A whole answer; `model` is the model that gave it."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoiceFacts]
    usage: OpenAIUsage
    system_fingerprint: None = None


class ChatFunctionPiece(msgspec.Struct):
    """The function of a call, or a piece of its arguments."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    arguments: str = ""


class ChatCallPiece(msgspec.Struct):
    """A piece of a call; the first of each has its id, type and name."""

    index: int
    function: ChatFunctionPiece
    id: str | msgspec.UnsetType = msgspec.UNSET
    type: Literal["function"] | msgspec.UnsetType = msgspec.UNSET


class ChatDelta(msgspec.Struct):
    """What is new in a choice."""

    role: Literal["assistant"] | msgspec.UnsetType = msgspec.UNSET
    content: str | msgspec.UnsetType = msgspec.UNSET
    tool_calls: list[ChatCallPiece] | msgspec.UnsetType = msgspec.UNSET


class ChatChunkChoice(msgspec.Struct):
    """One of the answers, as far as it is new; the last of each has its `finish_reason`."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None = None


class ChatChunk(msgspec.Struct):
    """A piece of a streamed answer; `usage` only where `stream_options.include_usage` asks for it."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: None
    choices: list[ChatChunkChoice]
    usage: OpenAIUsage | msgspec.UnsetType | None = msgspec.UNSET


class ChatReply(ChoicesReply[ChatRequest]):
    """The answer as one object, or as chunks that end with [DONE]."""

    id_begin = "chatcmpl-"
    chunk_object = "chat.completion.chunk"
    text_begin = b'"delta":{"content":'
    text_end = b"}" + ChoicesReply.text_end

    def whole(self, choices: Sequence[Chunk]) -> bytes:
        return encode(
            ChatAnswer(
                self.id,
                "chat.completion",
                self.created_s,
                self.answer.model,
                [_choice(choice) for choice in choices],
                usage_of(choices[-1].tokens),
            )
        )

    def opening(self) -> bytes:
        super().opening()
        begun = ChatDelta("assistant", "")
        return b"".join([self.event(ChatChunkChoice(index, begun)) for index in range(self.request.n or 1)])

    def choices(self, chunk: Chunk) -> list[ChatChunkChoice]:
        choices = []
        if chunk.text or chunk.logprobs:
            choices.append(ChatChunkChoice(chunk.index, ChatDelta(content=chunk.text), _logprobs(chunk.logprobs)))
        if chunk.tool_calls:
            calls = [_call_piece(call) for call in chunk.tool_calls]
            choices.append(ChatChunkChoice(chunk.index, ChatDelta(tool_calls=calls)))
        if chunk.finish_reason is not None:
            choices.append(ChatChunkChoice(chunk.index, ChatDelta(), None, chunk.finish_reason))
        return choices


def _choice(chunk: Chunk) -> ChatChoiceFacts:
    assert chunk.finish_reason is not None
    if chunk.tool_calls:
        calls = [_call(call) for call in chunk.tool_calls]
        message = ChatMessage("assistant", chunk.text or None, None, calls)
    else:
        message = ChatMessage("assistant", chunk.text)
    return ChatChoiceFacts(chunk.index, message, _logprobs(chunk.logprobs), chunk.finish_reason)


def _call(call: ToolCall) -> ChatAnsweredCall:
    return ChatAnsweredCall(call.id, "function", ChatAnsweredFunction(call.name, call.arguments))


def _call_piece(call: ToolCall) -> ChatCallPiece:
    if call.id:
        return ChatCallPiece(call.index, ChatFunctionPiece(call.name, call.arguments), call.id, "function")
    return ChatCallPiece(call.index, ChatFunctionPiece(arguments=call.arguments))


def _logprobs(logprobs: Sequence[Logprob]) -> ChatLogprobs | None:
    if not logprobs:
        return None
    return ChatLogprobs(
        [
            ChatLogprob(
                row.token,
                row.logprob,
                row.bytes,
                [ChatAlternative(other.token, other.logprob, other.bytes) for other in row.others],
            )
            for row in logprobs
        ]
    )
