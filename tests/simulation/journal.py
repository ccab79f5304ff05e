"""What happened in a seed, as the clients, the engine and the stores saw it: what the checks read."""

import asyncio
import zlib
from dataclasses import dataclass, field
from typing import Literal

from aiservice.cache import CacheKey
from aiservice.core.types import Chunk, Tokens
from aiservice.gateway import CacheState
from aiservice.limits import Decision, Take
from tests.simulation.plan import Question

End = Literal["open", "answered", "refused", "left", "cut"]
CallEnd = Literal["open", "whole", "failed", "closed"]


@dataclass(slots=True)
class Exchange:
    """A request on its way: what its client has seen, the first of it at `begun_s`. `cut`: the worker died first."""

    question: Question
    id: str
    worker: str
    sent_s: float
    over: "asyncio.Future[None]"
    created_at_us: int | None = None
    state: CacheState | None = None
    text: str = ""
    tokens: Tokens | None = None
    end: End = "open"
    error: str = ""
    ended_s: float = 0.0
    begun_s: float | None = None

    @property
    def subject(self) -> tuple[str, str, float]:
        """Exchanges with the same one have the same cache key."""
        generation = self.question.generation
        return self.question.tenant_id, generation.messages[0].content, generation.temperature

    @property
    def is_shared(self) -> bool:
        """Whether it may join a flight."""
        control = self.question.cache_control
        return control not in ("no-store", "no-cache", "only-if-cached")

    def take_in(self, chunk: Chunk) -> None:
        self.text += chunk.text
        self.tokens = chunk.tokens or self.tokens

    def close(self, end: End, now_s: float, error: str = "") -> None:
        """The first end counts."""
        if self.end == "open":
            self.end, self.ended_s, self.error = end, now_s, error
            if not self.over.done():
                self.over.set_result(None)


@dataclass(slots=True)
class EngineCall:
    """A call as the engine's own log has it; `sent` is the number of its words that left the engine."""

    number: int
    exchange: Exchange
    text: str
    started_s: float
    sent: int = 0
    end: CallEnd = "open"
    ended_s: float = 0.0

    def close(self, end: CallEnd, now_s: float) -> None:
        if self.end == "open":
            self.end, self.ended_s = end, now_s


@dataclass(frozen=True, slots=True)
class LimiterCall:
    """A transaction of the limiter: takes, or the closing or renewal of one. Its worker died in a doubtful one."""

    at_us: int
    is_doubtful: bool
    takes: tuple[Take, ...] = ()
    decisions: tuple[Decision, ...] = ()
    closed: Take | None = None
    given_back: tuple[int, ...] = ()
    renewed: Take | None = None


@dataclass(frozen=True, slots=True)
class CacheCall:
    """An answer that was put or found, or a clearing (`tenant_id` and `model` None: any)."""

    at_us: int
    kind: Literal["put", "found", "clear"]
    tenant_id: str | None
    model: str | None
    key: CacheKey | None = None
    text: str = ""
    created_at_us: int = 0
    max_age_s: float | None = None


@dataclass(slots=True)
class Journal:
    """Everything in the order in which it happened."""

    exchanges: list[Exchange] = field(default_factory=list)
    engine: list[EngineCall] = field(default_factory=list)
    limiter: list[LimiterCall] = field(default_factory=list)
    cache: list[CacheCall] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def say(self, now_s: float, text: str) -> None:
        self.lines.append(f"{now_s:9.4f}  {text}")

    @property
    def digest(self) -> int:
        return zlib.crc32("\n".join(self.lines).encode())
