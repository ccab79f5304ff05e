"""Every path and its handler, nothing else."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter

from aiservice.api import admin, generate, keys, limits, models, ops, sqlassist, usage, v1_models
from aiservice.api.anthropic import count_tokens, messages
from aiservice.api.door import Door
from aiservice.api.ollama import chat, embed, pull
from aiservice.api.ollama import generate as ollama_generate
from aiservice.api.ollama import models as ollama_models
from aiservice.api.openai import chat as openai_chat
from aiservice.api.openai import completions, embeddings, responses, stored_responses
from aiservice.api.rooms import Rooms

ENDPOINTS = (
    generate.PATH,
    sqlassist.PATH,
    openai_chat.PATH,
    completions.PATH,
    embeddings.PATH,
    responses.PATH,
    stored_responses.ONE_PATH,
    stored_responses.CANCEL_PATH,
    stored_responses.ITEMS_PATH,
    v1_models.PATH,
    v1_models.SHOWN_PATH,
    messages.PATH,
    count_tokens.PATH,
    chat.PATH,
    ollama_generate.PATH,
    embed.PATH,
    embed.OLD_PATH,
    "/api/tags",
    "/api/show",
    "/api/ps",
    "/api/version",
    "/api/pull",
    "/ai/models",
    "/usage",
    "/usage/logs",
    "/auth/create-key",
    "/auth/verify-key",
    "/auth/keys",
    "/auth/revoke-key",
    "/auth/rotate-key",
    "/admin/stats",
    "/admin/cache",
    "/admin/cache/clear",
    "/admin/limits",
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
)


HOT_DOORS: tuple[type[Door[Any, Any]], ...] = (
    generate.GenerateDoor,
    sqlassist.SqlDoor,
    openai_chat.ChatDoor,
    completions.CompletionDoor,
    embeddings.EmbeddingDoor,
    responses.ResponsesDoor,
    chat.ChatDoor,
    ollama_generate.GenerateDoor,
    embed.EmbedDoor,
    embed.EmbeddingsDoor,
    messages.MessagesDoor,
    count_tokens.CountTokensDoor,
)


def hot(rooms: Rooms) -> Mapping[tuple[str, str], Door[Any, Any]]:
    """The raw ASGI doors by method and path."""
    return {("POST", door.path): door(rooms) for door in HOT_DOORS}


def routers(rooms: Rooms) -> Iterator[APIRouter]:
    """The FastAPI doors, a router per surface."""
    yield models.router(rooms)
    yield v1_models.router(rooms)
    yield ollama_models.router(rooms)
    yield pull.router(rooms)
    yield stored_responses.router(rooms)
    yield usage.router(rooms)
    yield keys.router(rooms)
    yield admin.router(rooms)
    yield limits.router(rooms)
    yield ops.router(rooms)
