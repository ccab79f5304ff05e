"""One OpenAPI document over both kinds of doors."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from aiservice import __version__
from aiservice.api import generate
from aiservice.api.errors import ErrorBody
from aiservice.api.guard import GuardedRoute
from aiservice.api.idempotency import HEADER
from aiservice.api.rooms import Rooms
from aiservice.api.routes import routers
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
    structs = [generate.GenerateRequest, generate.GenerateAnswer, generate.Delta, generate.StreamEnd, ErrorBody]
    _, schemas = msgspec.json.schema_components(structs, ref_template=_REF)
    components = page.setdefault("components", {}).setdefault("schemas", {})
    components.update(schemas)
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    page["components"]["securitySchemes"] = {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "admin": {"type": "apiKey", "in": "header", "name": "X-Admin-Key"},
    }
    page["paths"][generate.PATH] = {"post": _generate()}
    for path in (generate.PATH, *_guarded_posts(cool)):
        page["paths"][path]["post"].setdefault("parameters", []).append(dict(_IDEMPOTENCY_KEY))
    for operations in page["paths"].values():
        for operation in operations.values():
            _with_errors(operation)
    return page


def _guarded_posts(routers: Iterable[APIRouter]) -> Iterator[str]:
    for router in routers:
        for route in router.routes:
            if isinstance(route, GuardedRoute) and "POST" in (route.methods or ()):
                yield route.path


def _generate() -> dict[str, Any]:
    return {
        "tags": ["generate"],
        "summary": "Generate",
        "operationId": "generate",
        "description": "Asks a model. With `stream` the answer is a stream of events that ends with `data: [DONE]`.",
        "requestBody": {"required": True, "content": _json("GenerateRequest")},
        "responses": {
            "200": {
                "description": "The answer.",
                "content": {
                    **_json("GenerateAnswer"),
                    "text/event-stream": {
                        "schema": {"anyOf": [{"$ref": _REF.format(name=name)} for name in ("Delta", "StreamEnd")]}
                    },
                },
            }
        },
    }


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(name=name)}}}


def _with_errors(operation: dict[str, Any]) -> None:
    """Every route says every error in the same body; the default stands for all statuses not listed."""
    responses: dict[str, Any] = operation["responses"]
    responses.pop("422", None)
    responses["default"] = {"description": "An error.", "content": _json("ErrorBody")}
    operation["security"] = _security(operation)


def _security(operation: Mapping[str, Any]) -> list[dict[str, list[str]]]:
    tags = operation.get("tags", [])
    if "admin" in tags:
        return [{"admin": []}]
    if "keys" in tags:
        return [{"admin": []}, {"key": []}]
    return [] if "operations" in tags else [{"key": []}]
