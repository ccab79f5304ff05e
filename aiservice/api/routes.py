"""Every path and its handler, nothing else."""

from collections.abc import Iterator, Mapping

from fastapi import APIRouter

from aiservice.api import admin, generate, keys, limits, models, ops, usage
from aiservice.api.asgi import App
from aiservice.api.rooms import Rooms

ENDPOINTS = (
    generate.PATH,
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


def hot(rooms: Rooms) -> Mapping[tuple[str, str], App]:
    """The raw ASGI doors by method and path."""
    return {("POST", generate.PATH): generate.GenerateDoor(rooms)}


def routers(rooms: Rooms) -> Iterator[APIRouter]:
    """The FastAPI doors, a router per surface."""
    yield models.router(rooms)
    yield usage.router(rooms)
    yield keys.router(rooms)
    yield admin.router(rooms)
    yield limits.router(rooms)
    yield ops.router(rooms)
