"""POST /ai/generate: the native door."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from aiservice.api import prompt, sse
from aiservice.api.door import Operation
from aiservice.api.fields import Count, ModelName, Seed, Stop, Temperature, Unit
from aiservice.api.hot import HotDoor, Reply
from aiservice.core.errors import FieldInvalid, InvalidRequest
from aiservice.core.types import Chunk, FinishReason, Generation, Message, Tokens
from aiservice.gateway import Visit

PATH = "/ai/generate"


class Turn(msgspec.Struct, forbid_unknown_fields=True):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class GenerateRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to ask of which model; `prompt` or `messages`, not both."""

    prompt: str | None = None
    messages: Annotated[list[Turn], msgspec.Meta(min_length=1, max_length=1000)] | None = None
    system: str | None = None
    model: ModelName | None = None
    temperature: Temperature | None = None
    top_p: Unit | None = None
    max_tokens: Count | None = None
    seed: Seed | None = None
    stop: Stop | Annotated[list[Stop], msgspec.Meta(max_length=16)] | None = None
    stream: bool = False
    response_format: dict[str, Any] | None = None


class UsageFacts(msgspec.Struct):
    """Token counts as the engine gave them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class GenerateAnswer(msgspec.Struct):
    """A whole answer; `model` is the model that gave it."""

    id: str
    model: str
    engine: str
    response: str
    finish_reason: FinishReason
    cached: bool
    usage: UsageFacts
    response_time_ms: int


class Delta(msgspec.Struct):
    """A piece of a streamed answer."""

    id: str
    delta: str


class StreamEnd(msgspec.Struct):
    """The last event of a stream before [DONE]."""

    id: str
    finish_reason: FinishReason
    usage: UsageFacts
    cached: bool
    response_time_ms: int


_encoder = msgspec.json.Encoder()


class GenerateReply(Reply[GenerateRequest]):
    """The answer as one object, or as deltas and an end."""

    def whole(self, choices: Sequence[Chunk]) -> bytes:
        choice, answer = choices[0], self.answer
        end = self._end(choice)
        return _encoder.encode(
            GenerateAnswer(
                self.visit.id,
                answer.model,
                answer.engine,
                choice.text,
                end.finish_reason,
                end.cached,
                end.usage,
                end.response_time_ms,
            )
        )

    def piece(self, chunk: Chunk) -> bytes:
        return sse.event(Delta(self.visit.id, chunk.text)) if chunk.text else b""

    def closing(self, last: Chunk) -> bytes:
        return sse.event(self._end(last)) + sse.DONE

    def _end(self, last: Chunk) -> StreamEnd:
        assert last.finish_reason is not None
        assert last.tokens is not None
        is_hit = self.answer.cache_state == "HIT"
        return StreamEnd(self.visit.id, last.finish_reason, _usage(last.tokens), is_hit, self.elapsed_ms())


class GenerateDoor(HotDoor[GenerateRequest]):
    """The native door: its request to a `Generation`, its answer as JSON or as a stream."""

    path = PATH
    decoder = msgspec.json.Decoder(GenerateRequest)
    reply = GenerateReply
    operation = Operation(
        tag="generate",
        summary="Generate",
        description="Asks a model. With `stream` the answer is a stream of events that ends with `data: [DONE]`.",
        answer=GenerateAnswer,
        events=(Delta, StreamEnd),
    )

    def asked(self, request: GenerateRequest, visit: Visit) -> Generation:
        defaults = self.rooms.settings.engines
        max_tokens_cap = self.rooms.settings.limits.max_tokens_of(visit.caller.tier)
        if request.max_tokens is not None and request.max_tokens > max_tokens_cap:
            raise FieldInvalid(
                f"max_tokens is {request.max_tokens}; your tier takes 1 to {max_tokens_cap}.", param="max_tokens"
            )
        return Generation(
            model=request.model or defaults.default_model,
            messages=_messages(request, self.rooms.settings.server.prompt_characters_max),
            temperature=defaults.temperature if request.temperature is None else request.temperature,
            max_tokens=request.max_tokens or min(defaults.max_tokens, max_tokens_cap),
            top_p=request.top_p,
            seed=request.seed,
            stop=prompt.stops(request.stop),
            response_format=prompt.response_format(request.response_format),
            stream=request.stream,
        )


def _usage(tokens: Tokens) -> UsageFacts:
    return UsageFacts(tokens.prompt, tokens.completion, tokens.total)


def _messages(request: GenerateRequest, characters_max: int) -> tuple[Message, ...]:
    if (request.prompt is None) == (request.messages is None):
        raise InvalidRequest("Send either prompt or messages, not both and not neither.", param="prompt")
    messages = [] if request.system is None else [Message("system", request.system)]
    if request.prompt is not None:
        messages.append(Message("user", request.prompt))
    messages += [Message(turn.role, turn.content) for turn in request.messages or ()]
    param = "prompt" if request.messages is None else "messages"
    return prompt.checked(messages, param, characters_max)
