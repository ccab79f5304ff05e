"""Parts of an answer that several vendors show alike: vectors as numbers, a call's arguments as an object."""

import struct
from typing import Any

import msgspec

from aiservice.core.types import ToolCall

# What Anthropic's own documentation calls the field of an input that is no JSON object.
INVALID_JSON = "INVALID_JSON"
_FLOAT_BYTES = 4

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def numbers(vector: bytes) -> tuple[float, ...]:
    """A vector of float32, little-endian, as numbers."""
    return struct.unpack(f"<{len(vector) // _FLOAT_BYTES}f", vector)


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """A call's arguments as an object; a text that is none, of a model that failed or was cut, is kept inside one."""
    arguments = read_arguments(call)
    return {INVALID_JSON: call.arguments} if arguments is None else arguments


def read_arguments(call: ToolCall) -> dict[str, Any] | None:
    """A call's arguments, None where their text is no JSON object."""
    try:
        return _decode_object(call.arguments or "{}")
    except (msgspec.DecodeError, RecursionError):
        return None
