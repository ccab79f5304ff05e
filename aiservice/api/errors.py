"""What the doors do with an error: log it, send it in the words of the request's surface, make FastAPI do the same."""

import logging
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from aiservice.api.asgi import Scope, Send, send_bytes
from aiservice.api.fields import SENTENCES
from aiservice.api.surfaces import shown_id, surface_of
from aiservice.core.errors import (
    AIServiceError,
    FieldInvalid,
    InvalidRequest,
    MethodWrong,
    RouteUnknown,
    Unexpected,
)

_METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
_log = logging.getLogger(__name__)


def note(error: AIServiceError) -> None:
    """Logs a failure of the service or an engine; an expected refusal only at debug level."""
    level = logging.WARNING if error.status >= 500 else logging.DEBUG
    _log.log(level, "%s: %s", error.code, error.detail or error.public)


def unexpected(error: Exception) -> Unexpected:
    """Logs a fault of the service with its traceback and gives the error that the caller sees."""
    _log.error("unexpected %s", type(error).__name__, exc_info=error)
    return Unexpected()


async def send_error(
    scope: Scope, send: Send, error: AIServiceError, *, limits: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """An error as the whole answer; `limits` are the headers that say how the caller's limits stand."""
    surface, request_id = surface_of(scope), shown_id(scope)
    headers = [*surface.headers(error, request_id), *limits]
    await send_bytes(send, surface.status(error), surface.body(error, request_id), headers=headers)


def render(scope: Scope, error: AIServiceError) -> Response:
    """An error as the answer of a FastAPI route."""
    note(error)
    surface, request_id = surface_of(scope), shown_id(scope)
    headers = {name.decode(): value.decode() for name, value in surface.headers(error, request_id)}
    return Response(surface.body(error, request_id), status_code=surface.status(error), headers=headers)


def install(app: FastAPI) -> None:
    """Makes FastAPI say every error the way the other doors do."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, AIServiceError)
        return render(request.scope, error)

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return render(request.scope, from_validation(error.errors()))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return render(request.scope, _from_http(request.scope, error))

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


def _from_http(scope: Scope, error: HTTPException) -> AIServiceError:
    if isinstance(error.__cause__, AIServiceError):
        return error.__cause__
    if error.status_code == 404:
        return RouteUnknown()
    if error.status_code == 405:
        return MethodWrong.on_a_route_of(*_methods_at(scope))
    return InvalidRequest("The body could not be read: it is not valid JSON, not UTF-8, or nested too deeply.")


def _methods_at(scope: Scope) -> list[str]:
    """The methods that a path takes, over all of its routes: Starlette's own answer names those of one."""
    asked = [(method, {**scope, "method": method}) for method in _METHODS]
    routes = scope["app"].routes
    return [method for method, other in asked if any(route.matches(other)[0] is Match.FULL for route in routes)]
