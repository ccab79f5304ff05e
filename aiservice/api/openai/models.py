"""OpenAI's answer to GET /v1/models and /v1/models/{id}."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel

from aiservice.engines import Model


class OpenAIModel(BaseModel):
    """One model; when it was made is not known, and its owner is the engine that serves it."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str


class OpenAIModelList(BaseModel):
    """Every model that the caller's key may use."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


def openai_model(name: str, model: Model) -> OpenAIModel:
    """A model under the name by which it was asked for, or may be."""
    return OpenAIModel(id=name, owned_by=model.engine)


def openai_list(models: Iterable[tuple[str, Model]]) -> OpenAIModelList:
    return OpenAIModelList(data=[openai_model(name, model) for name, model in models])
