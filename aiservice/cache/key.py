"""The name of a request in the cache: SHA-256 over everything that can change its answer.

Two requests share a name only if every such value is the same, in kind and to the byte: each value is written with
a tag for its kind and its length before it, so that the text can be read back in one way only. Nothing is
normalised but the order of an object's fields. Whether the answer streams does not change it and stays out.
"""

import struct
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Literal

from aiservice.cache.model import CacheKey
from aiservice.core.types import Generation

Operation = Literal["chat", "embed"]

# Layout of the fields, template by which prompts are built, filter of answers: raise the number of what changes.
VERSIONS = "layout 1, template 1, filter 1"

_double = struct.Struct(">d").pack


def request_key(
    generation: Generation, *, tenant_id: str, model: str, model_digest: str, operation: Operation = "chat"
) -> CacheKey:
    """The key of a request; `model` and `model_digest` are of the model that was resolved, not the name asked for.

    Raises `TypeError` for a value that JSON does not have.
    """
    fields = (
        VERSIONS,
        tenant_id,
        operation,
        model,
        model_digest,
        generation.temperature,
        generation.top_p,
        generation.max_tokens,
        generation.seed,
        generation.stop,
        generation.response_format,
        [text for message in generation.messages for text in (message.role, message.content)],
    )
    return CacheKey(sha256(packed(fields)).hexdigest(), tenant_id, model)


def packed(value: Any) -> bytes:
    """A JSON value as bytes that no other value has; lists and tuples are alike."""
    parts: list[bytes] = []
    _pack(value, parts.append)
    return b"".join(parts)


def _pack(value: Any, put: Callable[[bytes], None]) -> None:
    kind = type(value)
    if kind is str:
        # A lone surrogate is no UTF-8, but it is no other text either.
        data = value.encode("utf-8", "surrogatepass")
        put(b"s%d:" % len(data))
        put(data)
    elif value is None:
        put(b"n")
    elif kind is bool:
        put(b"t" if value else b"f")
    elif kind is int:
        put(b"i%d;" % value)
    elif kind is float:
        put(b"d" + _double(value))
    elif kind is tuple or kind is list:
        put(b"l%d:" % len(value))
        for item in value:
            _pack(item, put)
    elif isinstance(value, Mapping):
        put(b"m%d:" % len(value))
        for name in sorted(value):
            _pack(name, put)
            _pack(value[name], put)
    else:
        raise TypeError(f"{kind.__name__} is not a JSON value")
