"""Engines and their models as the rest of the service sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from aiservice.core.types import Tokens

EngineKind = Literal["llamacpp", "ollama", "openai_compat", "fake"]
Capability = Literal["chat", "stream", "embed", "tools", "vision"]
EngineStatus = Literal["ok", "starting", "down"]


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in billionths of the operator's currency unit per token."""

    prompt_nano: int
    completion_nano: int


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One row of settings: an engine to be built. `name` is what clients put before the slash.

    Rows with the same `group` are replicas: a model that two of them serve is asked for from each in turn. `prices`
    goes by model name. An engine that `may_be_absent` is not reported as down until it has answered once.
    """

    name: str
    kind: EngineKind
    url: str
    api_key: str | None = field(default=None, repr=False)
    group: str = ""
    prices: Mapping[str, Price] = field(default_factory=dict)
    may_be_absent: bool = False


@dataclass(frozen=True, slots=True)
class Model:
    """A model of an engine. `digest` changes when its weights do; sizes are None where unknown.

    Prices are in billionths of the operator's currency unit per token.
    """

    name: str
    engine: str
    digest: str
    size_bytes: int | None
    context_length: int | None
    is_loaded: bool
    capabilities: tuple[Capability, ...]
    prompt_price_nano: int = 0
    completion_price_nano: int = 0

    @property
    def id(self) -> str:
        return f"{self.engine}/{self.name}"


@dataclass(frozen=True, slots=True)
class PullProgress:
    """A step of a model's download. Bytes are None while the size is unknown; `digest` is of the part they are of."""

    status: str
    completed_bytes: int | None = None
    total_bytes: int | None = None
    digest: str | None = None


class EstimatedTokens(Tokens, frozen=True, gc=False):
    """Token counts of an engine that gave none: a guess, told from exact counts by its type."""
