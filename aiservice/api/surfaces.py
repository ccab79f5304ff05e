"""How each vendor's clients want to be told of an error: status, body, headers, and the event inside a stream.

Which surface speaks follows from the path: OpenAI's under /v1, Anthropic's under /v1/messages and for its model list,
Ollama's under /api, and our own elsewhere.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from aiservice.api.asgi import JSON_TYPE, Headers, Scope, request_headers
from aiservice.core.errors import AIServiceError, FieldInvalid, MethodWrong
from aiservice.limits import Decision, Limits, TakeRefused

# A client that is told to wait longer shall give up instead: its next tries would be refused as well.
RETRY_AFTER_S_MAX = 60
SHOWN_ID = "aiservice.shown_request_id"

_encode = msgspec.json.Encoder().encode


class ErrorFacts(msgspec.Struct):
    """What went wrong: a sentence, its kind, the field at fault, the stable code."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct):
    """The body of every error on our own and on OpenAI's routes."""

    error: ErrorFacts


class AnthropicErrorDetails(msgspec.Struct):
    """What a client can go by to try another way."""

    error_code: str


class AnthropicErrorFacts(msgspec.Struct, omit_defaults=True):
    """What went wrong, in Anthropic's words."""

    type: str
    message: str
    details: AnthropicErrorDetails | None = None


class AnthropicErrorBody(msgspec.Struct, tag="error"):
    """The body of every error on Anthropic's routes."""

    error: AnthropicErrorFacts
    request_id: str | None


class OllamaErrorBody(msgspec.Struct):
    """The body of every error on Ollama's routes."""

    error: str


class ThreadUnsupported(FieldInvalid):
    """A conversation was to be kept. Anthropic's client knows the code, and sends whole conversations from then on."""

    details = AnthropicErrorDetails("thread_unsupported_request")

    def __init__(self) -> None:
        super().__init__(
            "thread is not supported: conversations are not kept here; send all of the messages.", param="thread"
        )


class Surface(ABC):
    """One vendor's way of saying errors."""

    body_type: ClassVar[type[msgspec.Struct]]
    # How a vendor says our 4xx for which it has no status of its own.
    statuses: ClassVar[Mapping[int, int]] = {}

    def status(self, error: AIServiceError) -> int:
        return self.statuses.get(error.status, error.status)

    @abstractmethod
    def body(self, error: AIServiceError, request_id: str) -> bytes:
        """The error as JSON; `request_id` is the one that the client sees."""

    def event(self, error: AIServiceError, request_id: str) -> bytes:
        """The error after the first byte of a stream: what ends it."""
        return b"data: " + self.body(error, request_id) + b"\n\n"

    def headers(self, error: AIServiceError, request_id: str) -> Headers:
        """Content type, and what tells a client whether and when to ask again, or by which method."""
        headers = [JSON_TYPE]
        if error.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % error.retry_after_s))
        if isinstance(error, MethodWrong) and error.allowed:
            headers.append((b"allow", ", ".join(error.allowed).encode()))
        return headers

    def answer_headers(self, request_id: str) -> Headers:
        """What every answer of this vendor carries besides."""
        return []

    def limit_headers(self, limits: Limits, decision: Decision) -> Headers:
        """How the caller's limits stand."""
        return limits.headers(decision)


class _Native(Surface):
    body_type = ErrorBody

    def body(self, error: AIServiceError, request_id: str) -> bytes:
        return _encode(ErrorBody(ErrorFacts(error.public, error.type, error.param, error.code)))


class _OpenAI(Surface):
    """OpenAI's OpenAPI document 2.3.0, schema `Error`, and the retry headers that its clients read."""

    body_type = ErrorBody
    statuses: ClassVar[Mapping[int, int]] = {415: 400, 422: 400}
    _SAID: ClassVar[Mapping[str, tuple[str, str | None]]] = {
        "request.malformed": ("invalid_request_error", None),
        "request.field_invalid": ("invalid_request_error", "invalid_value"),
        "request.body_too_large": ("invalid_request_error", "request_too_large"),
        "request.media_type": ("invalid_request_error", "unsupported_content_type"),
        "request.method": ("invalid_request_error", "method_not_supported"),
        "request.keys_conflict": ("invalid_request_error", "invalid_api_key"),
        "request.route_unknown": ("invalid_request_error", "unknown_url"),
        "keys.refused": ("invalid_request_error", "invalid_api_key"),
        "keys.not_allowed": ("invalid_request_error", "insufficient_permissions"),
        "keys.too_many_failures": ("requests", "rate_limit_exceeded"),
        "limits.exceeded": ("requests", "rate_limit_exceeded"),
        "engines.model_unknown": ("invalid_request_error", "model_not_found"),
        "engines.model_unfit": ("invalid_request_error", "unsupported_value"),
        "engines.refused": ("invalid_request_error", "invalid_request"),
        "engines.busy": ("server_error", "server_is_overloaded"),
        "server.overloaded": ("server_error", "server_is_overloaded"),
        "server.shutting_down": ("server_error", "server_is_overloaded"),
        "server.unexpected": ("server_error", None),
        "responses.unknown": ("invalid_request_error", "not_found"),
        "responses.previous_unknown": ("invalid_request_error", "previous_response_not_found"),
    }

    def body(self, error: AIServiceError, request_id: str) -> bytes:
        kind, code = self._SAID.get(error.code, ("server_error" if error.status >= 500 else error.type, error.code))
        if isinstance(error, TakeRefused):
            kind, code = _limit_of(error)
        return _encode(ErrorBody(ErrorFacts(error.public, kind, error.param, code)))

    def headers(self, error: AIServiceError, request_id: str) -> Headers:
        return super().headers(error, request_id) + _retry_headers(error)


