"""Puts a guard before FastAPI routes: who is asking is known before the body is read."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from aiservice.api.asgi import Scope, request_headers
from aiservice.api.auth import Auth
from aiservice.api.rooms import Rooms
from aiservice.keys import Caller

Guard = Callable[[Auth, Scope, dict[bytes, bytes]], Awaitable[Caller]]


def guarded(rooms: Rooms, guard: Guard) -> type[APIRoute]:
    """A route class whose handlers run only after the guard let the request in; `caller_of` then says who it is.

    `guard` is one of the methods of `Auth`, unbound.
    """

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def guarded_handler(request: Request) -> Response:
                request.state.caller = await guard(rooms.auth, request.scope, request_headers(request.scope))
                return await handler(request)

            return guarded_handler

    return GuardedRoute


def caller_of(request: Request) -> Caller:
    """Who came through the guard."""
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller
