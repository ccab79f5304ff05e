"""Takes out of log values what looks like a key."""

import re
from collections.abc import Mapping

HIDDEN = "***"

_OWN_KEY = re.compile(r"(vpn(?:adm)?_[0-9A-Za-z]{12}_)[0-9A-Za-z]{16,}")
_KEY = re.compile(r"(vpn(?:adm)?_|sk-)(?![0-9A-Za-z]{12}_\*)[0-9A-Za-z_-]{6,}")
_SECRET_NAME = re.compile(
    r"(?:proxy-)?authorization|x-api-key|x-admin-key|api[-_]?key|admin[-_]?key|key[-_]pepper|cookie|set-cookie|password",
    re.IGNORECASE,
)
# A header as it stands in a message: `X-API-Key: abc`, `"x-api-key": "abc"`, `(b'x-api-key', b'abc')`.
_PAIR = re.compile(
    rf"({_SECRET_NAME.pattern})(\\?['\"]?\s*[:=,]\s*(?:b(?=['\"]))?\\?['\"]?)((?:bearer|basic)\s+)?[^\s'\"\\,;}}\])]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)


def redacted_text(text: str) -> str:
    """The text with keys replaced by `***`; of one of our own keys the public part (kid) stays."""
    text = _PAIR.sub(rf"\1\2\3{HIDDEN}", text)
    text = _OWN_KEY.sub(rf"\1{HIDDEN}", text)
    text = _KEY.sub(rf"\1{HIDDEN}", text)
    return _BEARER.sub(rf"\1\2{HIDDEN}", text)


def redacted(value: object) -> object:
    """A value ready for JSON: strings redacted, secrets hidden by their name, unknown types as their text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, Mapping):
        return {redacted_text(str(name)): _hidden_by_name(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(item) for item in value]
    return redacted_text(str(value))


def _hidden_by_name(name: str, value: object) -> object:
    is_secret = _SECRET_NAME.fullmatch(name) is not None and value is not None
    return HIDDEN if is_secret else redacted(value)
