"""GET /ai/models: every model of every engine."""

from collections.abc import Iterator

from fastapi import APIRouter, Request
from pydantic import BaseModel

from aiservice.api.auth import Auth
from aiservice.api.guard import caller_of, guarded
from aiservice.api.rooms import Rooms
from aiservice.core.errors import NotAllowed
from aiservice.engines import Model, Registry
from aiservice.keys import Caller


class ModelFacts(BaseModel):
    """One model. `id` is its name with its engine's; either is accepted in a request."""

    id: str
    name: str
    engine: str
    size_bytes: int | None
    context_length: int | None
    loaded: bool
    capabilities: list[str]
    is_default: bool


class ModelList(BaseModel):
    """What there is, and which model answers a request that names none."""

    models: list[ModelFacts]
    default: str | None


def router(rooms: Rooms) -> APIRouter:
    routes = APIRouter(tags=["models"], route_class=guarded(rooms, Auth.caller))

    @routes.get("/ai/models")
    async def models(request: Request) -> ModelList:
        """Every model that the caller's key may use."""
        caller = caller_of(request)
        default = rooms.registry.default_name()
        models = [_facts(model, default) for _, model in usable_models(rooms.registry, caller)]
        return ModelList(models=models, default=default)

    return routes


def usable_models(registry: Registry, caller: Caller) -> Iterator[tuple[str, Model]]:
    """The models that the caller's key may use, each with the shortest name that means it.

    A plain name means the first engine that has the model; one of another engine is named with that engine's.
    """
    taken: set[str] = set()
    for model in registry.models():
        name = model.id if model.name in taken else model.name
        taken.add(model.name)
        if caller.may_use(model.name, model.id):
            yield name, model


def found_model(registry: Registry, caller: Caller, name: str) -> Model:
    """The model of this name; raises `ModelUnknown`, or `NotAllowed` where the caller's key may not use it."""
    model = registry.resolve(name).model
    if not caller.may_use(model.name, model.id):
        raise NotAllowed(f"This key may not use the model {model.name}.", param="model")
    return model


def _facts(model: Model, default: str | None) -> ModelFacts:
    return ModelFacts(
        id=model.id,
        name=model.name,
        engine=model.engine,
        size_bytes=model.size_bytes,
        context_length=model.context_length,
        loaded=model.is_loaded,
        capabilities=list(model.capabilities),
        is_default=model.name == default,
    )
