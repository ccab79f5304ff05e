"""GET /ai/models: every model of every engine."""

from fastapi import APIRouter, Request
from pydantic import BaseModel

from aiservice.api.auth import Auth
from aiservice.api.guard import caller_of, guarded
from aiservice.api.rooms import Rooms
from aiservice.engines import Model


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
        usable = [
            model
            for model in rooms.registry.models()
            if not caller.models or model.name in caller.models or model.id in caller.models
        ]
        return ModelList(models=[_facts(model, default) for model in usable], default=default)

    return routes


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