class _Anthropic(Surface):
    """Anthropic's errors: their types follow from the status, an overload is 529, and the body has the request's id."""

    body_type = AnthropicErrorBody
    statuses: ClassVar[Mapping[int, int]] = {415: 400, 422: 400, 503: 529}
    _TYPES: ClassVar[Mapping[int, str]] = {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        405: "invalid_request_error",
        409: "invalid_request_error",
        # Its documents say request_too_large, which its client's types do not know.
        413: "invalid_request_error",
        429: "rate_limit_error",
        504: "timeout_error",
        529: "overloaded_error",
    }

    def body(self, error: AIServiceError, request_id: str) -> bytes:
        kind = self._TYPES.get(self.status(error), "api_error")
        details = error.details if isinstance(error, ThreadUnsupported) else None
        return _encode(AnthropicErrorBody(AnthropicErrorFacts(kind, error.public, details), request_id))

    def event(self, error: AIServiceError, request_id: str) -> bytes:
        return b"event: error\n" + super().event(error, request_id)

    def headers(self, error: AIServiceError, request_id: str) -> Headers:
        return super().headers(error, request_id) + _retry_headers(error) + self.answer_headers(request_id)

    def answer_headers(self, request_id: str) -> Headers:
        return [(b"request-id", request_id.encode())]

    def limit_headers(self, limits: Limits, decision: Decision) -> Headers:
        return limits.headers(decision) + limits.anthropic_headers(decision)


class _Ollama(Surface):
    """Ollama's errors: a sentence, and in a stream a line with it, the status unchanged."""

    body_type = OllamaErrorBody
    statuses: ClassVar[Mapping[int, int]] = {415: 400, 422: 400}

    def body(self, error: AIServiceError, request_id: str) -> bytes:
        return _encode(OllamaErrorBody(error.public))

    def event(self, error: AIServiceError, request_id: str) -> bytes:
        return self.body(error, request_id) + b"\n"


NATIVE: Surface = _Native()
OPENAI: Surface = _OpenAI()
ANTHROPIC: Surface = _Anthropic()
OLLAMA: Surface = _Ollama()


def surface_of(scope: Scope) -> Surface:
    """The surface of a request's path; /v1/models is Anthropic's to a client that names Anthropic's version."""
    path: str = scope["path"]
    if path.startswith("/v1/"):
        return _of_v1(path, b"anthropic-version" in request_headers(scope))
    return surface_of_path(path)


def surface_of_path(path: str) -> Surface:
    """The surface of a route as it is documented."""
    if path.startswith("/v1/"):
        return _of_v1(path, False)
    return OLLAMA if path.startswith("/api/") else NATIVE


def surfaces_of_path(path: str) -> tuple[Surface, ...]:
    """The surfaces of a route's errors, as they are documented: of some routes two vendors' clients ask."""
    surfaces = [surface_of_path(path)] if not path.startswith("/v1/") else [_of_v1(path, False), _of_v1(path, True)]
    return tuple(dict.fromkeys(surfaces))


def _of_v1(path: str, is_anthropic: bool) -> Surface:
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return ANTHROPIC
    return ANTHROPIC if is_anthropic and (path == "/v1/models" or path.startswith("/v1/models/")) else OPENAI


def shown_id(scope: Scope) -> str:
    """The request id that the client sees: its own where it sent an acceptable one."""
    shown: str = scope.get(SHOWN_ID) or scope["request_id"]
    return shown


def _limit_of(error: TakeRefused) -> tuple[str, str]:
    if error.retry_after_s is None:
        return "insufficient_quota", "insufficient_quota"
    is_tokens = (error.decision.refused_by or "").startswith("tokens:")
    return "tokens" if is_tokens else "requests", "rate_limit_exceeded"


def _retry_headers(error: AIServiceError) -> Headers:
    """`x-should-retry` overrides what the official clients would do by the status alone."""
    wait_s = error.retry_after_s or 0
    headers = [(b"x-should-retry", b"true" if error.is_retryable and wait_s <= RETRY_AFTER_S_MAX else b"false")]
    if error.retry_after_s is not None:
        headers.append((b"retry-after-ms", b"%d" % (1000 * wait_s)))
    return headers
