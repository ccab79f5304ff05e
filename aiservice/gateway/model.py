"""What walks through the corridor: the visit going in, the answer coming out."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from aiservice.cache import CacheKey
from aiservice.core.errors import EngineError
from aiservice.core.types import Asked, Chunk, Completion, Tokens, merged
from aiservice.engines import Route
from aiservice.gateway.form import AnswerForm
from aiservice.keys import Caller
from aiservice.limits import Decision, Take

CacheState = Literal["HIT", "MISS", "BYPASS"]


class Visit(msgspec.Struct, frozen=True):
    """One request of a known caller at one door.

    `id` is its UUIDv7; `created_at_us` the wall time and `started_s` the monotonic time of its arrival.
    """

    id: str
    endpoint: str
    caller: Caller
    created_at_us: int
    started_s: float


class Answer(msgspec.Struct, frozen=True):
    """What the corridor gives back once the first chunk is there.

    `rest` yields the chunks after `first` and must be closed by whoever holds the answer, also when `first` was all.
    `age_s` is the age of a cached answer, None otherwise.
    """

    model: str
    engine: str
    cache_state: CacheState
    decision: Decision
    first: Chunk
    rest: AsyncGenerator[Chunk]
    age_s: int | None = None


class Errand(msgspec.Struct, frozen=True):
    """A visit that no entry answers: where it goes, what was taken for it, and the key its answer is kept under."""

    visit: Visit
    asked: Asked
    form: AnswerForm
    route: Route
    take: Take
    decision: Decision
    cache_key: CacheKey | None
    prompt_estimate: int


@dataclass(slots=True)
class Spent:
    """What the models that a request consulted came to; `cost` in billionths of the operator's currency unit."""

    model: str | None = None
    tokens: Tokens = field(default_factory=lambda: Tokens(0, 0))
    cost: int = 0

    def add(self, model: str, tokens: Tokens, cost: int) -> None:
        self.model = model
        self.tokens = Tokens(self.tokens.prompt + tokens.prompt, self.tokens.completion + tokens.completion)
        self.cost += cost


@dataclass(slots=True)
class Transcript:
    """An answer as it grows: what the ledger and the cache need to know of it at any moment.

    `marked_s` is the monotonic time of the last mark in the spool, at first that of the engine's call.
    """

    prompt_estimate: int
    marked_s: float
    pieces: int = 0
    chunks: list[Chunk] = field(default_factory=list)
    tokens: Tokens | None = None
    is_recorded: bool = False

    def add(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        if chunk.text or chunk.tool_calls:
            self.pieces += 1
        if chunk.tokens is not None:
            self.tokens = chunk.tokens

    def tokens_so_far(self) -> Tokens:
        """The engine's own count, or before it came: the estimate for the prompt and a token for each piece."""
        return self.tokens or Tokens(self.prompt_estimate if self.pieces else 0, self.pieces)

    @property
    def is_empty(self) -> bool:
        return not self.chunks

    @property
    def is_complete(self) -> bool:
        return self.tokens is not None

    def ensure_complete(self) -> None:
        """Raises `EngineError` when the engine's chunks ended before the answer did."""
        if not self.is_complete:
            raise EngineError("The engine's answer was cut off.")

    def completion(self, model: str, engine: str) -> Completion:
        """The whole answer; only once it is complete."""
        return Completion(model, engine, merged(self.chunks))
