"""The values that travel between rooms: what is asked of a model and what comes back.

Structs, for a request makes several of them and a frozen dataclass takes five times as long to make.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class Message(msgspec.Struct, frozen=True, gc=False):
    """One turn of a conversation; the text is kept byte-exact."""

    role: Role
    content: str


class Generation(msgspec.Struct, frozen=True, gc=False):
    """What a caller asks of a model, the same for every door.

    `model` is the name that the caller used; the corridor resolves it. A bare prompt is one
    user message, a system text the first message. `temperature` 0..2, `top_p` 0..1, `max_tokens` >= 1.
    """

    model: str
    messages: tuple[Message, ...]
    temperature: float
    max_tokens: int
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    response_format: Mapping[str, Any] | None = None
    stream: bool = False


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """Token counts as the engine gave them."""

    prompt: int
    completion: int

    @property
    def total(self) -> int:
        return self.prompt + self.completion


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """A piece of an answer. The last one carries `finish_reason` and `tokens`; a plain answer may be one chunk."""

    text: str
    finish_reason: FinishReason | None = None
    tokens: Tokens | None = None

    @property
    def is_last(self) -> bool:
        return self.finish_reason is not None and self.tokens is not None


class Completion(msgspec.Struct, frozen=True, gc=False):
    """A whole answer. `model` is the plain name of the model that answered, `engine` the engine's name."""

    model: str
    engine: str
    text: str
    finish_reason: FinishReason
    tokens: Tokens

    def chunk(self) -> Chunk:
        """The whole answer as one piece."""
        return Chunk(self.text, self.finish_reason, self.tokens)


class Deadline(msgspec.Struct, frozen=True, gc=False):
    """The time limits of one engine call, in seconds; see docs/reference/settings.md for the defaults."""

    connect_s: float
    first_token_s: float
    between_tokens_s: float
    total_s: float
