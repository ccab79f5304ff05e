"""What the hot doors share: authenticate, read, translate, walk the corridor, answer."""

import asyncio
from abc import ABC, abstractmethod
from contextlib import aclosing
from typing import ClassVar, Generic, TypeVar

import msgspec

from aiservice.api.asgi import (
    JSON_TYPE,
    ClientGone,
    Headers,
    Receive,
    Scope,
    Send,
    read_body,
    request_headers,
    send_bytes,
)
from aiservice.api.auth import require
from aiservice.api.disconnect import DisconnectWatch, Lookout
from aiservice.api.errors import encode, headers_of, note
from aiservice.api.parse import decode, refuse_media_type
from aiservice.api.rooms import Rooms
from aiservice.cache import CachePolicy
from aiservice.core.errors import AIServiceError, StoreUnavailable
from aiservice.core.types import Generation
from aiservice.gateway import Answer, Visit
from aiservice.keys import Caller
from aiservice.limits import TakeRefused

_Request = TypeVar("_Request")


class HotDoor(ABC, Generic[_Request]):
    """A raw ASGI handler; a subclass only translates its request and its answer. One instance per door and worker."""

    path: ClassVar[str]
    decoder: msgspec.json.Decoder[_Request]

    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self._lookout = Lookout()

    @abstractmethod
    def generation(self, request: _Request, visit: Visit) -> Generation:
        """The request in the corridor's words; raises `InvalidRequest` or `FieldInvalid`."""

    @abstractmethod
    async def plain(self, send: Send, visit: Visit, answer: Answer) -> None:
        """Sends a whole answer."""

    @abstractmethod
    async def stream(self, send: Send, visit: Visit, answer: Answer) -> None:
        """Sends an answer as it comes; an error after the first byte is an event of the stream."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = request_headers(scope)
        caller = await self.rooms.auth.caller(scope, headers)
        clock = self.rooms.clock
        visit = Visit(scope["request_id"], self.path, caller, clock.now_us(), clock.monotonic_s())
        with DisconnectWatch(receive, self._lookout) as watch:
            try:
                generation, policy = await self._read(visit, headers, receive)
                watch.start()
                answer = await self.rooms.corridor.answer(visit, generation, policy)
                async with aclosing(answer.rest):
                    await (self.stream if generation.stream else self.plain)(send, visit, answer)
            except AIServiceError as error:
                await self._send_error(send, caller, error)
            except ClientGone:
                return
            except asyncio.CancelledError:
                if not watch.is_gone:
                    raise

    def answer_headers(self, answer: Answer) -> Headers:
        """Where the answer came from, and how the caller's limits stand."""
        headers = [(b"x-cache", answer.cache_state.encode()), *self.rooms.limits.headers(answer.decision)]
        if answer.age_s is not None:
            headers.append((b"age", str(answer.age_s).encode()))
        return headers

    async def _read(
        self, visit: Visit, headers: dict[bytes, bytes], receive: Receive
    ) -> tuple[Generation, CachePolicy]:
        try:
            require(visit.caller, "generate")
            refuse_media_type(headers)
            body = await read_body(receive, headers, self.rooms.settings.server.body_bytes_max)
            policy = self._policy(headers)
            return self.generation(decode(self.decoder, body), visit), policy
        except AIServiceError as error:
            self.rooms.corridor.refuse(visit, error)
            raise

    def _policy(self, headers: dict[bytes, bytes]) -> CachePolicy:
        header = headers.get(b"cache-control")
        return self.rooms.cache.policy(None if header is None else header.decode("latin-1"))

    async def _send_error(self, send: Send, caller: Caller, error: AIServiceError) -> None:
        note(error)
        if isinstance(error, TakeRefused):
            # The decision says how the limits stood then, and how long to wait.
            headers = [JSON_TYPE, *self.rooms.limits.headers(error.decision)]
        else:
            headers = headers_of(error) + await standing(self.rooms, caller)
        await send_bytes(send, error.status, encode(error), headers=headers)


async def standing(rooms: Rooms, caller: Caller) -> Headers:
    """How the caller's limits stand, for an answer that took nothing of them; nothing where that cannot be told."""
    try:
        return rooms.limits.headers(await rooms.corridor.standing(caller))
    except StoreUnavailable:
        return []
