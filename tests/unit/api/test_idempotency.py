"""The ring around the doors for POSTs with an Idempotency-Key, with doors that do what the service's never should."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fastapi import APIRouter

from aiservice.api.asgi import App, Message, Receive, Scope, Send, send_bytes
from aiservice.api.auth import Auth
from aiservice.api.guard import guarded
from aiservice.api.hot import STREAM_FAILED
from aiservice.api.idempotency import KEPT_BYTES_MAX, IdempotentDoors
from aiservice.api.rooms import Rooms
from aiservice.core.clock import ManualClock
from aiservice.core.errors import EngineBusy, InvalidRequest
from aiservice.core.settings import load
from aiservice.gateway import Idempotency
from aiservice.gateway.memory import MemoryIdempotencyStore
from aiservice.keys import Keys
from aiservice.keys.memory import MemoryKeyStore
from aiservice.observe.metrics import Metrics
from tests.api.asgi_client import Client

PATH = "/door"
ONCE = {"idempotency-key": "k"}
STREAM = (b"content-type", b"text/event-stream; charset=utf-8")


@pytest.fixture
def rooms() -> Rooms:
    settings, clock, metrics = load({"ENVIRONMENT": "development"}), ManualClock(), Metrics()
    rooms = Rooms(settings, clock, metrics)
    rooms.keys = Keys(MemoryKeyStore(), settings.keys, settings.limits, pepper=b"p" * 32, clock=clock)
    rooms.auth = Auth(settings, rooms.keys)
    store = MemoryIdempotencyStore(clock)
    rooms.idempotency = Idempotency(store, secret=b"s" * 32, metrics=metrics, clock=clock)
    return rooms


class Door:
    """Answers by a script and counts its calls."""

    body_bytes_max = 1_048_576

    def __init__(self, play: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.calls = 0
        self._play = play

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        await self._play(scope, receive, send)


def client_of(rooms: Rooms, door: App) -> Client:
    return Client(IdempotentDoors(rooms, door, hot={("POST", PATH): door}, guarded=[APIRouter()]))


def answering(status: int, *parts: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Door:
    async def play(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for number, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})

    return Door(play)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299, 400, 403, 404, 413, 415, 422, 499])
async def test_final_answers_are_kept(rooms: Rooms, status: int):
    door = answering(status, b"one ", b"two")
    first, again = [await client_of(rooms, door).post(PATH, headers=ONCE) for _ in range(2)]

    assert (again.status, again.body, again.header("idempotent-replayed")) == (status, b"one two", "true")
    assert (first.body, first.header("idempotent-replayed"), door.calls) == (b"one two", None, 1)


@pytest.mark.parametrize("status", [301, 304, 401, 408, 409, 429, 500, 502, 503, 504])
async def test_answers_that_may_be_better_next_time_are_not_kept(rooms: Rooms, status: int):
    door = answering(status, b"no")
    answers = [await client_of(rooms, door).post(PATH, headers=ONCE) for _ in range(2)]

    assert [answer.header("idempotent-replayed") for answer in answers] == [None, None]
    assert door.calls == 2


@pytest.mark.parametrize(("has_failed", "calls"), [(False, 1), (True, 2)])
async def test_a_stream_that_ended_with_an_error_is_not_kept(rooms: Rooms, has_failed: bool, calls: int):
    async def play(scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [STREAM]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        if has_failed:
            scope[STREAM_FAILED] = True
        await send({"type": "http.response.body", "body": b"data: 2\n\n"})

    door = Door(play)
    answers = [await client_of(rooms, door).post(PATH, headers=ONCE) for _ in range(2)]

    assert {answer.body for answer in answers} == {b"data: 1\n\ndata: 2\n\n"}
    assert door.calls == calls


@pytest.mark.parametrize(("more", "calls"), [(0, 1), (1, 2)])
async def test_what_is_larger_than_4_mib_is_given_and_not_kept(rooms: Rooms, more: int, calls: int):
    half = b"x" * (KEPT_BYTES_MAX // 2)
    door = answering(200, half, half, b"y" * more, b"")
    answers = [await client_of(rooms, door).post(PATH, headers=ONCE) for _ in range(2)]

    assert [len(answer.body) for answer in answers] == [KEPT_BYTES_MAX + more] * 2
    assert answers[0].body == answers[1].body
    assert door.calls == calls


async def test_the_door_hears_the_body_once_and_never_that_the_client_left(rooms: Rooms):
    heard: list[Message] = []

    async def play(_scope: Scope, receive: Receive, send: Send) -> None:
        heard.append(await receive())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.1)
        await send_bytes(send, 200, b"done", headers=())

    door = Door(play)
    await client_of(rooms, door).post(PATH, b"[1, 2]", headers=ONCE, leave_after_s=0.02)
    again = await client_of(rooms, door).post(PATH, b"[1, 2]", headers=ONCE)

    assert heard == [{"type": "http.request", "body": b"[1, 2]", "more_body": False}]
    assert (again.body, again.header("idempotent-replayed"), door.calls) == (b"done", "true", 1)


@pytest.mark.parametrize("error", [EngineBusy(retry_after_s=2), InvalidRequest(), RuntimeError("a fault of ours")])
async def test_a_door_that_fails_frees_the_key(rooms: Rooms, error: Exception):
    async def play(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise error

    door = Door(play)
    for _ in range(2):
        with pytest.raises(type(error)):
            await client_of(rooms, door).post(PATH, headers=ONCE)

    assert door.calls == 2


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_door_that_does_not_end_its_answer_frees_the_key(rooms: Rooms, has_begun: bool):
    async def play(_scope: Scope, _receive: Receive, send: Send) -> None:
        if has_begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})

    door = Door(play)
    for _ in range(2):
        await client_of(rooms, door).post(PATH, headers=ONCE)

    assert door.calls == 2


@pytest.mark.parametrize(("status", "calls"), [(500, 2), (200, 1)])
async def test_the_next_try_may_come_with_the_last_byte(rooms: Rooms, status: int, calls: int):
    """The key is free, or the answer kept, before the client can know that it is through."""
    door = answering(status, b"body")
    ring = client_of(rooms, door)
    again: list[int] = []

    async def asking_again(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_ask(message: Message) -> None:
            if message["type"] == "http.response.body":
                again.append((await ring.post(PATH, headers=ONCE)).status)
            await send(message)

        await ring.app(scope, receive, send_and_ask)

    await Client(asking_again).post(PATH, headers=ONCE)

    assert (again, door.calls) == ([status], calls)


async def test_a_body_in_pieces_is_the_same_body(rooms: Rooms):
    door = answering(200, b"done")
    await client_of(rooms, door).post(PATH, b"ab", headers=ONCE)
    answer = await pieces(client_of(rooms, door), [b"a", b"b"])

    assert (answer["headers"], door.calls) == ([(b"idempotent-replayed", b"true")], 1)


async def test_a_client_that_leaves_before_its_body_is_whole_runs_nothing(rooms: Rooms):
    door = answering(200, b"done")

    assert await pieces(client_of(rooms, door), [b"a"], is_cut=True) == {}
    assert door.calls == 0


async def test_two_keys_are_none(rooms: Rooms):
    door = answering(200, b"done")
    ring = IdempotentDoors(rooms, door, hot={}, guarded=[guarded_router(rooms)])

    with pytest.raises(InvalidRequest):
        await pieces(Client(ring), [b""], keys=(b"a", b"b"))
    assert door.calls == 0


async def test_a_route_that_asks_nobody_is_passed_by(rooms: Rooms):
    door = answering(200, b"done")
    client = Client(IdempotentDoors(rooms, door, hot={}, guarded=[guarded_router(rooms)]))
    for path in ("/open", "/open", "/items/7"):
        await client.post(path, headers=ONCE)
    replayed = await client.post("/items/7", headers=ONCE)

    assert (replayed.header("idempotent-replayed"), door.calls) == ("true", 3)


def guarded_router(rooms: Rooms) -> APIRouter:
    router, inner = APIRouter(route_class=guarded(rooms, Auth.caller)), APIRouter()

    @router.post("/door")
    @router.post("/items/{number}")
    async def item() -> None: ...

    @inner.post("/open")
    async def opened() -> None: ...

    router.include_router(inner)
    return router


async def pieces(
    client: Client, parts: list[bytes], *, is_cut: bool = False, keys: tuple[bytes, ...] = (b"k",)
) -> dict[str, Any]:
    """Sends the body in pieces; gives the answer's first message, nothing when there is none."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1]["more_body"] = is_cut
    messages.append({"type": "http.disconnect"})
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = client._scope("POST", PATH, b"ab", {})
    scope["headers"] += [(b"idempotency-key", key) for key in keys]
    await client.app(scope, receive, send)
    return dict(sent[0]) if sent else {}
