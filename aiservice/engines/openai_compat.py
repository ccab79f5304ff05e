"""Any server that speaks OpenAI's chat completions: vLLM, llama.cpp, a cloud. A base URL and a key are all it needs.

Token counts are the engine's own. One that gives none is counted by us, as `EstimatedTokens`: completion tokens are
the pieces that were streamed (engines send one token a piece, now and then several, so that it is a lower bound) or,
for a plain answer, a quarter of its characters; prompt tokens are a quarter of the prompt's characters.

A llama.cpp server is always asked for a stream: it looks for the client of a plain call only when nothing else moves
in it, so that under load a call that was left would keep its slot to the end.
"""

import hashlib
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from aiservice.core.errors import EngineRefused
from aiservice.core.types import Chunk, Deadline, FinishReason, Generation, Tokens
from aiservice.engines import failures
from aiservice.engines.http import ByteStream, HttpClient
from aiservice.engines.lines import EventSplitter
from aiservice.engines.model import Capability, EngineSpec, EstimatedTokens, Model, PullProgress

CHAT_PATH = "/chat/completions"
MODELS_PATH = "/models"
MODELS_TIMEOUT_S = 5.0
CHARACTERS_PER_TOKEN = 4
LLAMACPP = "llamacpp"  # what llama.cpp's server calls the owner of its models
CAPABILITIES: tuple[Capability, ...] = ("chat", "stream")
_VERSION = re.compile(r"v\d+\w*")
_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
OpenStream = Callable[[bytes, Deadline], Awaitable[ByteStream]]
_logger = logging.getLogger(__name__)


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class _Message(msgspec.Struct, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: failures.Said | str | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _StreamChoice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Event(msgspec.Struct):
    choices: list[_StreamChoice] = []
    usage: _Usage | None = None
    error: failures.Said | str | None = None


class _ModelMeta(msgspec.Struct):
    n_ctx: int | None = None
    n_ctx_train: int | None = None
    n_params: int | None = None
    size: int | None = None


class _ModelRow(msgspec.Struct):
    id: str
    root: str | None = None
    owned_by: str | None = None
    max_model_len: int | None = None
    context_length: int | None = None
    meta: _ModelMeta | None = None


class _ModelList(msgspec.Struct):
    data: list[_ModelRow]


_encoder = msgspec.json.Encoder()
_answer_decoder = msgspec.json.Decoder(_Answer)
_event_decoder = msgspec.json.Decoder(_Event)
_models_decoder = msgspec.json.Decoder(_ModelList)


class OpenAICompatEngine:
    """One OpenAI-compatible server."""

    def __init__(self, spec: EngineSpec) -> None:
        self.name = spec.name
        headers = {"Authorization": f"Bearer {spec.api_key}"} if spec.api_key else {}
        self._http = HttpClient(_versioned(spec.url), headers=headers)
        self._is_llamacpp = False

    async def models(self) -> Sequence[Model]:
        body = await self._http.get(MODELS_PATH, timeout_s=MODELS_TIMEOUT_S)
        try:
            rows = _models_decoder.decode(body).data
        except msgspec.DecodeError as error:
            raise failures.broken(f"models: {error}") from error
        self._is_llamacpp = any(row.owned_by == LLAMACPP for row in rows)
        return [_model(self.name, row) for row in rows]

    def generate(self, model: str, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
        if generation.stream or self._is_llamacpp:
            return stream_chat(self._open_stream, model=model, generation=generation, deadline=deadline)
        return self._plain(model, generation, deadline)

    def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        raise EngineRefused("This engine cannot fetch models; add the model where the engine runs.")

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _open_stream(self, body: bytes, deadline: Deadline) -> ByteStream:
        return await self._http.stream(CHAT_PATH, body, deadline)

    async def _plain(self, model: str, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
        body = chat_body(model, generation, is_streamed=False)
        answer = _decode_answer(await self._http.post(CHAT_PATH, body, deadline))
        choice = answer.choices[0]
        text = choice.message.content or ""
        tokens = _tokens(answer.usage) or _estimated(self.name, generation, _quarter(text))
        yield Chunk(text, finish_reason(choice.finish_reason), tokens)


class _Progress:
    """What a stream has told so far."""

    __slots__ = ("finish_reason", "is_done", "pieces", "usage")

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.usage: _Usage | None = None
        self.pieces = 0
        self.is_done = False

    def take(self, payload: bytes, stream: ByteStream) -> str:
        """Reads one event and returns its text; raises for an error that the engine put into its stream."""
        if payload == b"[DONE]":
            self.is_done = True
            return ""
        event = _decode_event(payload)
        if event.usage is not None:
            self.usage = event.usage
        if not event.choices:
            return ""
        choice = event.choices[0]
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
        delta = choice.delta
        if delta is None or not (delta.content or delta.reasoning_content or delta.reasoning):
            return ""
        stream.note_token()
        self.pieces += 1
        return delta.content or ""


async def stream_chat(
    open_stream: OpenStream, *, model: str, generation: Generation, deadline: Deadline
) -> AsyncGenerator[Chunk]:
    """A chat completion asked for as a stream, piece by piece; the last chunk is empty but for its facts."""
    body = chat_body(model, generation, is_streamed=True)
    with await open_stream(body, deadline) as stream:
        splitter, progress = EventSplitter(), _Progress()
        while not progress.is_done and (data := await stream.read()):
            for payload in splitter.feed(data):
                if text := progress.take(payload, stream):
                    yield Chunk(text)
        if not progress.is_done and progress.finish_reason is None:
            raise failures.cut()
        tokens = _tokens(progress.usage) or _estimated(model, generation, progress.pieces)
        yield Chunk("", finish_reason(progress.finish_reason), tokens)
        await stream.drain()


def chat_body(model: str, generation: Generation, *, is_streamed: bool) -> bytes:
    """The request in OpenAI's form; what the caller left open is left open."""
    body: dict[str, Any] = {
        "model": model,
        "messages": generation.messages,
        "temperature": generation.temperature,
        "max_tokens": generation.max_tokens,
        "stream": is_streamed,
    }
    if is_streamed:
        body["stream_options"] = {"include_usage": True}
    if generation.top_p is not None:
        body["top_p"] = generation.top_p
    if generation.seed is not None:
        body["seed"] = generation.seed
    if generation.stop:
        body["stop"] = generation.stop
    if generation.response_format is not None:
        body["response_format"] = generation.response_format
    return _encoder.encode(body)


def finish_reason(reason: str | None) -> FinishReason:
    """An engine's reason in our words; one that is unknown is an ordinary end."""
    return _FINISH_REASONS.get(reason or "stop", "stop")


def estimated_prompt(generation: Generation) -> int:
    """Tokens of a prompt that the engine did not count: a quarter of its characters, at least 1."""
    return max(1, sum(len(message.content) for message in generation.messages) // CHARACTERS_PER_TOKEN)


def _estimated(engine: str, generation: Generation, completion: int) -> Tokens:
    _logger.debug("engine gave no token counts, they are estimated", extra={"engine": engine})
    return EstimatedTokens(estimated_prompt(generation), completion)


def _quarter(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def _tokens(usage: _Usage | None) -> Tokens | None:
    return None if usage is None else Tokens(usage.prompt_tokens, usage.completion_tokens or 0)


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


def _decode_event(payload: bytes) -> _Event:
    try:
        event = _event_decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise failures.broken(f"event: {error}") from error
    if event.error is not None:
        raise failures.from_stream(event.error)
    return event


def _versioned(url: str) -> str:
    """The base URL with its version: `/v1` is added where no segment of the path is one."""
    url = url.rstrip("/")
    has_version = any(_VERSION.fullmatch(segment) for segment in urlsplit(url).path.split("/"))
    return url if has_version else f"{url}/v1"


def _model(engine: str, row: _ModelRow) -> Model:
    meta = row.meta or _ModelMeta()
    facts = f"{row.id}\n{row.root or ''}\n{meta.n_params or ''}\n{meta.size or ''}"
    return Model(
        name=row.id,
        engine=engine,
        digest=hashlib.sha256(facts.encode()).hexdigest(),
        size_bytes=meta.size,
        context_length=row.max_model_len or row.context_length or meta.n_ctx or meta.n_ctx_train,
        is_loaded=True,
        capabilities=CAPABILITIES,
    )
