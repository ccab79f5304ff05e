"""An engine that plays a script, for tests of everything above it: pauses, failures and cuts on demand.

It exists when ENVIRONMENT=test. The name of a model picks its script:

    echo            "echo: " and the last user message
    words-N         N numbered words, one a chunk
    slow-first      waits 60 s before the first word
    slow-between    one word, then 60 s, then another
    slow-N          20 words with N ms before each
    refuse, busy, down, fail      that error before the first word
    fail-mid, cut   two words, then an error, or the end of the connection
    tools           calls the tools that the last user message names, and tells the results of those it called
    json            the smallest JSON of the schema that was asked for; json-broken the beginning of one
    see             how many pictures it was shown, and of which types
    embed           vectors of 8 dimensions, the same for the same text

A token is a word, or a piece of a tool call. Deadlines, `max_tokens`, `stream`, `logprobs` and `stop` (inside one
word) are honoured as by any engine.
"""

import asyncio
import hashlib
import json
import math
import re
import struct
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from aiservice.core.errors import EngineBusy, EngineError, EngineRefused, EngineUnreachable
from aiservice.core.types import (
    Chunk,
    Deadline,
    Embedding,
    FinishReason,
    Generation,
    Logprob,
    Message,
    Tokens,
    ToolCall,
    merged,
)
from aiservice.engines import failures
from aiservice.engines.examples import TEXT, example
from aiservice.engines.model import Capability, Model, PullProgress
from aiservice.engines.tool_script import called_tools, last_user_text, told_results
from aiservice.engines.watch import Watch

ENGINE_NAME = "fake"
CONTEXT_LENGTH = 8_192
DIMENSIONS = 8
CALL_PIECE_LENGTH = 12
_WORD = re.compile(r"\s*\S+\s*")
# As in: a JSON with 'setup' and 'punchline' keys.
_NAMED_KEY = re.compile(r"'(\w+)'(?=[^.?!]*\bkeys?\b)")


@dataclass(frozen=True, slots=True)
class Say:
    """Sends a text, a word a chunk."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """Asks for a call of a tool, in pieces."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class Pause:
    """Says nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Fail:
    """Ends with an error of this kind."""

    kind: type[EngineError]
    public: str
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """Ends without an end, as when the connection breaks."""


Step = Say | Call | Pause | Fail | Cut
Script = tuple[Step, ...]

_MIDWAY = "The engine failed in the middle of its answer; try again."
SCRIPTS: Mapping[str, Script] = {
    "slow-first": (Pause(60.0), Say("late")),
    "slow-between": (Say("early "), Pause(60.0), Say("late")),
    "refuse": (Fail(EngineRefused, "The engine did not accept the request: it was told to refuse."),),
    "busy": (Fail(EngineBusy, "The engine has no free slot now; try again in 1 s.", 1),),
    "down": (Fail(EngineUnreachable, "The engine cannot be reached; try again shortly or name another model."),),
    "fail": (Fail(EngineError, "The engine failed; try again or name another model."),),
    "fail-mid": (Say("one two "), Fail(EngineError, _MIDWAY)),
    "cut": (Say("one two "), Cut()),
    "json-broken": (Say('{"broken": '),),
}
EMBEDDER = "embed"
LISTED = (
    "echo",
    "words-10",
    "words-100",
    "words-1000",
    "slow-20",
    "slow-50",
    *SCRIPTS,
    "tools",
    "json",
    "see",
    EMBEDDER,
)
_CAPABILITIES: Mapping[str, tuple[Capability, ...]] = {
    "tools": ("chat", "stream", "tools"),
    "see": ("chat", "stream", "vision"),
    EMBEDDER: ("embed",),
}


class FakeEngine:
    """Plays scripts; `scripts` adds to the built-in ones. `active` is how many answers are being given right now."""

    def __init__(self, name: str = ENGINE_NAME, *, scripts: Mapping[str, Script] | None = None) -> None:
        self.name = name
        self.active = 0
        self._scripts = {**SCRIPTS, **(scripts or {})}

    async def models(self) -> Sequence[Model]:
        return [
            Model(
                name=name,
                engine=self.name,
                digest=name,
                size_bytes=None,
                context_length=CONTEXT_LENGTH,
                is_loaded=True,
                capabilities=_CAPABILITIES.get(name, ("chat", "stream")),
            )
            for name in (*LISTED, *(self._scripts.keys() - SCRIPTS.keys()))
        ]

    async def generate(self, model: str, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
        script = self._script(model, generation)
        watch = Watch(deadline, is_streamed=generation.stream)
        self.active += 1
        try:
            chunks = _play(script, generation, watch)
            if generation.stream:
                async for chunk in chunks:
                    yield chunk
            else:
                yield merged([chunk async for chunk in chunks])[0]
        finally:
            self.active -= 1
            watch.close()

    async def embed(self, model: str, embedding: Embedding, deadline: Deadline) -> AsyncGenerator[Chunk]:
        if model != EMBEDDER:
            raise EngineRefused(f"The scripted engine makes no vectors with {failures.cleaned(model)}.")
        dimensions = embedding.dimensions or DIMENSIONS
        if dimensions > DIMENSIONS:
            raise EngineRefused(f"The scripted engine's vectors have no more than {DIMENSIONS} dimensions.")
        words = [len(text.split()) for text in embedding.inputs]
        if max(words, default=0) > CONTEXT_LENGTH:
            raise EngineRefused(f"The scripted engine takes at most {CONTEXT_LENGTH} tokens an input.")
        vectors = tuple(_vector(text, dimensions) for text in embedding.inputs)
        yield Chunk("", "stop", Tokens(max(sum(words), 1), 0), vectors=vectors)

    async def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Pretends to fetch a model in three steps."""
        yield PullProgress("pulling manifest")
        for completed in (50, 100):
            yield PullProgress("downloading", completed, 100)
        yield PullProgress("success")

    async def aclose(self) -> None:
        """Nothing is open."""

    def _script(self, model: str, generation: Generation) -> Script:
        script = self._scripts.get(model) or _numbered(model) or _answering(model, generation)
        if script is None:
            raise EngineRefused(f"The scripted engine has no script named {failures.cleaned(model)}.")
        return script


