"""One OpenAPI document over both kinds of doors."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from aiservice import __version__
from aiservice.api import refusals, sse
from aiservice.api.door import Door, Operation
from aiservice.api.guard import GuardedRoute
from aiservice.api.idempotency import HEADER
from aiservice.api.rooms import Rooms
from aiservice.api.routes import HOT_DOORS, routers
from aiservice.api.surfaces import ANTHROPIC, NATIVE, OLLAMA, surfaces_of_path
from aiservice.core.clock import SystemClock
from aiservice.core.settings import Settings
from aiservice.observe.metrics import Metrics

_REF = "#/components/schemas/{name}"
_DESCRIPTION = "A gateway to language models with keys, exact limits, a response cache and a usage ledger."

_IDEMPOTENCY_KEY: Mapping[str, Any] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Runs once, and is answered the same for 24 hours, however often it is sent.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


@cache
def document() -> dict[str, Any]:
    """FastAPI's document with the hot doors and the one error body added."""
    app, cool = FastAPI(), list(routers(Rooms(Settings(), SystemClock(), Metrics())))
    for router in cool:
        app.include_router(router)
    page = get_openapi(title="AI Service", version=__version__, description=_DESCRIPTION, routes=app.routes)
    _, schemas = msgspec.json.schema_components(_structs(), ref_template=_REF)
    components = page.setdefault("components", {}).setdefault("schemas", {})
    components.update(schemas)
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    page["components"]["securitySchemes"] = {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "admin": {"type": "apiKey", "in": "header", "name": "X-Admin-Key"},
    }
    for door in HOT_DOORS:
        page["paths"][door.path] = {"post": _hot(door)}
    for path in (*(door.path for door in HOT_DOORS), *_guarded_posts(cool)):
        page["paths"][path]["post"].setdefault("parameters", []).append(dict(_IDEMPOTENCY_KEY))
    hot_paths = frozenset(door.path for door in HOT_DOORS)
    for path, operations in page["paths"].items():
        for operation in operations.values():
            _with_errors(path, operation, is_hot=path in hot_paths)
    return page


def _guarded_posts(routers: Iterable[APIRouter]) -> Iterator[str]:
    for router in routers:
        for route in router.routes:
            if isinstance(route, GuardedRoute) and "POST" in (route.methods or ()):
                yield route.path


def _structs() -> list[type[msgspec.Struct]]:
    kinds: dict[type[msgspec.Struct], None] = {}
    for door in HOT_DOORS:
        operation = door.operation
        kinds |= dict.fromkeys((door.decoder.type, operation.answer, *operation.events))
    return [*kinds, *(surface.body_type for surface in (NATIVE, ANTHROPIC, OLLAMA))]


def _hot(door: type[Door[Any, Any]]) -> dict[str, Any]:
    operation = door.operation
    content = _json(operation.answer.__name__)
    if operation.events:
        content[operation.stream_type] = {"schema": _stream(operation, door.surface.body_type)}
    return {
        "tags": [operation.tag],
        "summary": operation.summary,
        "operationId": door.path.strip("/").replace("/", "_"),
        "description": operation.description,
        "requestBody": {"required": True, "content": _json(door.decoder.type.__name__)},
        "responses": {"200": {"description": "The answer.", "content": content}},
    }


def _stream(operation: Operation, failure: type[msgspec.Struct]) -> dict[str, Any]:
    """A piece of a stream; of server-sent events, which have JSON or [DONE] in their `data`, one event."""
    kinds = (*operation.events, failure)
    piece = {"anyOf": [{"$ref": _REF.format(name=kind.__name__)} for kind in kinds]}
    if operation.stream_type != sse.TYPE:
        return piece
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": piece}
    return {
        "type": "object",
        "properties": {"event": {"type": "string"}, "data": {"anyOf": [{"const": "[DONE]"}, data]}},
        "required": ["data"],
    }


def _json(*names: str) -> dict[str, Any]:
    """JSON of one of these types."""
    schemas = [{"$ref": _REF.format(name=name)} for name in names]
    return {"application/json": {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}


def _with_errors(path: str, operation: dict[str, Any], *, is_hot: bool) -> None:
    """Every route names the status of every error that it may answer with, and says it in its surface's body."""
    operation.setdefault("security", _security(operation))
    responses: dict[str, Any] = operation["responses"]
    responses.pop("422", None)
    surfaces = surfaces_of_path(path)
    for status, meaning in refusals.described(operation, surfaces, is_hot=is_hot).items():
        responses.setdefault(status, {"description": meaning})
    body = _json(*(surface.body_type.__name__ for surface in surfaces))
    for status, response in responses.items():
        if status >= "400":
            response.setdefault("content", body)
    operation["responses"] = dict(sorted(responses.items()))


def _security(operation: Mapping[str, Any]) -> list[dict[str, list[str]]]:
    tags = operation.get("tags", [])
    if "admin" in tags:
        return [{"admin": []}]
    if "keys" in tags:
        return [{"admin": []}, {"key": []}]
    return [] if "operations" in tags else [{"key": []}]
