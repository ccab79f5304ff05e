"""An engine's refusals in the words of our error tree: what callers may see is cleaned and bounded here."""

import re

import msgspec

from aiservice.core.errors import EngineBusy, EngineError, EngineRefused, EngineTimeout, EngineUnreachable

PUBLIC_LENGTH_MAX = 300
DETAIL_LENGTH_MAX = 500
RETRY_AFTER_S_DEFAULT = 1
RETRY_AFTER_S_MAX = 300

_SECRETS = re.compile(
    r"""[a-z][a-z0-9+.-]*://[^\s"']*"""  # addresses
    r"|(?:bearer|basic)\s+\S+"
    r"|\b(?:sk|pk|vpn|vpnadm|hf|gsk|xai|key|api[_-]?key)[-_][\w*.-]{6,}"
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"
    r"|\[[0-9a-f:]*:[0-9a-f:]*\](?::\d+)?"
    r"|\blocalhost:\d+"
    r"""|(?<![\w.])(?:~|[a-z]:)?[/\\](?:[\w.@+-]+[/\\])+[\w.@+-]*"""  # paths of files
    r"|\b[0-9a-f]{32,}\b",
    re.IGNORECASE,
)
# What engines say with a 500 though the request is at fault.
_REFUSALS = ("image input is not supported", "does not support", "input length exceeds", "too large to process")
_CONTROL = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class Said(msgspec.Struct):
    """The inside of an `error` as engines send it."""

    message: str | None = None
    code: str | int | None = None


class _Body(msgspec.Struct):
    error: Said | str | None = None
    message: str | None = None
    detail: str | None = None


_body_decoder = msgspec.json.Decoder(_Body)


def cleaned(text: str, *, length_max: int = PUBLIC_LENGTH_MAX) -> str:
    """One line without addresses, keys, paths and control characters, of at most `length_max` characters."""
    text = _SECRETS.sub("[...]", _CONTROL.sub(" ", text[: 4 * length_max])).strip()
    return text if len(text) <= length_max else text[: length_max - 3] + "..."


def from_status(status: int, body: bytes, retry_after: str | None) -> EngineError:
    """The error for an answer that is not 2xx."""
    message = _message_of(body)
    detail = f"status {status}: {cleaned(message, length_max=DETAIL_LENGTH_MAX)}"
    if status in {400, 404, 409, 413, 415, 422} or (status == 500 and any(said in message for said in _REFUSALS)):
        return _refused(message, detail)
    if status in {401, 403}:
        return EngineError("The engine refused the service's credentials; tell the operator.", detail=detail)
    if status in {429, 503}:
        return _busy(message, detail, retry_after)
    if status in {408, 504}:
        return EngineTimeout("The engine did not answer in time; try again.", detail=detail)
    return EngineError("The engine failed; try again or name another model.", detail=detail)


def from_stream(error: Said | str) -> EngineError:
    """The error for an `error` that an engine put into its stream or into a 200."""
    said = Said(error) if isinstance(error, str) else error
    message = said.message or ""
    if said.code in {400, 413, 422, "context_length_exceeded", "invalid_request_error"}:
        return _refused(message, "in a stream")
    if said.code in {429, 503}:
        return _busy(message, "in a stream", None)
    return EngineError(
        "The engine failed in the middle of its answer; try again.",
        detail=cleaned(message, length_max=DETAIL_LENGTH_MAX),
    )


def unreachable(error: BaseException) -> EngineUnreachable:
    return EngineUnreachable(
        "The engine cannot be reached; try again shortly or name another model.", detail=_kind_of(error)
    )


def cut(error: BaseException | None = None) -> EngineError:
    """The stream ended, or the connection broke, before the answer was whole."""
    return EngineError(
        "The engine's answer broke off; try again.", detail="end of stream" if error is None else _kind_of(error)
    )


def broken(what: str) -> EngineError:
    """The engine answered with something that cannot be read."""
    return EngineError("The engine's answer cannot be read; tell the operator.", detail=what)


def _refused(message: str, detail: str) -> EngineRefused:
    said = cleaned(message)
    return EngineRefused(f"The engine did not accept the request: {said}" if said else None, detail=detail)


def _busy(message: str, detail: str, retry_after: str | None) -> EngineBusy:
    wait_s = RETRY_AFTER_S_DEFAULT
    if retry_after is not None and retry_after.isdecimal():
        wait_s = min(max(int(retry_after[:9]), 1), RETRY_AFTER_S_MAX)
    what = "is loading its model" if "loading" in message.lower() else "has no free slot now"
    return EngineBusy(f"The engine {what}; try again in {wait_s} s.", detail=detail, retry_after_s=wait_s)


def _message_of(body: bytes) -> str:
    try:
        read = _body_decoder.decode(body)
    except msgspec.DecodeError:
        return ""
    if isinstance(read.error, Said):
        return read.error.message or ""
    return read.error or read.message or read.detail or ""


def _kind_of(error: BaseException) -> str:
    return cleaned(f"{type(error).__name__}: {error}", length_max=DETAIL_LENGTH_MAX)
