"""Sends each request to its door: the hot ones by one dictionary look-up, the others through FastAPI."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI

from aiservice.api import docs, errors, routes
from aiservice.api.asgi import App, Message, Receive, Scope, Send, refuse_large, request_headers
from aiservice.api.edge import Edge
from aiservice.api.idempotency import IdempotentDoors
from aiservice.api.parse import refuse_media_type
from aiservice.api.rooms import Rooms
from aiservice.core.errors import BodyTooLarge, MethodWrong


def build(rooms: Rooms, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> App:
    """The whole ASGI application; opens nothing before its lifespan starts."""
    cool = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan)
    errors.install(cool)
    routers, hot = list(routes.routers(rooms)), routes.hot(rooms)
    for router in routers:
        cool.include_router(router)
    cool.include_router(docs.router())
    doors = Dispatch(rooms, hot, cool)
    keyed = IdempotentDoors(rooms, doors, hot=hot, guarded=routers)
    return Edge(doors, rooms.settings.server, keyed=keyed, metrics=rooms.metrics, clock=rooms.clock)


class Dispatch:
    """Pure ASGI; the paths themselves stand in `routes.py`."""

    def __init__(self, rooms: Rooms, hot: Mapping[tuple[str, str], App], cool: App) -> None:
        self._hot = hot
        self._hot_paths = frozenset(path for _, path in self._hot)
        self._cool = cool
        self._bytes_max = rooms.settings.server.body_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._cool(scope, receive, send)
            return
        door = self._hot.get((scope["method"], scope["path"]))
        if door is not None:
            await door(scope, receive, send)
        elif scope["path"] in self._hot_paths:
            raise MethodWrong.on_a_route_of("POST")
        else:
            await self._cool(scope, self._bounded(scope, receive), send)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` with the same bounds on a body that the hot doors have."""
        headers = request_headers(scope)
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            if taken == 0:
                refuse_media_type(headers)
                refuse_large(headers, self._bytes_max)
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._bytes_max:
                raise BodyTooLarge(f"The request body is larger than {self._bytes_max} bytes.")
            return message

        return bounded
