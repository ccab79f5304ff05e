"""POST /ai/generate: the native door."""

from typing import Annotated, Any, Literal

import msgspec

from aiservice.api import sse
from aiservice.api.asgi import JSON_TYPE, Send, send_bytes
from aiservice.api.errors import body_of, note
from aiservice.api.hot import HotDoor
from aiservice.api.parse import refuse_nul
from aiservice.core.errors import AIServiceError, FieldInvalid, InvalidRequest
from aiservice.core.types import Chunk, FinishReason, Generation, Message, Tokens
from aiservice.gateway import Answer, Visit

PATH = "/ai/generate"

Unit = Annotated[float, msgspec.Meta(ge=0, le=1)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Stop = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class Turn(msgspec.Struct, forbid_unknown_fields=True):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class GenerateRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to ask of which model; `prompt` or `messages`, not both."""

    prompt: str | None = None
    messages: Annotated[list[Turn], msgspec.Meta(min_length=1, max_length=1000)] | None = None
    system: str | None = None
    model: Name | None = None
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


class GenerateDoor(HotDoor[GenerateRequest]):
    """The native door: its request to a `Generation`, its answer as JSON or as a stream."""

    path = PATH
    decoder = msgspec.json.Decoder(GenerateRequest)

    def generation(self, request: GenerateRequest, visit: Visit) -> Generation:
        defaults = self.rooms.settings.engines
        max_tokens_cap = self.rooms.settings.limits.max_tokens_of(visit.caller.tier)
        if request.max_tokens is not None and request.max_tokens > max_tokens_cap:
            raise FieldInvalid(
                f"max_tokens is {request.max_tokens}; your tier takes 1 to {max_tokens_cap}.", param="max_tokens"
            )
        stop = request.stop
        return Generation(
            model=request.model or defaults.default_model,
            messages=_messages(request, self.rooms.settings.server.prompt_characters_max),
            temperature=defaults.temperature if request.temperature is None else request.temperature,
            max_tokens=request.max_tokens or min(defaults.max_tokens, max_tokens_cap),
            top_p=request.top_p,
            seed=request.seed,
            stop=() if stop is None else (stop,) if isinstance(stop, str) else tuple(stop),
            response_format=_response_format(request.response_format),
            stream=request.stream,
        )

    async def plain(self, send: Send, visit: Visit, answer: Answer) -> None:
        last, parts = answer.first, [answer.first.text]
        async for last in answer.rest:
            parts.append(last.text)
        end = self._end(visit, answer, last)
        whole = GenerateAnswer(
            visit.id,
            answer.model,
            answer.engine,
            "".join(parts),
            end.finish_reason,
            end.cached,
            end.usage,
            end.response_time_ms,
        )
        await send_bytes(send, 200, _encoder.encode(whole), headers=[JSON_TYPE, *self.answer_headers(answer)])

    async def stream(self, send: Send, visit: Visit, answer: Answer) -> None:
        headers = [*sse.HEADERS, *self.answer_headers(answer)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            last = answer.first
            await _send_delta(send, visit, last)
            async for last in answer.rest:
                await _send_delta(send, visit, last)
        except AIServiceError as error:
            note(error)
            await send({"type": "http.response.body", "body": sse.event(body_of(error))})
            return
        end = sse.event(self._end(visit, answer, last)) + sse.DONE
        await send({"type": "http.response.body", "body": end})

    def _end(self, visit: Visit, answer: Answer, last: Chunk) -> StreamEnd:
        assert last.finish_reason is not None
        assert last.tokens is not None
        took_ms = round((self.rooms.clock.monotonic_s() - visit.started_s) * 1000)
        return StreamEnd(visit.id, last.finish_reason, _usage(last.tokens), answer.cache_state == "HIT", took_ms)


async def _send_delta(send: Send, visit: Visit, chunk: Chunk) -> None:
    if chunk.text:
        event = sse.event(Delta(visit.id, chunk.text))
        await send({"type": "http.response.body", "body": event, "more_body": True})


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
    characters = 0
    for message in messages:
        refuse_nul(message.content, param)
        characters += len(message.content)
    if not messages[-1].content:
        raise FieldInvalid(f"{param} is empty; say what you want to know.", param=param)
    if characters > characters_max:
        raise FieldInvalid(f"{param} has {characters} characters; at most {characters_max} are taken.", param=param)
    return tuple(messages)


def _response_format(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is None or value == {"type": "text"}:
        return None
    kind = value.get("type")
    if kind == "json_object" or (kind == "json_schema" and isinstance(value.get("json_schema"), dict)):
        return value
    raise FieldInvalid(
        "response_format.type is one of text, json_object and json_schema; the last needs json_schema.",
        param="response_format",
    )
