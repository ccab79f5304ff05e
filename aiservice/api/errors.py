"""How the error tree is rendered: OpenAI's four-key body, on every route and inside every stream."""

import logging
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from aiservice.api.asgi import JSON_TYPE, Headers
from aiservice.api.fields import SENTENCES
from aiservice.core.errors import (
    AIServiceError,
    FieldInvalid,
    InvalidRequest,
    MethodWrong,
    RouteUnknown,
    Unexpected,
)

_log = logging.getLogger(__name__)


class ErrorFacts(msgspec.Struct):
    """What went wrong: a sentence, its kind, the field at fault, the stable code."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(msgspec.Struct):
    """The body of every error."""

    error: ErrorFacts


def body_of(error: AIServiceError) -> ErrorBody:
    return ErrorBody(ErrorFacts(error.public, error.type, error.param, error.code))


def encode(error: AIServiceError) -> bytes:
    return msgspec.json.encode(body_of(error))


def headers_of(error: AIServiceError) -> Headers:
    """Content type, and Retry-After where waiting helps."""
    if error.retry_after_s is None:
        return [JSON_TYPE]
    return [JSON_TYPE, (b"retry-after", str(error.retry_after_s).encode())]


def note(error: AIServiceError) -> None:
    """Logs a failure of the service or an engine; an expected refusal only at debug level."""
    level = logging.WARNING if error.status >= 500 else logging.DEBUG
    _log.log(level, "%s: %s", error.code, error.detail or error.public)


def unexpected(error: Exception) -> Unexpected:
    """Logs a fault of the service with its traceback and gives the error that the caller sees."""
    _log.error("unexpected %s", type(error).__name__, exc_info=error)
    return Unexpected()


def render(error: AIServiceError) -> Response:
    """An error as the answer of a FastAPI route."""
    note(error)
    headers = {name.decode(): value.decode() for name, value in headers_of(error)}
    return Response(encode(error), status_code=error.status, headers=headers)


def install(app: FastAPI) -> None:
    """Makes FastAPI say every error the way the other doors do."""

    async def ours(_request: Request, error: Exception) -> Response:
        assert isinstance(error, AIServiceError)
        return render(error)

    async def validation(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return render(from_validation(error.errors()))

    async def http(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return render(_from_http(error))

    app.add_exception_handler(AIServiceError, ours)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)


def from_validation(problems: Any) -> InvalidRequest:
    """Pydantic's first complaint as one of our errors, naming the field."""
    problem = problems[0]
    path = [str(part) for part in problem["loc"] if part not in ("body", "query", "path", "header")]
    if problem["type"] == "json_invalid":
        return InvalidRequest("The body is not valid JSON.")
    if not path:
        return InvalidRequest("The request needs a JSON object as its body.")
    param = ".".join(path)
    if problem["type"] == "string_pattern_mismatch":
        return FieldInvalid(f"{param} {SENTENCES[problem['ctx']['pattern']]}.", param=param)
    return FieldInvalid(f"{param}: {problem['msg']}.", param=param)


def _from_http(error: HTTPException) -> AIServiceError:
    if isinstance(error.__cause__, AIServiceError):
        return error.__cause__
    if error.status_code == 404:
        return RouteUnknown()
    if error.status_code == 405:
        return MethodWrong()
    return InvalidRequest("The body could not be read: it is not valid JSON, not UTF-8, or nested too deeply.")
