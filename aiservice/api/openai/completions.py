"""POST /v1/completions: OpenAI's older door. A prompt is a chat of one message, in the model's own template."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from aiservice.api import prompt
from aiservice.api.door import Operation
from aiservice.api.hot import HotDoor
from aiservice.api.openai.answer import ChoicesReply, OpenAIUsage, encode, usage_of
from aiservice.api.openai.request import (
    SHARED,
    OpenAIRequest,
    Refusal,
    Refusals,
    Unset,
    UnsetOrEmpty,
    UnsetOrFalse,
)
from aiservice.api.surfaces import OPENAI
from aiservice.core.errors import FieldInvalid
from aiservice.core.types import Chunk, FinishReason, Generation, Logprob, Message
from aiservice.gateway import Visit

PATH = "/v1/completions"
LOGPROBS_MAX = 5

CompletionFinish = Literal["stop", "length", "content_filter"]
_FINISHES: Mapping[FinishReason, CompletionFinish] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "stop",
    "content_filter": "content_filter",
}
_refusals = Refusals(
    {
        "echo": Refusal("the prompt is not repeated", (False,)),
        "suffix": Refusal("text is not inserted", ("",)),
        "tools": Refusal("they are for /v1/chat/completions"),
        "response_format": Refusal("it is for /v1/chat/completions", ({"type": "text"},)),
        **SHARED,
    }
)


class CompletionRequest(OpenAIRequest, kw_only=True):
    """A prompt: a text, or a list of one. `best_of` may say no more than `n`."""

    prompt: str | list[str | int | list[int]]
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=LOGPROBS_MAX)] | None = None
    best_of: Annotated[int, msgspec.Meta(ge=1)] | None = None
    echo: UnsetOrFalse = None
    suffix: UnsetOrEmpty = None
    tools: Unset = None
    response_format: Annotated[Any, msgspec.Meta(extra_json_schema={"enum": [None, {"type": "text"}]})] = None

    def text(self) -> str:
        """The prompt; raises `FieldInvalid` for several of them, or for one that is tokens."""
        asked = self.prompt
        if isinstance(asked, str):
            return asked
        if not all(isinstance(part, str) for part in asked):
            raise FieldInvalid("prompt is of token ids, which every model has its own of; send text.", param="prompt")
        if len(asked) != 1:
            raise FieldInvalid(f"prompt has {len(asked)} texts; send one a request.", param="prompt")
        return str(asked[0])

    def refuse_unsupported(self) -> None:
        """Raises `FieldInvalid` for what would change the answer and cannot be had."""
        if self.best_of not in (None, self.n or 1):
            raise FieldInvalid("best_of must be n: all answers are given, and none is left out.", param="best_of")
        _refusals.check(self)


class CompletionLogprobs(msgspec.Struct):
    """The tokens of a choice, side by side; `text_offset` counts characters from the beginning of the choice."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class CompletionChoice(msgspec.Struct):
    """One of the answers."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: CompletionFinish


class CompletionAnswer(msgspec.Struct):
    """A whole answer; `model` is the model that gave it."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: OpenAIUsage
    system_fingerprint: None = None


class CompletionChunkChoice(msgspec.Struct):
    """One of the answers, as far as it is new; the last of each has its `finish_reason`."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: CompletionFinish | None


class CompletionChunk(msgspec.Struct):
    """A piece of a streamed answer; `usage` only where `stream_options.include_usage` asks for it."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: None
    choices: list[CompletionChunkChoice]
    usage: OpenAIUsage | msgspec.UnsetType | None = msgspec.UNSET


class CompletionReply(ChoicesReply[CompletionRequest]):
    """The answer as one object, or as chunks that end with [DONE]."""

    id_begin = "cmpl-"
    chunk_object = "text_completion"
    text_begin = b'"text":'

    _lengths: dict[int, int]

    def whole(self, choices: Sequence[Chunk]) -> bytes:
        return encode(
            CompletionAnswer(
                self.id,
                "text_completion",
                self.created_s,
                self.answer.model,
                [self._choice(choice) for choice in choices],
                usage_of(choices[-1].tokens),
            )
        )

    def opening(self) -> bytes:
        self._lengths = {}
        return super().opening()

    def choices(self, chunk: Chunk) -> list[CompletionChunkChoice]:
        """One choice; what was said of each so far is counted where there are logprobs."""
        offset = self._lengths.get(chunk.index, 0)
        self._lengths[chunk.index] = offset + len(chunk.text)
        finish = None if chunk.finish_reason is None else _FINISHES[chunk.finish_reason]
        return [CompletionChunkChoice(chunk.index, chunk.text, self._logprobs(chunk.logprobs, offset), finish)]

    def _choice(self, chunk: Chunk) -> CompletionChoice:
        assert chunk.finish_reason is not None
        return CompletionChoice(
            chunk.index, chunk.text, self._logprobs(chunk.logprobs, 0), _FINISHES[chunk.finish_reason]
        )

    def _logprobs(self, rows: Sequence[Logprob], offset: int) -> CompletionLogprobs | None:
        """Side by side; the token itself is always among the likeliest, as OpenAI has it."""
        if not rows:
            return None
        offsets: list[int] = []
        for row in rows:
            offsets.append(offset)
            offset += len(row.token)
        return CompletionLogprobs(
            [row.token for row in rows],
            [row.logprob for row in rows],
            [_likeliest(row) for row in rows] if self.request.logprobs else None,
            offsets,
        )


def _likeliest(row: Logprob) -> dict[str, float]:
    return {**{other.token: other.logprob for other in row.others}, row.token: row.logprob}


class CompletionDoor(HotDoor[CompletionRequest]):
    """OpenAI's older door: its prompt to a `Generation` of one message, its answer as JSON or as chunks."""

    path = PATH
    surface = OPENAI
    decoder = msgspec.json.Decoder(CompletionRequest)
    reply = CompletionReply
    operation = Operation(
        tag="openai",
        summary="Create a completion",
        description="OpenAI's older Completions API. The prompt is put to the model as a message of its user's, in the "
        "model's own chat template. With `stream` the answer is a stream of chunks that ends with `data: [DONE]`.",
        answer=CompletionAnswer,
        events=(CompletionChunk,),
    )

    def asked(self, request: CompletionRequest, visit: Visit) -> Generation:
        settings = self.rooms.settings
        request.refuse_unsupported()
        messages = [Message("user", request.text())]
        temperature = request.temperature
        return Generation(
            model=request.model or settings.engines.default_model,
            messages=prompt.checked(messages, "prompt", settings.server.prompt_characters_max),
            temperature=settings.engines.temperature if temperature is None else temperature,
            max_tokens=prompt.max_tokens(request.max_tokens, settings, visit.caller),
            top_p=request.top_p,
            seed=request.seed,
            stop=prompt.stops(request.stop),
            stream=request.stream is True,
            n=request.n or 1,
            logprobs=request.logprobs,
            top_k=request.top_k_or_none,
            frequency_penalty=request.frequency_penalty,
            presence_penalty=request.presence_penalty,
        )
