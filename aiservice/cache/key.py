"""The name of a request in the cache: SHA-256 over everything that can change its answer.

Two requests share a name only if every such value is the same, in kind and to the byte: each value is written with
a tag for its kind and its length before it, so that the text can be read back in one way only. Nothing is
normalised but the order of an object's fields. Whether the answer streams does not change it and stays out.
"""

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any

from aiservice.cache.model import CacheKey
from aiservice.core.types import Asked, Embedding, Generation, Message

# Layout of the fields, template by which prompts are built, filter of answers: raise the number of what changes.
VERSIONS = "layout 2, template 1, filter 1"
CHAT_FIELDS = 13
EMBED_FIELDS = 7

_NO_EXTRAS: tuple[Any, ...] = (1, None, None, None, None, None, [])
_double = struct.Struct(">d").pack


def request_key(asked: Asked, *, tenant_id: str, model: str, model_digest: str) -> CacheKey:
    """The key of a request; `model` and `model_digest` are of the model that was resolved, not the name asked for.

    Raises `TypeError` for a value that JSON does not have.
    """
    if isinstance(asked, Embedding):
        start = _start(EMBED_FIELDS, tenant_id, "embed", model, model_digest)
        parts = [start, packed(asked.dimensions), packed(asked.inputs)]
    else:
        parts = [_start(CHAT_FIELDS, tenant_id, "chat", model, model_digest)]
        _put_generation(asked, parts)
    return CacheKey(sha256(b"".join(parts)).hexdigest(), tenant_id, model)


def _put_generation(generation: Generation, parts: list[bytes]) -> None:
    messages = generation.messages
    parts += (
        _scalar(generation.temperature),
        _scalar(generation.top_p),
        _scalar(generation.max_tokens),
        _scalar(generation.seed),
        packed(generation.stop),
        packed(generation.response_format),
        _extras(generation),
        b"l%d:" % len(messages),
    )
    for message in messages:
        if message.is_text:
            content = message.content.encode("utf-8", "surrogatepass")
            parts += (_role(message.role), b"s%d:" % len(content), content)
        else:
            # A list where others have a role: no text message begins like it.
            parts.append(packed(_rich(message)))


def _extras(generation: Generation) -> bytes:
    """What few requests ask for, in one value; nothing where it is as nobody asked."""
    choice = generation.tool_choice
    extras = (
        generation.n,
        generation.logprobs,
        generation.top_k,
        generation.frequency_penalty,
        generation.presence_penalty,
        choice and (choice.mode, choice.name, choice.is_parallel),
        [(tool.name, tool.description, tool.parameters, tool.strict) for tool in generation.tools],
    )
    return b"n" if extras == _NO_EXTRAS else packed(extras)


def _rich(message: Message) -> tuple[Any, ...]:
    return (
        message.role,
        message.content,
        [image.url for image in message.images],
        [(call.id, call.name, call.arguments) for call in message.tool_calls],
        message.tool_call_id,
        message.tool_name,
    )


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
def _start(count: int, *fields: str) -> bytes:
    """What a tenant's requests to a model begin with; `count` is how many fields a request of this kind has."""
    return b"l%d:" % count + b"".join(map(_scalar, (VERSIONS, *fields)))


@lru_cache(maxsize=16)
def _role(role: str) -> bytes:
    return _scalar(role)
