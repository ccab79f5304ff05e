"""Reads a hot door's body: what is wrong with it is said by field, before anything is done."""

import re
from typing import TypeVar

import msgspec

from aiservice.core.errors import FieldInvalid, InvalidRequest, MediaTypeWrong

_Struct = TypeVar("_Struct")

_JSON_TYPES = (b"application/json",)
_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_FIELD = re.compile(r"(?:unknown|required) field `(?P<field>[^`]*)`")
# What msgspec says of a kind of block, source or tool that no type of a union has.
_KIND = re.compile(r"Invalid value '(?P<kind>[^']*)'")


def refuse_media_type(headers: dict[bytes, bytes]) -> None:
    """Raises `MediaTypeWrong` for a compressed body or one that says it is not JSON."""
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise MediaTypeWrong("The request body is compressed; send it without Content-Encoding.")
    content_type = headers.get(b"content-type")
    if content_type in _JSON_TYPES or content_type is None:
        return
    if content_type.split(b";")[0].strip().lower() not in _JSON_TYPES:
        raise MediaTypeWrong("The request body must be JSON; send Content-Type: application/json.")


def decode(decoder: msgspec.json.Decoder[_Struct], body: bytes) -> _Struct:
    """The body as the decoder's type; raises `InvalidRequest` (not JSON) or `FieldInvalid` (names the field)."""
    if not body:
        raise InvalidRequest("The request needs a JSON object as its body.")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _field_error(str(error)) from None
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not valid UTF-8.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    except msgspec.DecodeError:
        raise InvalidRequest("The body is not valid JSON.") from None


def refuse_nul(text: str, param: str) -> None:
    """Raises `FieldInvalid` for a text with U+0000, which no store keeps."""
    if "\0" in text:
        raise FieldInvalid(f"{param} contains the character U+0000; remove it.", param=param)


def _field_error(complaint: str) -> InvalidRequest:
    at = _AT.search(complaint)
    path = at["path"] if at else ""
    sentence = _AT.sub("", complaint)
    named = _FIELD.search(sentence)
    sentence = _KIND.sub(r"'\g<kind>' is not supported here", sentence)
    param = ".".join(part for part in (path, named["field"] if named else "") if part)
    if not param:
        return InvalidRequest("The request needs a JSON object as its body.")
    return FieldInvalid(f"{param}: {sentence}.", param=param)
