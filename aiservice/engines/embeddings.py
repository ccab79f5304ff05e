"""Vectors in OpenAI's form: what is asked of a server, and what it answers.

A vector is asked for as base64, a quarter of what its numbers take as text; a server that sends numbers all the same
is understood.
"""

import re
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from aiservice.core.errors import EngineError, EngineRefused
from aiservice.core.types import Chunk, Embedding, Tokens
from aiservice.engines import failures
from aiservice.engines.model import EstimatedTokens

CHARACTERS_PER_TOKEN = 4
FLOAT_BYTES = 4
# llama.cpp calls an input that is too long its own fault, a 500.
_TOO_LONG = re.compile(r"input \((\d+) tokens\) is too large .*batch size: (\d+)")
_encoder = msgspec.json.Encoder()


class _Row(msgspec.Struct, gc=False):
    embedding: bytes | list[float]  # base64 in the JSON
    index: int | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Row] = []
    usage: _Usage | None = None
    error: failures.Said | str | None = None


_answer_decoder = msgspec.json.Decoder(_Answer)


def embeddings_body(model: str, embedding: Embedding) -> bytes:
    """The request; `dimensions` only where the caller names them."""
    body: dict[str, Any] = {"model": model, "input": embedding.inputs, "encoding_format": "base64"}
    if embedding.dimensions is not None:
        body["dimensions"] = embedding.dimensions
    return _encoder.encode(body)


def embeddings_chunk(answer: bytes, embedding: Embedding) -> Chunk:
    """The answer as the one chunk of `Engine.embed`; raises `EngineError` when it is not whole or cannot be read."""
    try:
        read = _answer_decoder.decode(answer)
    except msgspec.DecodeError as error:
        raise failures.broken(f"embeddings: {error}") from error
    if read.error is not None:
        raise failures.from_stream(read.error)
    rows = _ordered(read.data, len(embedding.inputs))
    count = None if read.usage is None else read.usage.prompt_tokens
    return vectors_chunk([row.embedding for row in rows], count, embedding)


def vectors_chunk(told: Sequence[bytes | list[float]], prompt_tokens: int | None, embedding: Embedding) -> Chunk:
    """Vectors in the order of the inputs as the one chunk of `Engine.embed`; `prompt_tokens` None is estimated.

    A server that does not know `dimensions` gives all numbers of its model: that is refused, not cut here, since a
    piece of a vector means something only where the model was trained for it.
    """
    if len(told) != len(embedding.inputs):
        raise failures.broken(f"{len(told)} vectors for {len(embedding.inputs)} inputs")
    vectors = tuple([_float32(vector) for vector in told])
    lengths = {len(vector) // FLOAT_BYTES for vector in vectors}
    if len(lengths) > 1:
        raise failures.broken(f"vectors of different lengths: {sorted(lengths)}")
    if embedding.dimensions is not None and lengths - {embedding.dimensions}:
        raise EngineRefused(
            f"The model makes vectors of {lengths.pop()} numbers and none of {embedding.dimensions}; "
            "leave `dimensions` out."
        )
    return Chunk("", "stop", _tokens(prompt_tokens, embedding), vectors=vectors)


def refused_as_too_long(error: EngineError) -> EngineRefused | None:
    """The refusal that llama.cpp's failure at an input that is too long should have been; None for another failure."""
    found = _TOO_LONG.search(error.detail or "")
    if found is None:
        return None
    return EngineRefused(
        f"An input has {found[1]} tokens, and the model takes {found[2]} at most; cut it into shorter ones.",
        detail=error.detail,
    )


def _ordered(rows: list[_Row], count: int) -> Sequence[_Row]:
    """One row for each input, in the order of the inputs; rows without an index are in it."""
    if len(rows) != count:
        raise failures.broken(f"{len(rows)} vectors for {count} inputs")
    placed = {position if row.index is None else row.index: row for position, row in enumerate(rows)}
    if placed.keys() != set(range(count)):
        raise failures.broken("vectors without a place")
    return [placed[position] for position in range(count)]


def _float32(vector: bytes | list[float]) -> bytes:
    if isinstance(vector, list):
        try:
            vector = struct.pack(f"<{len(vector)}f", *vector)
        except OverflowError as error:
            raise failures.broken("a number of a vector is too large") from error
    if not vector or len(vector) % FLOAT_BYTES:
        raise failures.broken(f"a vector of {len(vector)} bytes")
    return vector


def _tokens(count: int | None, embedding: Embedding) -> Tokens:
    if count is not None:
        return Tokens(count, 0)
    return EstimatedTokens(max(1, embedding.characters // CHARACTERS_PER_TOKEN), 0)
