"""What every raw ASGI door shares: who asks, what they ask, and how a refusal is said."""

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import msgspec

from aiservice.api import sse
from aiservice.api.asgi import ClientGone, Headers, Receive, Scope, Send, read_body, request_headers
from aiservice.api.auth import require
from aiservice.api.disconnect import DisconnectWatch, Lookout
from aiservice.api.errors import note, send_error
from aiservice.api.parse import decode, refuse_media_type
from aiservice.api.rooms import Rooms
from aiservice.api.surfaces import NATIVE, Surface, shown_id
from aiservice.cache import CachePolicy
from aiservice.core.errors import AIServiceError, StoreUnavailable
from aiservice.gateway import Visit
from aiservice.keys import Caller
from aiservice.keys import Scope as KeyScope
from aiservice.limits import TakeRefused

_Request = TypeVar("_Request")
_Work = TypeVar("_Work")


@dataclass(frozen=True, slots=True)
class Operation:
    """A raw door in the OpenAPI document: its answers' types, and those of its stream's events where it has one."""

    tag: str
    summary: str
    description: str
    answer: type[msgspec.Struct]
    events: tuple[type[msgspec.Struct], ...] = ()
    stream_type: str = sse.TYPE


class Door(ABC, Generic[_Request, _Work]):
    """A raw ASGI handler. A subclass says what work a request is, and serves it. One instance per door and worker."""

    path: ClassVar[str]
    surface: ClassVar[Surface] = NATIVE
    operation: ClassVar[Operation]
    key_scope: ClassVar[KeyScope] = "generate"
    takes_images: ClassVar[bool] = False
    decoder: msgspec.json.Decoder[_Request]

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self._lookout = Lookout()

    @property
    def body_bytes_max(self) -> int:
        """The largest body; a door that takes pictures allows a larger one."""
        server = self.rooms.settings.server
        return server.image_body_bytes_max if self.takes_images else server.body_bytes_max

    @abstractmethod
    async def prepared(self, request: _Request, visit: Visit) -> _Work:
        """What the request comes to; raises what is wrong with it, before anything is taken or done."""

    @abstractmethod
    async def serve(
        self, scope: Scope, send: Send, visit: Visit, *, request: _Request, work: _Work, policy: CachePolicy
    ) -> None:
        """From the request as it was read to the end of its answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = request_headers(scope)
        caller = await self.rooms.auth.caller(scope, headers)
        clock = self.rooms.clock
        visit = Visit(scope["request_id"], self.path, caller, clock.now_us(), clock.monotonic_s())
        with DisconnectWatch(receive, self._lookout) as watch:
            try:
                request, work, policy = await self._read(visit, headers, receive)
                watch.start()
                await self.serve(scope, send, visit, request=request, work=work, policy=policy)
            except AIServiceError as error:
                await self._refuse(scope, send, caller, error=error)
            except ClientGone:
                return
            except asyncio.CancelledError:
                if not watch.is_gone:
                    raise

    async def _read(
        self, visit: Visit, headers: dict[bytes, bytes], receive: Receive
    ) -> tuple[_Request, _Work, CachePolicy]:
        try:
            require(visit.caller, self.key_scope)
            refuse_media_type(headers)
            body = await read_body(receive, headers, self.body_bytes_max)
            policy = self._policy(headers)
            request = decode(self.decoder, body)
            return request, await self.prepared(request, visit), policy
        except AIServiceError as error:
            self.rooms.corridor.refuse(visit, error)
            raise

    def _policy(self, headers: dict[bytes, bytes]) -> CachePolicy:
        header = headers.get(b"cache-control")
        return self.rooms.cache.policy(None if header is None else header.decode("latin-1"))

    async def standing_headers(self, scope: Scope, caller: Caller) -> Headers:
        """The headers of an answer that did not wait for the corridor."""
        limits = await standing(self.rooms, caller, self.surface)
        return [*limits, *self.surface.answer_headers(shown_id(scope))]

    async def _refuse(self, scope: Scope, send: Send, caller: Caller, *, error: AIServiceError) -> None:
        note(error)
        if isinstance(error, TakeRefused):
            # The decision says how the limits stood then.
            limits = self.surface.limit_headers(self.rooms.limits, error.decision)
        else:
            limits = await standing(self.rooms, caller, self.surface)
        await send_error(scope, send, error, limits=limits)


async def standing(rooms: Rooms, caller: Caller, surface: Surface = NATIVE) -> Headers:
    """How the caller's limits stand, for an answer that took nothing of them; nothing where that cannot be told."""
    try:
        return surface.limit_headers(rooms.limits, await rooms.corridor.standing(caller))
    except StoreUnavailable:
        return []
