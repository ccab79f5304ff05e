"""GET /v1/models and /v1/models/{id}: OpenAI's list, or Anthropic's to a client that names Anthropic's version."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response

from aiservice.api.anthropic.models import (
    PAGE_LENGTH,
    PAGE_LENGTH_MAX,
    AnthropicModel,
    AnthropicModelPage,
    anthropic_model,
    anthropic_page,
)
from aiservice.api.auth import Auth
from aiservice.api.guard import caller_of, guarded
from aiservice.api.models import found_model, usable_models
from aiservice.api.openai.models import OpenAIModel, OpenAIModelList, openai_list, openai_model
from aiservice.api.rooms import Rooms
from aiservice.api.surfaces import ANTHROPIC, shown_id

PATH = "/v1/models"
SHOWN_PATH = "/v1/models/{model_id}"

_ModelId = Annotated[str, Path(min_length=1, max_length=256)]
_Cursor = Annotated[str | None, Query(min_length=1, max_length=256)]
_Version = Annotated[
    str | None, Header(description="Sent by Anthropic's clients; with it the answer is in their form.")
]


def router(rooms: Rooms) -> APIRouter:
    routes = APIRouter(tags=["models"], route_class=guarded(rooms, Auth.caller))

    @routes.get(PATH)
    async def list_models(
        request: Request,
        response: Response,
        *,
        after_id: _Cursor = None,
        before_id: _Cursor = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_LENGTH_MAX)] = PAGE_LENGTH,
        anthropic_version: _Version = None,
    ) -> OpenAIModelList | AnthropicModelPage:
        """Every model that the caller's key may use. With the header anthropic-version those that answer messages, by
        pages; only these look at after_id, before_id and limit."""
        caller = caller_of(request)
        models = usable_models(rooms.registry, caller)
        if anthropic_version is None:
            return openai_list(models)
        _identify(request, response)
        max_tokens = rooms.settings.limits.max_tokens_of(caller.tier)
        chatting = [(name, model) for name, model in models if "chat" in model.capabilities]
        shown = [anthropic_model(name, model, max_tokens=max_tokens) for name, model in chatting]
        return anthropic_page(shown, after_id=after_id, before_id=before_id, limit=limit)

    @routes.get("/v1/models/{model_id:path}")
    async def model(
        request: Request, response: Response, model_id: _ModelId, *, anthropic_version: _Version = None
    ) -> OpenAIModel | AnthropicModel:
        """One model, by a name that requests may use; with the header anthropic-version in Anthropic's form."""
        caller = caller_of(request)
        model = found_model(rooms.registry, caller, model_id)
        if anthropic_version is None:
            return openai_model(model_id, model)
        _identify(request, response)
        return anthropic_model(model_id, model, max_tokens=rooms.settings.limits.max_tokens_of(caller.tier))

    return routes


def _identify(request: Request, response: Response) -> None:
    for name, value in ANTHROPIC.answer_headers(shown_id(request.scope)):
        response.headers[name.decode()] = value.decode()
