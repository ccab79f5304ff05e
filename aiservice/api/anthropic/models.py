"""Anthropic's answer to GET /v1/models and /v1/models/{id}: the models that answer messages."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel

from aiservice.core.errors import FieldInvalid
from aiservice.engines import Model

PAGE_LENGTH = 20
PAGE_LENGTH_MAX = 1_000
# What Anthropic's documentation gives as the date of a model whose release is not known.
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class AnthropicModel(BaseModel):
    """One model; the two lengths are null where they are unknown."""

    id: str
    type: Literal["model"] = "model"
    display_name: str
    created_at: datetime = EPOCH
    lifecycle: Literal["active"] = "active"
    max_input_tokens: int | None
    max_tokens: int


class AnthropicModelPage(BaseModel):
    """A page of models; `first_id` and `last_id` are null where it is empty."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


def anthropic_model(name: str, model: Model, *, max_tokens: int) -> AnthropicModel:
    """A model under the name by which it was asked for, or may be; `max_tokens` is the longest answer of the tier."""
    return AnthropicModel(
        id=name, display_name=model.name, max_input_tokens=model.context_length, max_tokens=max_tokens
    )


def anthropic_page(
    models: Sequence[AnthropicModel], *, after_id: str | None = None, before_id: str | None = None, limit: int
) -> AnthropicModelPage:
    """The models after one of them, or just before it; raises `FieldInvalid` for an id that none of them has."""
    if after_id is not None and before_id is not None:
        raise FieldInvalid("Send after_id or before_id, not both.", param="before_id")
    start, end = 0, len(models)
    if after_id is not None:
        start = _place(models, after_id, "after_id") + 1
    if before_id is not None:
        end = _place(models, before_id, "before_id")
        start = max(0, end - limit)
    page = models[start:end][:limit]
    has_more = start > 0 if before_id is not None else start + limit < end
    ids = [model.id for model in page]
    return AnthropicModelPage(
        data=list(page), has_more=has_more, first_id=ids[0] if ids else None, last_id=ids[-1] if ids else None
    )


def _place(models: Sequence[AnthropicModel], id: str, param: str) -> int:
    for place, model in enumerate(models):
        if model.id == id:
            return place
    raise FieldInvalid(f"{param} is the id of no model; take one from a page that was given.", param=param)
