"""The response as OpenAI's clients read it, and what it is made of."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from aiservice.core.types import Chunk, FinishReason, Logprob, Tokens, ToolCall

ResponseStatus = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
ItemStatus = Literal["in_progress", "completed", "incomplete"]
ErrorCode = Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
_INCOMPLETE: Mapping[FinishReason, Literal["max_output_tokens", "content_filter"]] = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
}


class ResponseTopLogprob(msgspec.Struct):
    """One of the likeliest tokens in a token's place."""

    token: str
    bytes: Sequence[int]
    logprob: float


class ResponseLogprob(msgspec.Struct):
    """A token's logarithmic probability."""

    token: str
    bytes: Sequence[int]
    logprob: float
    top_logprobs: list[ResponseTopLogprob]


class ResponseOutputText(msgspec.Struct, tag_field="type", tag="output_text"):
    """A text of the model."""

    text: str
    annotations: list[Any] = []
    logprobs: list[ResponseLogprob] = []


class ResponseOutputMessage(msgspec.Struct, tag_field="type", tag="message"):
    """What the model says."""

    id: str
    status: ItemStatus
    content: list[ResponseOutputText]
    role: Literal["assistant"] = "assistant"


class ResponseFunctionCall(msgspec.Struct, tag_field="type", tag="function_call"):
    """A function that the model asks to have called; `arguments` is JSON text."""

    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


ResponseOutput = ResponseOutputMessage | ResponseFunctionCall


class ResponseTool(msgspec.Struct):
    """A function that the model may ask to have called; `parameters` is a JSON schema."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseToolChoice(msgspec.Struct):
    """The function that the model must ask to have called."""

    type: str
    name: str | None = None


class ResponseTextConfig(msgspec.Struct):
    """The form of the answer's text: `text`, `json_object` or `json_schema`."""

    format: dict[str, Any]


class ResponseReasoning(msgspec.Struct):
    """Reasoning is not steered here."""

    effort: str | None = None
    summary: str | None = None


class ResponseInputDetails(msgspec.Struct):
    """Tokens of an engine's prompt cache are not told apart."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class ResponseOutputDetails(msgspec.Struct):
    """Tokens of reasoning are not told apart."""

    reasoning_tokens: int = 0


class ResponseUsage(msgspec.Struct):
    """Token counts as the engine gave them."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: ResponseInputDetails = msgspec.field(default_factory=ResponseInputDetails)
    output_tokens_details: ResponseOutputDetails = msgspec.field(default_factory=ResponseOutputDetails)


class ResponseError(msgspec.Struct):
    """Why the response failed."""

    code: ErrorCode
    message: str


class ResponseIncomplete(msgspec.Struct):
    """Why the answer ends before its end."""

    reason: Literal["max_output_tokens", "content_filter"]


class ResponseObject(msgspec.Struct, kw_only=True):
    """A response: what was asked, how far it is, and what the model said. Times are seconds since the epoch."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: ResponseStatus
    completed_at: int | None = None
    background: bool
    error: ResponseError | None = None
    incomplete_details: ResponseIncomplete | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None = None
    model: str
    output: list[ResponseOutput] = []
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: ResponseReasoning = msgspec.field(default_factory=ResponseReasoning)
    service_tier: Literal["default"] = "default"
    store: bool
    temperature: float
    text: ResponseTextConfig
    tool_choice: Literal["none", "auto", "required"] | ResponseToolChoice
    tools: list[ResponseTool]
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None
    user: str | None
    metadata: dict[str, str]

    @property
    def mark(self) -> str:
        """What the ids of all that belongs to it are made of."""
        return self.id.removeprefix("resp_")


def finished(head: ResponseObject, output: list[ResponseOutput], last: Chunk, *, completed_at: int) -> ResponseObject:
    """The response with its answer, of which `last` has the finish reason and the tokens."""
    assert last.finish_reason is not None
    assert last.tokens is not None
    reason = _INCOMPLETE.get(last.finish_reason)
    return msgspec.structs.replace(
        head,
        status="completed" if reason is None else "incomplete",
        completed_at=completed_at if reason is None else None,
        incomplete_details=None if reason is None else ResponseIncomplete(reason),
        output=output,
        usage=_usage(last.tokens),
    )


def output_of(choice: Chunk, mark: str) -> list[ResponseOutput]:
    """The items of a whole answer: what the model says, then what it calls. There is always one at least."""
    assert choice.finish_reason is not None
    status, ended = item_status(choice.finish_reason), item_status("stop")
    output: list[ResponseOutput] = []
    if choice.text or not choice.tool_calls:
        text = ResponseOutputText(choice.text, [], logprobs_of(choice.logprobs))
        output.append(ResponseOutputMessage(f"msg_{mark}_0", ended if choice.tool_calls else status, [text]))
    for call in choice.tool_calls:
        output.append(function_call(call, mark, len(output), status=status))
    return output


def function_call(call: ToolCall, mark: str, row: int, *, status: ItemStatus) -> ResponseFunctionCall:
    """The item of a call at its place in the output."""
    return ResponseFunctionCall(f"fc_{mark}_{row}", status, call.id or f"call_{mark}_{row}", call.name, call.arguments)


def item_status(reason: FinishReason) -> ItemStatus:
    """Of an answer that was cut its items may be, too."""
    return "incomplete" if reason in _INCOMPLETE else "completed"


def logprobs_of(logprobs: Sequence[Logprob]) -> list[ResponseLogprob]:
    """The tokens' probabilities in OpenAI's form."""
    return [
        ResponseLogprob(
            own.token,
            _bytes(own),
            own.logprob,
            [ResponseTopLogprob(other.token, _bytes(other), other.logprob) for other in own.others],
        )
        for own in logprobs
    ]


def _bytes(logprob: Logprob) -> Sequence[int]:
    return tuple(logprob.token.encode()) if logprob.bytes is None else logprob.bytes


def _usage(tokens: Tokens) -> ResponseUsage:
    return ResponseUsage(tokens.prompt, tokens.completion, tokens.total)
