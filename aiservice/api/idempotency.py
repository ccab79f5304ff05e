"""Idempotency-Key: a POST that carries it may be sent again, runs once, and is answered the same for 24 hours."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.routing import Match

from aiservice.api.asgi import App, ClientGone, Message, Receive, Scope, Send, read_body, request_headers
from aiservice.api.door import Door, standing
from aiservice.api.errors import note, send_error
from aiservice.api.guard import GuardedRoute
from aiservice.api.hot import STREAM_FAILED
from aiservice.api.rooms import Rooms
from aiservice.api.surfaces import surface_of
from aiservice.core.errors import AIServiceError, IdempotencyBusy, InvalidRequest
from aiservice.gateway import Attempt, Visit
from aiservice.keys import Caller

HEADER = "Idempotency-Key"
KEPT_BYTES_MAX = 4 * 1024 * 1024

_NAME = HEADER.lower().encode()
_KEY = re.compile(rb"[\x20-\x7e]{1,255}")
# Besides method, path, query and body: what a door may answer differently for.
_TELLING_HEADERS = (b"content-type", b"cache-control", b"accept")
_REPLAYED = (b"idempotent-replayed", b"true")
# Refusals that another try may not meet again, as any 5xx.
_PASSING = frozenset({401, 408, 409, 429})

_Keep = Callable[["_Answer | None"], Awaitable[None]]


class _Answer(msgspec.Struct, array_like=True):
    """An answer as it went out, without what the edge adds to each."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Answer)


class IdempotentDoors:
    """Pure ASGI before all doors, for POSTs with the header. Where a route asks nobody who they are it does nothing.

    `hot` are the hot doors by method and path, `guarded` the routers among whose routes the others are found.
    """

    def __init__(
        self, rooms: Rooms, doors: App, *, hot: Mapping[tuple[str, str], Door[Any, Any]], guarded: Iterable[APIRouter]
    ) -> None:
        self._rooms = rooms
        self._doors = doors
        self._hot = hot
        self._guarded = [route for router in guarded for route in router.routes if isinstance(route, GuardedRoute)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = request_headers(scope)
        caller = await self._caller(scope, headers)
        if caller is None:
            await self._doors(scope, receive, send)
            return
        try:
            body = await self._read(scope, headers, receive)
            attempt = self._rooms.idempotency.attempt(caller, _key_in(scope), _telling(scope, headers, body))
            kept = await self._rooms.idempotency.begin(attempt)
        except ClientGone:
            return
        except AIServiceError as error:
            await self._refuse(scope, send, caller, error=error)
            return
        if kept is not None:
            await _replay(send, _decoder.decode(kept))
        else:
            await self._run(scope, send, attempt, body=body)

    async def _caller(self, scope: Scope, headers: dict[bytes, bytes]) -> Caller | None:
        """Who asks, by the rule of the route, and refused as the route would."""
        if (scope["method"], scope["path"]) in self._hot:
            return await self._rooms.auth.caller(scope, headers)
        for route in self._guarded:
            if route.matches(scope)[0] is Match.FULL:
                return await route.admit(scope, headers)
        return None

    async def _read(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        _refuse_key(scope)
        door = self._hot.get((scope["method"], scope["path"]))
        bytes_max = self._rooms.settings.server.body_bytes_max if door is None else door.body_bytes_max
        return await read_body(receive, headers, bytes_max)

    async def _refuse(self, scope: Scope, send: Send, caller: Caller, *, error: AIServiceError) -> None:
        """A hot door's refusals are recorded and tell the limits, also those that did not come as far as the door.

        A request that is still running has its row already, or will.
        """
        if (scope["method"], scope["path"]) not in self._hot:
            raise error
        note(error)
        if not isinstance(error, IdempotencyBusy):
            clock = self._rooms.clock
            visit = Visit(scope["request_id"], scope["path"], caller, clock.now_us(), clock.monotonic_s())
            self._rooms.corridor.refuse(visit, error)
        await send_error(scope, send, error, limits=await standing(self._rooms, caller, surface_of(scope)))

    async def _run(self, scope: Scope, send: Send, attempt: Attempt, *, body: bytes) -> None:
        """Runs to the end also when the client leaves, so that its next attempt gets the answer."""
        idempotency = self._rooms.idempotency

        async def keep(answer: _Answer | None) -> None:
            if answer is None:
                await idempotency.release(attempt)
            else:
                await idempotency.keep(attempt, _encoder.encode(answer))

        sending = _Sending(scope, send, keep)
        try:
            with idempotency.holding(attempt):
                await self._doors(scope, _only(body), sending.send)
        finally:
            if not sending.is_over:
                await idempotency.release(attempt)


class _Sending:
    """Hands an answer on as it comes; before its last piece goes out it is kept or given up.

    So a client that has its answer may send the request again at once.
    """

    __slots__ = ("_answer", "_bytes", "_keep", "_parts", "_scope", "_send", "is_over")

    def __init__(self, scope: Scope, send: Send, keep: _Keep) -> None:
        self._scope = scope
        self._send = send
        self._keep = keep
        self._answer = _Answer(0, [], b"")
        self._parts: list[bytes] = []
        self._bytes = 0
        self.is_over = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._answer.status = message["status"]
            self._answer.headers = list(message["headers"])
        else:
            self._collect(message.get("body", b""))
            if not message.get("more_body", False):
                await self._keep(self._whole())
                self.is_over = True
        await self._send(message)

    def _collect(self, part: bytes) -> None:
        self._bytes += len(part)
        if self._bytes <= KEPT_BYTES_MAX:
            self._parts.append(part)
        else:
            self._parts.clear()

    def _whole(self) -> _Answer | None:
        """The whole answer, None where it is not to be kept."""
        self._answer.body = b"".join(self._parts)
        is_kept = self._bytes <= KEPT_BYTES_MAX and STREAM_FAILED not in self._scope and _is_final(self._answer.status)
        return self._answer if is_kept else None


def _is_final(status: int) -> bool:
    """Whether another try would end no better: a success, or a refusal that lies in the request."""
    return 200 <= status < 300 or (400 <= status < 500 and status not in _PASSING)


def _refuse_key(scope: Scope) -> None:
    keys = [value for name, value in scope["headers"] if name == _NAME]
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise InvalidRequest(f"{HEADER} takes 1 to 255 printable ASCII characters, once.", param=HEADER)


def _key_in(scope: Scope) -> str:
    return request_headers(scope)[_NAME].decode("ascii")


def _telling(scope: Scope, headers: dict[bytes, bytes], body: bytes) -> list[bytes | None]:
    """What makes this request another one than the same key's before."""
    telling = [headers.get(name) for name in _TELLING_HEADERS]
    return [scope["method"].encode(), scope["path"].encode(), scope["query_string"], *telling, body]


def _only(body: bytes) -> Receive:
    """`receive` of a client that has sent this body and never leaves."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        return await never

    return receive


async def _replay(send: Send, answer: _Answer) -> None:
    headers = [*answer.headers, _REPLAYED]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
