"""Which errors a route may answer with, for the OpenAPI document: no status that it does not name is ever sent.

What follows from the shape of a route is told here. What only its handler raises, the route declares itself, with the
`status` of the error in its `responses`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aiservice.api.idempotency import HEADER
from aiservice.api.surfaces import Surface
from aiservice.core.errors import (
    AIServiceError,
    AnswerInvalid,
    BodyTooLarge,
    EngineBusy,
    EngineError,
    EngineRefused,
    EngineTimeout,
    FieldInvalid,
    IdempotencyBusy,
    IdempotencyMismatch,
    InvalidRequest,
    KeyRefused,
    KeysConflict,
    LimitExceeded,
    MediaTypeWrong,
    ModelUnfit,
    ModelUnknown,
    NotAllowed,
    NotCached,
    Overloaded,
    RouteUnknown,
    ShuttingDown,
    StoreUnavailable,
    TooManyFailures,
    Unexpected,
)

Kinds = tuple[type[AIServiceError], ...]

_ANY: Kinds = (Unexpected, StoreUnavailable, Overloaded, ShuttingDown)
_OF_KEYS: Kinds = (KeysConflict, KeyRefused, NotAllowed, TooManyFailures)
_OF_THE_ADMIN_KEY: Kinds = (KeyRefused, TooManyFailures)
_OF_A_BODY: Kinds = (InvalidRequest, FieldInvalid, BodyTooLarge, MediaTypeWrong)
_OF_PARAMETERS: Kinds = (FieldInvalid,)
# A path that another route's pattern takes, or none, for example with a stroke in the name.
_OF_A_NAME: Kinds = (RouteUnknown,)
_OF_REPEATING: Kinds = (InvalidRequest, IdempotencyBusy, IdempotencyMismatch)
_OF_A_MODEL: Kinds = (
    ModelUnknown, ModelUnfit, LimitExceeded, NotCached,
    EngineError, EngineRefused, EngineBusy, EngineTimeout, AnswerInvalid,
)  # fmt: skip


def may_raise(*kinds: type[AIServiceError]) -> dict[int | str, dict[str, Any]]:
    """What a route of FastAPI's says in its `responses` of the errors that it alone raises."""
    return {kind.status: {"description": kind.title} for kind in kinds}


def described(operation: Mapping[str, Any], surfaces: Iterable[Surface], *, is_hot: bool) -> dict[str, str]:
    """The statuses of an operation's errors as its surfaces give them, each with what it means."""
    titles: dict[int, dict[str, None]] = {}
    for kind in _kinds(operation, is_hot=is_hot):
        for surface in surfaces:
            titles.setdefault(surface.statuses.get(kind.status, kind.status), {})[kind.title] = None
    return {str(status): " ".join(meant) for status, meant in titles.items()}


def _kinds(operation: Mapping[str, Any], *, is_hot: bool) -> Iterator[type[AIServiceError]]:
    parameters = operation.get("parameters", ())
    places = {parameter["in"] for parameter in parameters}
    yield from _ANY
    if {"key": []} in operation["security"]:
        yield from _OF_KEYS
    elif operation["security"]:
        yield from _OF_THE_ADMIN_KEY
    if "requestBody" in operation:
        yield from _OF_A_BODY
    if "query" in places or "path" in places:
        yield from _OF_PARAMETERS
    if "path" in places:
        yield from _OF_A_NAME
    if any(parameter["name"] == HEADER for parameter in parameters):
        yield from _OF_REPEATING
    if is_hot:
        yield from _OF_A_MODEL
