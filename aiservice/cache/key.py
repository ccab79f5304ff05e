"""The name of a request in the cache: SHA-256 over everything that can change its answer.

Two requests share a name only if every such value is the same, in kind and to the byte: each value is written with
a tag for its kind and its length before it, so that the text can be read back in one way only. Nothing is
normalised but the order of an object's fields. Whether the answer streams does not change it and stays out.
"""

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal

from aiservice.cache.model import CacheKey
from aiservice.core.types import Generation

Operation = Literal["chat", "embed"]

# Layout of the fields, template by which prompts are built, filter of answers: raise the number of what changes.
VERSIONS = "layout 1, template 1, filter 1"
FIELD_COUNT = 12

_double = struct.Struct(">d").pack


def request_key(
    generation: Generation, *, tenant_id: str, model: str, model_digest: str, operation: Operation = "chat"
) -> CacheKey:
    """The key of a request; `model` and `model_digest` are of the model that was resolved, not the name asked for.

    Raises `TypeError` for a value that JSON does not have.
    """
    messages = generation.messages
    parts = [
        _start(tenant_id, operation, model, model_digest),
        _scalar(generation.temperature),
        _scalar(generation.top_p),
        _scalar(generation.max_tokens),
        _scalar(generation.seed),
        packed(generation.stop),
        packed(generation.response_format),
        b"l%d:" % (2 * len(messages)),
    ]
    for message in messages:
        content = message.content.encode("utf-8", "surrogatepass")
        parts += (_role(message.role), b"s%d:" % len(content), content)
    return CacheKey(sha256(b"".join(parts)).hexdigest(), tenant_id, model)


def packed(value: Any) -> bytes:
    """A JSON value as bytes that no other value has; lists and tuples are alike."""
    if value is None:
        return b"n"
    parts: list[bytes] = []
    _pack(value, parts.append)
    return b"".join(parts)


def _pack(value: Any, put: Callable[[bytes], None]) -> None:
    kind = type(value)
    if kind is tuple or kind is list:
        put(b"l%d:" % len(value))
        for item in value:
            _pack(item, put)
    elif kind is dict or isinstance(value, Mapping):
        put(b"m%d:" % len(value))
        for name in sorted(value):
            _pack(name, put)
            _pack(value[name], put)
    else:
        put(_scalar(value))


def _scalar(value: Any) -> bytes:
    kind = type(value)
    if value is None:
        return b"n"
    if kind is float:
        return b"d" + _double(value)
    if kind is int:
        return b"i%d;" % value
    if kind is bool:
        return b"t" if value else b"f"
    if kind is str:
        # A lone surrogate is no UTF-8, but it is no other text either.
        data = value.encode("utf-8", "surrogatepass")
        return b"s%d:%b" % (len(data), data)
    raise TypeError(f"{kind.__name__} is not a JSON value")


@lru_cache(maxsize=1_024)
def _start(*fields: str) -> bytes:
    """What a tenant's requests to a model begin with."""
    return b"l%d:" % FIELD_COUNT + b"".join(map(_scalar, (VERSIONS, *fields)))


@lru_cache(maxsize=16)
def _role(role: str) -> bytes:
    return _scalar(role)
