"""Any server that speaks OpenAI's chat completions: vLLM, llama.cpp, a cloud. A base URL and a key are all it needs.

Such a server does not tell what its models can do: all is listed, and it refuses by itself what a model cannot.

Token counts are the engine's own. One that gives none is counted by us, as `EstimatedTokens`: completion tokens are
the pieces that were streamed (engines send one token a piece, now and then several, so that it is a lower bound) or,
for a plain answer, a quarter of its characters; prompt tokens are a quarter of the prompt's characters.

A llama.cpp server is always asked for a stream: it looks for the client of a plain call only when nothing else moves
in it, so that under load a call that was left would keep its slot to the end.
"""

import hashlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from urllib.parse import urlsplit

import msgspec

from aiservice.core.errors import EngineRefused
from aiservice.core.types import Chunk, Deadline, Embedding, Generation
from aiservice.engines import failures
from aiservice.engines.chat_answer import (
    CallPieces,
    Delta,
    Logprobs,
    Usage,
    decode_event,
    estimated,
    finish_reason,
    tokens_of,
    told_logprobs,
    whole_chunk,
)
from aiservice.engines.chat_request import chat_body
from aiservice.engines.embeddings import embeddings_body, embeddings_chunk
from aiservice.engines.forced_calls import asked_as_json, calls_of, is_call_forced
from aiservice.engines.http import ByteStream, HttpClient
from aiservice.engines.lines import EventSplitter
from aiservice.engines.model import Capability, EngineSpec, Model, PullProgress

CHAT_PATH = "/chat/completions"
EMBEDDINGS_PATH = "/embeddings"
MODELS_PATH = "/models"
MODELS_TIMEOUT_S = 5.0
LLAMACPP = "llamacpp"  # what llama.cpp's server calls the owner of its models
CAPABILITIES: tuple[Capability, ...] = ("chat", "stream", "tools", "vision", "embed")
_VERSION = re.compile(r"v\d+\w*")
OpenStream = Callable[[bytes, Deadline], Awaitable[ByteStream]]


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
            return stream_chat(
                self._open_stream, model=model, generation=generation, deadline=deadline, is_llamacpp=self._is_llamacpp
            )
        return self._plain(model, generation, deadline)

    async def embed(self, model: str, embedding: Embedding, deadline: Deadline) -> AsyncGenerator[Chunk]:
        answer = await self._http.post(EMBEDDINGS_PATH, embeddings_body(model, embedding), deadline)
        yield embeddings_chunk(answer, embedding)

    def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        raise EngineRefused("This engine cannot fetch models; add the model where the engine runs.")

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _open_stream(self, body: bytes, deadline: Deadline) -> ByteStream:
        return await self._http.stream(CHAT_PATH, body, deadline)

    async def _plain(self, model: str, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
        body = chat_body(model, generation, is_streamed=False)
        answer = await self._http.post(CHAT_PATH, body, deadline)
        yield whole_chunk(answer, self.name, generation)


class _Progress:
    """What a stream has told so far."""

    __slots__ = ("_others", "calls", "finish_reason", "is_done", "pieces", "usage")

    def __init__(self, others: int | None) -> None:
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.pieces = 0
        self.is_done = False
        self.calls = CallPieces()
        self._others = others

    def take(self, payload: bytes, stream: ByteStream) -> Chunk | None:
        """What one event says, if it says anything; raises for an error that the engine put into its stream."""
        if payload == b"[DONE]":
            self.is_done = True
            return None
        event = decode_event(payload)
        if event.usage is not None:
            self.usage = event.usage
        if not event.choices:
            return None
        choice = event.choices[0]
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
        delta = choice.delta
        if delta is None:
            return None
        if delta.tool_calls is not None or choice.logprobs is not None:
            return self._take_more(delta, choice.logprobs, stream)
        text = delta.content
        if text or delta.reasoning_content or delta.reasoning:
            stream.note_token()
            self.pieces += 1
        return Chunk(text) if text else None

    def _take_more(self, delta: Delta, told: Logprobs | None, stream: ByteStream) -> Chunk | None:
        text = delta.content or ""
        calls = self.calls.take(delta.tool_calls or ())
        logprobs = told_logprobs(told, self._others)
        if text or delta.tool_calls or delta.reasoning_content or delta.reasoning:
            stream.note_token()
            self.pieces += 1
        return Chunk(text, tool_calls=calls, logprobs=logprobs) if text or calls or logprobs else None


def stream_chat(
    open_stream: OpenStream, *, model: str, generation: Generation, deadline: Deadline, is_llamacpp: bool = False
) -> AsyncGenerator[Chunk]:
    """A chat completion asked for as a stream, piece by piece; the last chunk is empty but for its facts."""
    if is_llamacpp and is_call_forced(generation):
        return calls_of(_stream_chat(open_stream, model, asked_as_json(generation), deadline=deadline))
    return _stream_chat(open_stream, model, generation, deadline=deadline)


async def _stream_chat(
    open_stream: OpenStream, model: str, generation: Generation, *, deadline: Deadline
) -> AsyncGenerator[Chunk]:
    body = chat_body(model, generation, is_streamed=True)
    with await open_stream(body, deadline) as stream:
        splitter, progress = EventSplitter(), _Progress(generation.logprobs)
        while not progress.is_done and (data := await stream.read()):
            for payload in splitter.feed(data):
                if (chunk := progress.take(payload, stream)) is not None:
                    yield chunk
        if not progress.is_done and progress.finish_reason is None:
            raise failures.cut()
        if calls := progress.calls.rest():
            yield Chunk("", tool_calls=calls)
        tokens = tokens_of(progress.usage) or estimated(model, generation, progress.pieces)
        yield Chunk("", finish_reason(progress.finish_reason, has_calls=bool(progress.calls)), tokens)
        await stream.drain()


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
