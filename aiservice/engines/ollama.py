"""Ollama over its own API: it tells what is loaded, how long a context is and what a model can do, and fetches models.

What a model thinks aloud (`thinking`) is kept out of the text but counts as a sign of life. Token counts are Ollama's
own; where it leaves one out (old versions do for a prompt they remember) the count is an `EstimatedTokens`.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from aiservice.core.errors import EngineRefused, EngineUnreachable
from aiservice.core.types import Chunk, Deadline, Embedding, Generation, Tokens, merged_calls
from aiservice.engines import failures
from aiservice.engines.chat_answer import (
    CallPiece,
    CallPieces,
    LogprobRow,
    estimated_prompt,
    finish_reason,
    logprobs_of,
    quarter,
)
from aiservice.engines.embeddings import vectors_chunk
from aiservice.engines.forced_calls import asked_as_json, calls_of, is_call_forced
from aiservice.engines.http import ByteStream, HttpClient
from aiservice.engines.lines import LineSplitter
from aiservice.engines.model import Capability, EngineSpec, EstimatedTokens, Model, PullProgress
from aiservice.engines.ollama_request import chat_body

LOOK_TIMEOUT_S = 5.0
PULL_DEADLINE = Deadline(connect_s=5.0, first_token_s=120.0, between_tokens_s=120.0, total_s=86_400.0)
_CAPABILITIES: Mapping[str, tuple[Capability, ...]] = {
    "completion": ("chat", "stream"),
    "embedding": ("embed",),
    "tools": ("tools",),
    "vision": ("vision",),
}
_NO_SUCH_MODEL = ("does not exist", "not found", "invalid model")


class _Tag(msgspec.Struct):
    name: str
    digest: str = ""
    size: int | None = None
    context_length: int | None = None


class _Tags(msgspec.Struct):
    models: list[_Tag] | None = None


class _Show(msgspec.Struct):
    model_info: dict[str, Any] | None = None
    capabilities: list[str] | None = None


class _Message(msgspec.Struct, gc=False):
    content: str = ""
    thinking: str | None = None
    tool_calls: list[CallPiece] | None = None


class _Event(msgspec.Struct):
    message: _Message | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: list[LogprobRow] | None = None
    error: failures.Said | str | None = None


class _Embedded(msgspec.Struct):
    embeddings: list[list[float]] = []
    prompt_eval_count: int | None = None


class _PullEvent(msgspec.Struct):
    status: str = ""
    digest: str | None = None
    completed: int | None = None
    total: int | None = None
    error: str | None = None


class _Facts(msgspec.Struct, frozen=True):
    """What `/api/show` tells, which is asked once for each digest."""

    context_length: int | None
    capabilities: tuple[Capability, ...]


_T = TypeVar("_T")
_encoder = msgspec.json.Encoder()
_event_decoder = msgspec.json.Decoder(_Event)
_pull_decoder = msgspec.json.Decoder(_PullEvent)


class OllamaEngine:
    """One Ollama server."""

    def __init__(self, spec: EngineSpec) -> None:
        self.name = spec.name
        headers = {"Authorization": f"Bearer {spec.api_key}"} if spec.api_key else {}
        self._http = HttpClient(spec.url, headers=headers)
        self._facts: dict[tuple[str, str], _Facts] = {}

    async def models(self) -> Sequence[Model]:
        tags = _decode(await self._http.get("/api/tags", timeout_s=LOOK_TIMEOUT_S), _Tags).models or []
        running = _decode(await self._http.get("/api/ps", timeout_s=LOOK_TIMEOUT_S), _Tags).models or []
        loaded = {tag.name: tag for tag in running}
        models = [_model(self.name, tag, loaded.get(tag.name), facts=await self._facts_of(tag)) for tag in tags]
        self._facts = {key: facts for key, facts in self._facts.items() if key in {(t.name, t.digest) for t in tags}}
        return models

    def generate(self, model: str, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
        if is_call_forced(generation):
            return calls_of(self._answer(model, asked_as_json(generation), deadline))
        return self._answer(model, generation, deadline)

    async def embed(self, model: str, embedding: Embedding, deadline: Deadline) -> AsyncGenerator[Chunk]:
        body: dict[str, Any] = {"model": model, "input": embedding.inputs, "truncate": False}
        if embedding.dimensions is not None:
            body["dimensions"] = embedding.dimensions
        answer = _decode(await self._http.post("/api/embed", _encoder.encode(body), deadline), _Embedded)
        yield vectors_chunk(answer.embeddings, answer.prompt_eval_count, embedding)

    async def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Fetches a model from Ollama's library; ends when Ollama says that all of it is there."""
        body = _encoder.encode({"model": model, "stream": True})
        with await self._http.stream("/api/pull", body, PULL_DEADLINE) as stream:
            status = ""
            async for line in _lines(stream):
                event = _pull_event(line)
                stream.note_token()
                status = event.status
                yield PullProgress(status, event.completed, event.total, event.digest)
            if status != "success":
                raise failures.cut()

    async def aclose(self) -> None:
        await self._http.aclose()

    def _answer(self, model: str, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
        body = chat_body(model, generation)
        if generation.stream:
            return self._streamed(body, generation, deadline)
        return self._plain(body, generation, deadline)

    async def _plain(self, body: bytes, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
        event = _read(await self._http.post("/api/chat", body, deadline))
        if not event.done:
            raise failures.cut()
        calls = CallPieces()
        chunk = _said(event, calls, generation) or Chunk("")
        pieces = quarter(chunk.text + "".join([call.arguments for call in chunk.tool_calls]))
        yield msgspec.structs.replace(
            chunk,
            finish_reason=finish_reason(event.done_reason, has_calls=bool(calls)),
            tokens=_tokens(event, generation, pieces),
        )

    async def _streamed(self, body: bytes, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
        with await self._http.stream("/api/chat", body, deadline) as stream:
            pieces, calls = 0, CallPieces()
            async for line in _lines(stream):
                event = _read(line)
                if event.message is not None and _is_heard(event.message):
                    stream.note_token()
                    pieces += 1
                if (chunk := _said(event, calls, generation)) is not None:
                    yield chunk
                if event.done:
                    reason = finish_reason(event.done_reason, has_calls=bool(calls))
                    yield Chunk("", reason, _tokens(event, generation, pieces))
                    await stream.drain()
                    return
            raise failures.cut()

    async def _facts_of(self, tag: _Tag) -> _Facts:
        key = (tag.name, tag.digest)
        if key not in self._facts:
            self._facts[key] = await self._show(tag.name)
        return self._facts[key]

    async def _show(self, name: str) -> _Facts:
        deadline = Deadline(LOOK_TIMEOUT_S, LOOK_TIMEOUT_S, LOOK_TIMEOUT_S, LOOK_TIMEOUT_S)
        try:
            show = _decode(await self._http.post("/api/show", _encoder.encode({"model": name}), deadline), _Show)
        except EngineRefused:
            # It was deleted since it was listed; the next look will miss it.
            return _Facts(None, ("chat", "stream"))
        lengths = [value for key, value in (show.model_info or {}).items() if key.endswith(".context_length")]
        known = [_CAPABILITIES.get(word, ()) for word in show.capabilities or ["completion"]]
        return _Facts(lengths[0] if lengths else None, tuple(word for words in known for word in words))


async def _lines(stream: ByteStream) -> AsyncGenerator[bytes]:
    """Every line, the last one also without its end."""
    splitter = LineSplitter()
    while data := await stream.read():
        for line in splitter.feed(data):
            yield line
    if rest := splitter.rest().strip():
        yield rest


def _is_heard(message: _Message) -> bool:
    """Whether the model has said, thought or called anything in it."""
    return bool(message.content or message.thinking or message.tool_calls)


def _said(event: _Event, calls: CallPieces, generation: Generation) -> Chunk | None:
    """What an event says, if it says anything; its calls are whole."""
    message = event.message
    text = message.content if message is not None else ""
    if not (event.logprobs or (message is not None and message.tool_calls)):
        return Chunk(text) if text else None
    logprobs = () if generation.logprobs is None else logprobs_of(event.logprobs or (), generation.logprobs)
    known = len(calls)
    pieces = calls.take((message.tool_calls or ()) if message is not None else ())
    whole = merged_calls((*pieces, *[call for call in calls.rest() if call.index >= known]))
    return Chunk(text, tool_calls=whole, logprobs=logprobs) if text or whole or logprobs else None


def _read(line: bytes) -> _Event:
    try:
        event = _event_decoder.decode(line)
    except msgspec.DecodeError as error:
        raise failures.broken(f"chat: {error}") from error
    if event.error is not None:
        raise failures.from_stream(event.error)
    return event


def _pull_event(line: bytes) -> _PullEvent:
    try:
        event = _pull_decoder.decode(line)
    except msgspec.DecodeError as error:
        raise failures.broken(f"pull: {error}") from error
    if event.error is not None:
        said = failures.cleaned(event.error)
        if any(words in said for words in _NO_SUCH_MODEL):
            raise EngineRefused(f"The engine cannot fetch this model: {said}")
        raise EngineUnreachable(f"The engine could not fetch the model: {said}")
    return event


def _tokens(event: _Event, generation: Generation, pieces: int) -> Tokens:
    if event.prompt_eval_count is not None and event.eval_count is not None:
        return Tokens(event.prompt_eval_count, event.eval_count)
    prompt = event.prompt_eval_count if event.prompt_eval_count is not None else estimated_prompt(generation)
    return EstimatedTokens(prompt, event.eval_count if event.eval_count is not None else pieces)


def _decode(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise failures.broken(f"{kind.__name__}: {error}") from error


def _model(engine: str, tag: _Tag, running: _Tag | None, *, facts: _Facts) -> Model:
    return Model(
        name=tag.name,
        engine=engine,
        digest=tag.digest,
        size_bytes=tag.size,
        context_length=(running.context_length if running is not None else None) or facts.context_length,
        is_loaded=running is not None,
        capabilities=facts.capabilities,
    )
