"""The values that travel between rooms: what is asked of a model and what comes back.

Structs, for a request makes several of them and a frozen dataclass takes five times as long to make.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
ToolMode = Literal["auto", "none", "required"]


class Image(msgspec.Struct, frozen=True, gc=False):
    """A picture in a message: a data URL (`data:image/png;base64,...`), or an address on a host the operator allows."""

    url: str


class ToolCall(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A call that the model asks for, or a piece of one: `arguments` is JSON text.

    The pieces of a call share its `index`; the first has `id` and `name`, the `arguments` of all are to be joined.
    """

    id: str
    name: str
    arguments: str
    index: int = 0


class Message(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One turn of a conversation; the text is kept byte-exact.

    `images` belong to a user's message, `tool_calls` to the assistant's; one of the role `tool` is the result of
    the call `tool_call_id` of the tool `tool_name`, where the caller tells them.
    """

    role: Role
    content: str
    images: tuple[Image, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    tool_name: str | None = None

    @property
    def is_text(self) -> bool:
        """Whether role and text are all there is to it."""
        return self.role != "tool" and not (self.images or self.tool_calls or self.tool_call_id or self.tool_name)


class Tool(msgspec.Struct, frozen=True, gc=False):
    """A function that the model may ask to have called; `parameters` is a JSON schema of an object.

    A call of a `strict` tool has arguments that satisfy the schema, or the answer is an error.
    """

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] | None = None
    strict: bool = False


class ToolChoice(msgspec.Struct, frozen=True):
    """Whether the model may, must not or must call tools; with `name` it must call that one (`mode` is `required`).

    `is_parallel` False allows one call an answer; None leaves it to the engine.
    """

    mode: ToolMode = "auto"
    name: str | None = None
    is_parallel: bool | None = None


class Generation(msgspec.Struct, frozen=True, gc=False):
    """What a caller asks of a model, the same for every door.

    `model` is the name that the caller used; the corridor resolves it. A bare prompt is one
    user message, a system text the first message. `temperature` 0..2, `top_p` 0..1, `max_tokens` >= 1 for each of
    `n` choices, penalties -2..2. `logprobs` is how many alternatives to tell for each token, 0 for none but the
    token's own, None for no logprobs. `response_format` is of OpenAI's form: json_object or json_schema.
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
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    n: int = 1
    logprobs: int | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None

    @property
    def characters(self) -> int:
        """Characters of all texts of the prompt; pictures count as nothing."""
        return sum(len(message.content) for message in self.messages)

    @property
    def completion_tokens_max(self) -> int:
        return self.max_tokens * self.n


class Embedding(msgspec.Struct, frozen=True, gc=False):
    """Texts whose vectors a caller asks for; `dimensions` cuts each vector, for engines that can."""

    model: str
    inputs: tuple[str, ...]
    dimensions: int | None = None

    @property
    def stream(self) -> bool:
        return False

    @property
    def characters(self) -> int:
        return sum(map(len, self.inputs))

    @property
    def completion_tokens_max(self) -> int:
        return 0


Asked = Generation | Embedding


class Tokens(msgspec.Struct, frozen=True, gc=False):
    """Token counts as the engine gave them."""

    prompt: int
    completion: int

    @property
    def total(self) -> int:
        return self.prompt + self.completion


class Logprob(msgspec.Struct, frozen=True, omit_defaults=True):
    """A token's logarithmic probability, and those of the likeliest others in its place (of those: no others)."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    others: tuple["Logprob", ...] = ()


class Chunk(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A piece of an answer. Each choice's last one has its `finish_reason`, the answer's last one the `tokens`.

    `index` is the choice it belongs to. `vectors` are those of an `Embedding`, float32 little-endian, in its order.
    """

    text: str
    finish_reason: FinishReason | None = None
    tokens: Tokens | None = None
    index: int = 0
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[Logprob, ...] = ()
    vectors: tuple[bytes, ...] = ()

    @property
    def is_last(self) -> bool:
        return self.tokens is not None


def merged(chunks: Iterable[Chunk]) -> tuple[Chunk, ...]:
    """The pieces of an answer as one whole chunk for each of its choices, in their order; the last has the tokens."""
    pieces = list(chunks)
    if len(pieces) == 1:
        return (pieces[0],)
    tokens = next((piece.tokens for piece in reversed(pieces) if piece.tokens is not None), None)
    indices = sorted({piece.index for piece in pieces})
    if len(indices) == 1:
        return (_merged_choice(pieces, tokens),)
    wholes = [_merged_choice([piece for piece in pieces if piece.index == index], None) for index in indices]
    wholes[-1] = msgspec.structs.replace(wholes[-1], tokens=tokens)
    return tuple(wholes)


def _merged_choice(pieces: list[Chunk], tokens: Tokens | None) -> Chunk:
    return Chunk(
        "".join([piece.text for piece in pieces]),
        next((piece.finish_reason for piece in reversed(pieces) if piece.finish_reason is not None), None),
        tokens,
        pieces[0].index,
        merged_calls([call for piece in pieces for call in piece.tool_calls]),
        tuple([logprob for piece in pieces for logprob in piece.logprobs]),
        tuple([vector for piece in pieces for vector in piece.vectors]),
    )


def merged_calls(pieces: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    """The pieces of calls as whole calls, by their index."""
    calls: dict[int, list[ToolCall]] = {}
    for piece in pieces:
        calls.setdefault(piece.index, []).append(piece)
    return tuple(
        ToolCall(
            next((part.id for part in parts if part.id), ""),
            next((part.name for part in parts if part.name), ""),
            "".join([part.arguments for part in parts]),
            index,
        )
        for index, parts in sorted(calls.items())
    )


class Completion(msgspec.Struct, frozen=True, gc=False):
    """A whole answer: one whole chunk for each choice, the last with the tokens.

    `model` is the plain name of the model that answered, `engine` the engine's name.
    """

    model: str
    engine: str
    choices: tuple[Chunk, ...]

    @property
    def tokens(self) -> Tokens:
        tokens = self.choices[-1].tokens
        assert tokens is not None
        return tokens


class Deadline(msgspec.Struct, frozen=True, gc=False):
    """The time limits of one engine call, in seconds; see docs/reference/settings.md for the defaults."""

    connect_s: float
    first_token_s: float
    between_tokens_s: float
    total_s: float
