"""GET /api/tags, POST /api/show, GET /api/ps and GET /api/version: the models, as Ollama tells of them.

Engines do not tell all that Ollama knows of a model. What is not known is empty: sizes 0, families and licence none,
the time it was changed 1970; and what is loaded stays so until the year 9999, for its engine decides that.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from aiservice.api.auth import Auth
from aiservice.api.guard import caller_of, guarded
from aiservice.api.models import found_model, usable_models
from aiservice.api.ollama.request import OllamaRequest, plain_name
from aiservice.api.refusals import may_raise
from aiservice.api.rooms import Rooms
from aiservice.core.errors import FieldInvalid, ModelUnfit, ModelUnknown
from aiservice.engines import Capability, Model
from aiservice.keys import Caller

# The version whose published API these doors follow; clients compare it to know what they may send.
API_VERSION = "0.40.12"
UNKNOWN_TIME = "1970-01-01T00:00:00Z"
NEVER = "9999-12-31T23:59:59Z"
NAME_LENGTH_MAX = 256
# What stands for the architecture's name, which engines do not tell.
_ARCHITECTURE = "unknown"
_SHA256 = re.compile(r"(?:sha256:)?(?P<hex>[0-9a-f]{64})")
_CAPABILITIES: Mapping[Capability, str] = {
    "chat": "completion",
    "tools": "tools",
    "vision": "vision",
    "embed": "embedding",
}


class OllamaDetails(BaseModel):
    """What a model is made of."""

    parent_model: str = ""
    format: str = ""
    family: str = ""
    families: list[str] = Field(default_factory=list)
    parameter_size: str = ""
    quantization_level: str = ""


class OllamaTag(BaseModel):
    """A model, by the name that requests use; `size` in bytes, `digest` a SHA-256 in hex."""

    name: str
    model: str
    modified_at: str = UNKNOWN_TIME
    size: int
    digest: str
    details: OllamaDetails


class OllamaTags(BaseModel):
    """The models that the caller's key may use."""

    models: list[OllamaTag]


class OllamaRunning(BaseModel):
    """A model that is loaded; `context_length` in tokens."""

    name: str
    model: str
    size: int
    digest: str
    details: OllamaDetails
    expires_at: str = NEVER
    size_vram: int = 0
    context_length: int


class OllamaRunningList(BaseModel):
    """The loaded ones of the models that the caller's key may use."""

    models: list[OllamaRunning]


class OllamaShowRequest(BaseModel):
    """Which model; `name` is what older clients call it."""

    model: str | None = Field(default=None, max_length=NAME_LENGTH_MAX)
    name: str | None = Field(default=None, max_length=NAME_LENGTH_MAX)


class OllamaShown(BaseModel):
    """What is known of a model."""

    license: str = ""
    modelfile: str = ""
    parameters: str = ""
    template: str = ""
    details: OllamaDetails
    model_info: dict[str, str | int]
    capabilities: list[str]
    modified_at: str = UNKNOWN_TIME


class OllamaVersion(BaseModel):
    """The version of Ollama whose API is followed."""

    version: str


def router(rooms: Rooms) -> APIRouter:
    routes = APIRouter(tags=["ollama"], route_class=guarded(rooms, Auth.caller))

    @routes.get("/api/tags")
    async def tags(request: Request) -> OllamaTags:
        """Every model that the caller's key may use, as Ollama lists them."""
        return OllamaTags(
            models=[_tag(name, model) for name, model in usable_models(rooms.registry, caller_of(request))]
        )

    @routes.post("/api/show", responses=may_raise(ModelUnknown))
    async def show(request: Request, wanted: OllamaShowRequest) -> OllamaShown:
        """What is known of a model, as Ollama tells it."""
        return _shown(found(rooms, caller_of(request), wanted.model or wanted.name or ""))

    @routes.get("/api/ps")
    async def running(request: Request) -> OllamaRunningList:
        """Which models are loaded, as Ollama lists them."""
        usable = usable_models(rooms.registry, caller_of(request))
        return OllamaRunningList(models=[_running(name, model) for name, model in usable if model.is_loaded])

    @routes.get("/api/version")
    async def version() -> OllamaVersion:
        """The version of Ollama whose API is followed."""
        return OllamaVersion(version=API_VERSION)

    return routes


def found(rooms: Rooms, caller: Caller, name: str) -> Model:
    """The model of this name; raises `FieldInvalid` without one, `ModelUnknown`, or `NotAllowed`."""
    if not name:
        raise FieldInvalid("model is required.", param="model")
    return found_model(rooms.registry, caller, plain_name(name))


def loadable(rooms: Rooms, caller: Caller, request: OllamaRequest) -> Model:
    """The model of a request that asks only to have it loaded: it is there, and its engine loads it when it is asked.

    Raises what `found` raises, `ModelUnfit` for one that does not chat, and `FieldInvalid` for a wish to unload it.
    """
    model = found(rooms, caller, request.model)
    if "chat" not in model.capabilities:
        raise ModelUnfit(f'"{model.name}" does not support chat', param="model")
    if request.is_unload:
        raise FieldInvalid(
            "keep_alive: models are unloaded by their engine, not by a request; leave keep_alive out.",
            param="keep_alive",
        )
    return model


def _tag(name: str, model: Model) -> OllamaTag:
    return OllamaTag(name=name, model=name, size=model.size_bytes or 0, digest=_digest(model), details=OllamaDetails())


def _running(name: str, model: Model) -> OllamaRunning:
    return OllamaRunning(
        name=name,
        model=name,
        size=model.size_bytes or 0,
        digest=_digest(model),
        details=OllamaDetails(),
        context_length=model.context_length or 0,
    )


def _shown(model: Model) -> OllamaShown:
    info: dict[str, Any] = {"general.architecture": _ARCHITECTURE, "general.basename": model.name}
    if model.context_length is not None:
        info[f"{_ARCHITECTURE}.context_length"] = model.context_length
    words = [_CAPABILITIES[word] for word in model.capabilities if word in _CAPABILITIES]
    return OllamaShown(details=OllamaDetails(), model_info=info, capabilities=words)


def _digest(model: Model) -> str:
    """The engine's digest where it is a SHA-256, else one that changes when the engine's does."""
    match = _SHA256.fullmatch(model.digest)
    return match["hex"] if match else hashlib.sha256(f"{model.id}@{model.digest}".encode()).hexdigest()
