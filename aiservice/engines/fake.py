"""An engine that plays a script, for tests of everything above it: pauses, failures and cuts on demand.

It exists when ENVIRONMENT=test. The name of a model picks its script:

    echo            "echo: " and the last user message
    words-N         N numbered words, one a chunk
    slow-first      waits 60 s before the first word
    slow-between    one word, then 60 s, then another
    slow-N          20 words with N ms before each
    refuse, busy, down, fail      that error before the first word
    fail-mid, cut   two words, then an error, or the end of the connection

A token is a word. Deadlines, `max_tokens`, `stream` and `stop` (inside one word) are honoured as by any engine.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

from aiservice.core.errors import EngineBusy, EngineError, EngineRefused, EngineUnreachable
from aiservice.core.types import Chunk, Deadline, FinishReason, Generation, Tokens
from aiservice.engines import failures
from aiservice.engines.model import Model, PullProgress
from aiservice.engines.watch import Watch

ENGINE_NAME = "fake"
CONTEXT_LENGTH = 8_192
_WORD = re.compile(r"\s*\S+\s*")


@dataclass(frozen=True, slots=True)
class Say:
    """Sends a text, a word a chunk."""

    text: str


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


Step = Say | Pause | Fail | Cut
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
}
LISTED = ("echo", "words-10", "words-100", "words-1000", "slow-20", "slow-50", *SCRIPTS)


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
                capabilities=("chat", "stream"),
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
                parts = [chunk async for chunk in chunks]
                yield Chunk("".join(part.text for part in parts), parts[-1].finish_reason, parts[-1].tokens)
        finally:
            self.active -= 1
            watch.close()

    async def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        """Pretends to fetch a model in three steps."""
        yield PullProgress("pulling manifest")
        for completed in (50, 100):
            yield PullProgress("downloading", completed, 100)
        yield PullProgress("success")

    async def aclose(self) -> None:
        """Nothing is open."""

    def _script(self, model: str, generation: Generation) -> Script:
        script = self._scripts.get(model) or _numbered(model)
        if model == "echo":
            last = next((message.content for message in reversed(generation.messages) if message.role == "user"), "")
            script = (Say(f"echo: {last}"),)
        if script is None:
            raise EngineRefused(f"The scripted engine has no script named {failures.cleaned(model)}.")
        return script


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
    finish: FinishReason = "stop"
    async for word in _words(script, watch):
        whole = said + word
        count += 1
        stop_at = min((at for text in generation.stop if (at := whole.find(text)) >= 0), default=-1)
        if stop_at >= 0:
            if rest := whole[len(said) : stop_at]:
                yield Chunk(rest)
            break
        said = whole
        yield Chunk(word)
        if count == generation.max_tokens:
            finish = "length"
            break
    yield Chunk("", finish, Tokens(max(prompt, 1), count))


async def _words(script: Script, watch: Watch) -> AsyncGenerator[str]:
    for step in script:
        if isinstance(step, Pause):
            with watch:
                await asyncio.sleep(step.seconds)
        elif isinstance(step, Fail):
            raise step.kind(step.public, retry_after_s=step.retry_after_s)
        elif isinstance(step, Cut):
            raise failures.cut()
        else:
            for word in _WORD.findall(step.text):
                watch.note_token()
                yield word
