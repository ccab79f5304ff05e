"""What the doors to one engine's answer share: translate, walk the corridor, answer whole or as a stream."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import aclosing
from typing import ClassVar, Generic, TypeVar

from aiservice.api import sse
from aiservice.api.asgi import JSON_TYPE, Headers, Scope, Send, send_bytes
from aiservice.api.door import Door
from aiservice.api.errors import note
from aiservice.api.rooms import Rooms
from aiservice.api.surfaces import shown_id
from aiservice.cache import CachePolicy
from aiservice.core.errors import AIServiceError
from aiservice.core.types import Asked, Chunk, merged
from aiservice.gateway import Answer, Visit

_Request = TypeVar("_Request")
# In the scope of an answer whose stream ended with an error: it is not kept for the next try.
STREAM_FAILED = "aiservice.stream_failed"


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


class HotDoor(Door[_Request, Asked | bytes]):
    """A door to one engine's answer; a subclass only translates its request and its answer."""

    reply: type[Reply[_Request]]

    @abstractmethod
    def asked(self, request: _Request, visit: Visit) -> Asked:
        """The request in the corridor's words; raises `InvalidRequest` or `FieldInvalid`."""

    async def translated(self, request: _Request, visit: Visit) -> Asked:
        """`asked`, for a door that has to look something up before."""
        return self.asked(request, visit)

    def ready(self, request: _Request, visit: Visit) -> bytes | None:
        """The answer to a request that asks nothing of a model and so takes nothing of a limit; None for others."""
        return None

    async def prepared(self, request: _Request, visit: Visit) -> Asked | bytes:
        return self.ready(request, visit) or await self.translated(request, visit)

    async def serve(
        self, scope: Scope, send: Send, visit: Visit, *, request: _Request, work: Asked | bytes, policy: CachePolicy
    ) -> None:
        if isinstance(work, bytes):
            headers = [JSON_TYPE, *await self.standing_headers(scope, visit.caller)]
            await send_bytes(send, 200, work, headers=headers)
        else:
            await self.answer(scope, send, visit, request=request, asked=work, policy=policy)

    async def answer(
        self, scope: Scope, send: Send, visit: Visit, *, request: _Request, asked: Asked, policy: CachePolicy
    ) -> None:
        """From the request as it was read to the end of its answer."""
        answer = await self.rooms.corridor.answer(visit, asked, policy)
        async with aclosing(answer.rest):
            reply = self.reply(self.rooms, request, visit, answer=answer)
            await (self._stream if asked.stream else self._plain)(scope, send, reply)

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