def _answering(model: str, generation: Generation) -> Script | None:
    """The scripts that depend on what is asked."""
    if model == "echo":
        return (Say(f"echo: {last_user_text(generation)}"),)
    if model == "json":
        return (Say(_json(generation)),)
    if model == "see":
        return (Say(_seen(generation.messages)),)
    if model == "tools":
        if calls := called_tools(generation):
            return tuple(Call(call) for call in calls)
        told = told_results(generation)
        return (Say(_json(generation) if told is None and generation.response_format else told or "no tool"),)
    return None


def _json(generation: Generation) -> str:
    asked = generation.response_format or {}
    said = last_user_text(generation)
    if asked.get("type") == "json_object":
        named = dict.fromkeys(_NAMED_KEY.findall(said), TEXT)
        return json.dumps(named or {"answer": said}, ensure_ascii=False)
    if asked.get("type") != "json_schema":
        return "This is a plain sentence."
    return json.dumps(example(asked["json_schema"].get("schema", {}), said), ensure_ascii=False)


def _seen(messages: Sequence[Message]) -> str:
    urls = [image.url for message in messages for image in message.images]
    types = [url[5:].partition(";")[0] if url.startswith("data:") else "link" for url in urls]
    return f"saw {len(urls)} image(s){': ' if urls else ''}{', '.join(types)}"


def _vector(text: str, dimensions: int) -> bytes:
    digest = hashlib.sha256(text.encode()).digest()
    numbers = [number - 2**31 for number in struct.unpack(f"<{DIMENSIONS}I", digest)][:dimensions]
    length = math.hypot(*numbers)
    return struct.pack(f"<{dimensions}f", *(number / length for number in numbers))


def _numbered(model: str) -> Script | None:
    kind, _, number = model.rpartition("-")
    if not number.isdecimal():
        return None
    if kind == "words":
        return (Say(" ".join(f"word{n}" for n in range(int(number)))),)
    if kind == "slow":
        return tuple(step for n in range(20) for step in (Pause(int(number) / 1000), Say(f"word{n} ")))
    return None


async def _play(script: Script, generation: Generation, watch: Watch) -> AsyncGenerator[Chunk]:
    prompt = sum(len(message.content.split()) for message in generation.messages)
    said = ""
    count = 0
    finish: FinishReason = "tool_calls" if any(isinstance(step, Call) for step in script) else "stop"
    async for piece in _pieces(script, watch):
        whole = said + piece.text
        count += 1
        stop_at = min((at for text in generation.stop if (at := whole.find(text)) >= 0), default=-1)
        if stop_at >= 0:
            if rest := whole[len(said) : stop_at]:
                yield Chunk(rest, logprobs=_logprobs(rest, count, generation.logprobs))
            break
        said = whole
        yield _with_logprobs(piece, count, generation.logprobs)
        if count == generation.max_tokens:
            finish = "length"
            break
    yield Chunk("", finish, Tokens(max(prompt, 1), count))


async def _pieces(script: Script, watch: Watch) -> AsyncGenerator[Chunk]:
    for step in script:
        if isinstance(step, Pause):
            with watch:
                await asyncio.sleep(step.seconds)
        elif isinstance(step, Fail):
            raise step.kind(step.public, retry_after_s=step.retry_after_s)
        elif isinstance(step, Cut):
            raise failures.cut()
        else:
            for piece in _cut_up(step):
                watch.note_token()
                yield piece


def _cut_up(step: Say | Call) -> list[Chunk]:
    """A text word by word, a call as its name and then its arguments in two pieces or more."""
    if isinstance(step, Say):
        return [Chunk(word) for word in _WORD.findall(step.text)]
    call = step.call
    size = min(CALL_PIECE_LENGTH, (len(call.arguments) + 1) // 2)
    parts = [call.arguments[at : at + size] for at in range(0, len(call.arguments), size)]
    pieces = [msgspec.structs.replace(call, arguments=""), *(ToolCall("", "", part, call.index) for part in parts)]
    return [Chunk("", tool_calls=(piece,)) for piece in pieces]


def _with_logprobs(piece: Chunk, position: int, others: int | None) -> Chunk:
    if others is None or not piece.text:
        return piece
    return msgspec.structs.replace(piece, logprobs=_logprobs(piece.text, position, others))


def _logprobs(token: str, position: int, others: int | None) -> tuple[Logprob, ...]:
    """The token with a made-up probability; of the likeliest in its place it is the first."""
    if others is None:
        return ()
    own = _logprob(token, -0.1 * (1 + (position - 1) % 9))
    rest = [_logprob(f"{token.strip()}{row}", own.logprob - row) for row in range(1, others)]
    return (msgspec.structs.replace(own, others=(own, *rest)[:others]),)


def _logprob(token: str, logprob: float) -> Logprob:
    return Logprob(token, round(logprob, 1), tuple(token.encode()))
