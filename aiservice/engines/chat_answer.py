"""What engines answer in OpenAI's form, and those who come close to it, in our words."""

import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aiservice.core.types import Asked, Chunk, FinishReason, Generation, Logprob, Tokens, ToolCall, merged_calls
from aiservice.engines import failures
from aiservice.engines.chat_request import NO_ARGUMENTS
from aiservice.engines.model import EstimatedTokens

CHARACTERS_PER_TOKEN = 4
_ID_BYTES = 12
_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_logger = logging.getLogger(__name__)


class FunctionPiece(msgspec.Struct, gc=False):
    """The inside of a call; the arguments are JSON text, or the object itself where an engine sends it whole."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class CallPiece(msgspec.Struct, gc=False):
    """A tool call or a piece of one."""

    index: int | None = None
    id: str | None = None
    function: FunctionPiece | None = None


class AlternativeRow(msgspec.Struct, gc=False):
    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None


class LogprobRow(AlternativeRow, gc=False):
    top_logprobs: tuple[AlternativeRow, ...] | None = None


class Logprobs(msgspec.Struct, gc=False):
    content: tuple[LogprobRow, ...] | None = None


class Usage(msgspec.Struct, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[CallPiece] | None = None


class _Choice(msgspec.Struct):
    message: Delta
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []
    usage: Usage | None = None
    error: failures.Said | str | None = None


class StreamChoice(msgspec.Struct):
    delta: Delta | None = None
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Event(msgspec.Struct):
    choices: list[StreamChoice] = []
    usage: Usage | None = None
    error: failures.Said | str | None = None


_answer_decoder = msgspec.json.Decoder(_Answer)
_event_decoder = msgspec.json.Decoder(Event)
_encoder = msgspec.json.Encoder()


class CallPieces:
    """The tool calls of one answer as they come: numbered from 0, the first piece of each with its id and name.

    Engines differ: some leave out the index or send the same for all calls, some the id, some send arguments whole.
    """

    __slots__ = ("_calls", "_ids", "_with_arguments")

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._calls: dict[int | None, int] = {}
        self._with_arguments: set[int] = set()

    def __len__(self) -> int:
        return len(self._ids)

    def take(self, pieces: Sequence[CallPiece]) -> tuple[ToolCall, ...]:
        return tuple(call for piece in pieces if (call := self._take(piece)) is not None)

    def rest(self) -> tuple[ToolCall, ...]:
        """The arguments of the calls that came without any, for the end of the answer."""
        bare = (index for index in range(len(self._ids)) if index not in self._with_arguments)
        return tuple(ToolCall("", "", NO_ARGUMENTS, index) for index in bare)

    def _take(self, piece: CallPiece) -> ToolCall | None:
        function = piece.function or FunctionPiece()
        arguments = _argument_text(function.arguments)
        index = self._calls.get(piece.index)
        if index is None or (function.name and self._is_another(piece, index)):
            index = self._calls[piece.index] = len(self._ids)
            self._ids.append(piece.id or f"call_{secrets.token_hex(_ID_BYTES)}")
            first = (self._ids[index], function.name or "")
        elif arguments:
            first = ("", "")
        else:
            return None
        if arguments:
            self._with_arguments.add(index)
        return ToolCall(*first, arguments, index)

    def _is_another(self, piece: CallPiece, index: int) -> bool:
        """Whether a piece with a name begins a call of its own: with an id of its own, or with neither id nor index."""
        return piece.id != self._ids[index] if piece.id else piece.index is None


def decode_event(payload: bytes) -> Event:
    """One event of a stream; raises for one that cannot be read, or is an error."""
    try:
        event = _event_decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise failures.broken(f"event: {error}") from error
    if event.error is not None:
        raise failures.from_stream(event.error)
    return event


def whole_chunk(body: bytes, engine: str, generation: Generation) -> Chunk:
    """A plain answer as one chunk; raises for one that cannot be read, or is an error."""
    answer = _decode_answer(body)
    choice = answer.choices[0]
    text = choice.message.content or ""
    calls = CallPieces()
    pieces = (*calls.take(choice.message.tool_calls or ()), *calls.rest())
    count = quarter(text + "".join([call.arguments for call in pieces]))
    return Chunk(
        text,
        finish_reason(choice.finish_reason, has_calls=bool(calls)),
        tokens_of(answer.usage) or estimated(engine, generation, count),
        tool_calls=merged_calls(pieces),
        logprobs=told_logprobs(choice.logprobs, generation.logprobs),
    )


def finish_reason(reason: str | None, *, has_calls: bool = False) -> FinishReason:
    """An engine's reason in our words; one that is unknown is an ordinary end, and one with calls is for these."""
    known = _FINISH_REASONS.get(reason or "stop", "stop")
    if known in {"stop", "tool_calls"}:
        return "tool_calls" if has_calls else "stop"
    return known


def told_logprobs(logprobs: Logprobs | None, others: int | None) -> tuple[Logprob, ...]:
    """The logprobs of an event where the caller asked for them, each with at most `others` alternatives."""
    if logprobs is None or others is None:
        return ()
    return logprobs_of(logprobs.content or (), others)


def logprobs_of(rows: Sequence[LogprobRow], others: int) -> tuple[Logprob, ...]:
    return tuple(
        Logprob(
            row.token,
            row.logprob,
            row.bytes,
            tuple(Logprob(other.token, other.logprob, other.bytes) for other in (row.top_logprobs or ())[:others]),
        )
        for row in rows
    )


def tokens_of(usage: Usage | None) -> Tokens | None:
    return None if usage is None else Tokens(usage.prompt_tokens, usage.completion_tokens or 0)


def estimated(engine: str, generation: Generation, completion: int) -> Tokens:
    _logger.debug("engine gave no token counts, they are estimated", extra={"engine": engine})
    return EstimatedTokens(estimated_prompt(generation), completion)


def estimated_prompt(asked: Asked) -> int:
    """Tokens of a prompt that the engine did not count: a quarter of its characters, at least 1."""
    return max(1, asked.characters // CHARACTERS_PER_TOKEN)


def quarter(text: str) -> int:
    """Tokens of an answer that the engine did not count."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _argument_text(arguments: str | dict[str, Any] | None) -> str:
    if isinstance(arguments, dict):
        return _encoder.encode(arguments).decode()
    return arguments or ""


def _decode_answer(body: bytes) -> _Answer:
    try:
        answer = _answer_decoder.decode(body)
    except msgspec.DecodeError as error:
        raise failures.broken(f"answer: {error}") from error
    if answer.error is not None:
        raise failures.from_stream(answer.error)
    if not answer.choices:
        raise failures.broken("answer without choices")
    return answer
