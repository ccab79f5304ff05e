"""What the hot doors share: authenticate, read, translate, walk the corridor, answer."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import msgspec

from aiservice.api import sse
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
from aiservice.api.errors import note, send_error
from aiservice.api.parse import decode, refuse_media_type
from aiservice.api.rooms import Rooms
from aiservice.api.surfaces import NATIVE, Surface, shown_id
from aiservice.cache import CachePolicy
from aiservice.core.errors import AIServiceError, StoreUnavailable
from aiservice.core.types import Asked, Chunk, merged
from aiservice.gateway import Answer, Visit
from aiservice.keys import Caller
from aiservice.limits import TakeRefused

_Request = TypeVar("_Request")
# In the scope of an answer whose stream ended with an error: it is not kept for the next try.
STREAM_FAILED = "aiservice.stream_failed"


@dataclass(frozen=True, slots=True)
class Operation:
    """A hot door in the OpenAPI document: its answers' types, and those of its stream's events where it has one."""

    tag: str
    summary: str
    description: str
    answer: type[msgspec.Struct]
    events: tuple[type[msgspec.Struct], ...] = ()
    stream_type: str = sse.TYPE


class Reply(ABC, Generic[_Request]):
    """The corridor's chunks in the door's words. One per request; it sees each chunk once, in order.

    `id` is the visit's id, `started_s` the monotonic time of the request's arrival.
    """

    stream_headers: ClassVar[Sequence[tuple[bytes, bytes]]] = sse.HEADERS

    def __init__(self, rooms: Rooms, request: _Request, visit: Visit, *, answer: Answer) -> None:
        self.rooms = rooms
        self.request = request
        self.visit = visit
        self.answer = answer

    @abstractmethod
    def whole(self, choices: Sequence[Chunk]) -> bytes:
        """The body of a plain answer: each choice is one whole chunk, the last has the tokens."""

    def opening(self) -> bytes:
        """What a stream begins with, before its first piece."""
        return b""

    def piece(self, chunk: Chunk) -> bytes:
        """A chunk of a stream, also the last one; nothing where it says nothing to the client, or never streams."""
        return b""

    def closing(self, last: Chunk) -> bytes:
        """What a stream ends with, after the last piece, which had the tokens."""
        return b""

    def failure(self, failed: bytes) -> bytes:
        """What a stream ends with that broke off; `failed` is the surface's event."""
        return failed

    async def settled(self) -> None:
        """Called once the answer is whole and before its end goes out, by `whole` or `closing`."""

    def elapsed_ms(self) -> int:
        return round((self.rooms.clock.monotonic_s() - self.visit.started_s) * 1000)


class HotDoor(ABC, Generic[_Request]):
    """A raw ASGI handler; a subclass only translates its request and its answer. One instance per door and worker."""

    path: ClassVar[str]
    surface: ClassVar[Surface] = NATIVE
    operation: ClassVar[Operation]
    takes_images: ClassVar[bool] = False
    reply: type[Reply[_Request]]
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
    def asked(self, request: _Request, visit: Visit) -> Asked:
        """The request in the corridor's words; raises `InvalidRequest` or `FieldInvalid`."""

    async def translated(self, request: _Request, visit: Visit) -> Asked:
        """`asked`, for a door that has to look something up before."""
        return self.asked(request, visit)

    def ready(self, request: _Request, visit: Visit) -> bytes | None:
        """The answer to a request that asks nothing of a model and so takes nothing of a limit; None for others."""
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = request_headers(scope)
        caller = await self.rooms.auth.caller(scope, headers)
        clock = self.rooms.clock
        visit = Visit(scope["request_id"], self.path, caller, clock.now_us(), clock.monotonic_s())
        with DisconnectWatch(receive, self._lookout) as watch:
            try:
                request, asked, policy = await self._read(visit, headers, receive)
                if isinstance(asked, bytes):
                    await self._answer_ready(scope, send, caller, body=asked)
                    return
                watch.start()
                await self.answer(scope, send, visit, request=request, asked=asked, policy=policy)
            except AIServiceError as error:
                await self._refuse(scope, send, caller, error=error)
            except ClientGone:
                return
            except asyncio.CancelledError:
                if not watch.is_gone:
                    raise

    async def answer(
        self, scope: Scope, send: Send, visit: Visit, *, request: _Request, asked: Asked, policy: CachePolicy
    ) -> None:
        """From the request as it was read to the end of its answer."""
        answer = await self.rooms.corridor.answer(visit, asked, policy)
        async with aclosing(answer.rest):
            reply = self.reply(self.rooms, request, visit, answer=answer)
            await (self._stream if asked.stream else self._plain)(scope, send, reply)

    async def _read(
        self, visit: Visit, headers: dict[bytes, bytes], receive: Receive
    ) -> tuple[_Request, Asked | bytes, CachePolicy]:
        try:
            require(visit.caller, "generate")
            refuse_media_type(headers)
            body = await read_body(receive, headers, self.body_bytes_max)
            policy = self._policy(headers)
            request = decode(self.decoder, body)
            return request, self.ready(request, visit) or await self.translated(request, visit), policy
        except AIServiceError as error:
            self.rooms.corridor.refuse(visit, error)
            raise

    def _policy(self, headers: dict[bytes, bytes]) -> CachePolicy:
        header = headers.get(b"cache-control")
        return self.rooms.cache.policy(None if header is None else header.decode("latin-1"))

    async def _answer_ready(self, scope: Scope, send: Send, caller: Caller, *, body: bytes) -> None:
        await send_bytes(send, 200, body, headers=[JSON_TYPE, *await self.standing_headers(scope, caller)])

    async def standing_headers(self, scope: Scope, caller: Caller) -> Headers:
        """The headers of an answer that did not wait for the corridor."""
        limits = await standing(self.rooms, caller, self.surface)
        return [*limits, *self.surface.answer_headers(shown_id(scope))]

    async def _plain(self, scope: Scope, send: Send, reply: Reply[_Request]) -> None:
        answer = reply.answer
        chunks = [answer.first]
        async for chunk in answer.rest:
            chunks.append(chunk)
        body = reply.whole(merged(chunks))
        await reply.settled()
        await send_bytes(send, 200, body, headers=[JSON_TYPE, *self._answer_headers(scope, answer)])

    async def _stream(self, scope: Scope, send: Send, reply: Reply[_Request]) -> None:
        answer = reply.answer
        headers = [*reply.stream_headers, *self._answer_headers(scope, answer)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        last, data = answer.first, b""
        try:
            data = reply.opening() + reply.piece(last)
            if data and not last.is_last:
                await send({"type": "http.response.body", "body": data, "more_body": True})
                data = b""
            async for last in answer.rest:
                data = reply.piece(last)
                if data and not last.is_last:
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                    data = b""
            end = reply.closing(last)
            await reply.settled()
        except AIServiceError as error:
            note(error)
            scope[STREAM_FAILED] = True
            data += reply.failure(self.surface.event(error, shown_id(scope)))
            await send({"type": "http.response.body", "body": data})
            return
        await send({"type": "http.response.body", "body": data + end})

    def _answer_headers(self, scope: Scope, answer: Answer) -> Headers:
        """Where the answer came from, and how the caller's limits stand."""
        headers = [
            (b"x-cache", answer.cache_state.encode()),
            *self.surface.limit_headers(self.rooms.limits, answer.decision),
            *self.surface.answer_headers(shown_id(scope)),
        ]
        if answer.age_s is not None:
            headers.append((b"age", str(answer.age_s).encode()))
        return headers

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
