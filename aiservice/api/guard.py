"""Puts a guard before FastAPI routes: who is asking is known before the body is read."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from aiservice.api.asgi import Scope, request_headers
from aiservice.api.auth import Auth
from aiservice.api.rooms import Rooms
from aiservice.keys import Caller

Guard = Callable[[Auth, Scope, dict[bytes, bytes]], Awaitable[Caller]]


class GuardedRoute(APIRoute):
    """A route whose handler runs only after its guard let the request in; `caller_of` then says who it is."""

    @abstractmethod
    async def admit(self, scope: Scope, headers: dict[bytes, bytes]) -> Caller:
        """The caller; raises what the guard raises."""


def guarded(rooms: Rooms, guard: Guard) -> type[GuardedRoute]:
    """The route class of a guard, which is one of the methods of `Auth`, unbound."""

    class Route(GuardedRoute):
        async def admit(self, scope: Scope, headers: dict[bytes, bytes]) -> Caller:
            return await guard(rooms.auth, scope, headers)

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def guarded_handler(request: Request) -> Response:
                request.state.caller = await self.admit(request.scope, request_headers(request.scope))
                return await handler(request)

            return guarded_handler

    return Route


def caller_of(request: Request) -> Caller:
    """Who came through the guard."""
    caller = request.state.caller
    assert isinstance(caller, Caller)
    return caller
