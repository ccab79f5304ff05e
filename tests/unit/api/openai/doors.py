"""The doors of chat, completions and embeddings without a service: what they ask, and what they make of chunks."""

import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from aiservice.api.hot import HotDoor, Reply
from aiservice.api.parse import decode
from aiservice.api.rooms import Rooms
from aiservice.core.clock import ManualClock
from aiservice.core.errors import InvalidRequest
from aiservice.core.settings import load
from aiservice.core.types import Asked, Chunk
from aiservice.gateway import Answer, Visit
from aiservice.keys import LOCAL_CALLER
from aiservice.limits import Decision
from aiservice.observe.metrics import Metrics

ROOMS = Rooms(
    load({"ENVIRONMENT": "development", "IMAGE_HOSTS": "pictures.example", "DEFAULT_MODEL": "echo"}),
    ManualClock(),
    Metrics(),
)
CREATED_S = 1_700_000_000
VISIT = Visit("0190-ab", "/v1", LOCAL_CALLER, CREATED_S * 1_000_000 + 999_999, 0.0)


async def nothing() -> AsyncGenerator[Chunk]:
    return
    yield


def asked(door: type[HotDoor[Any]], body: Any) -> Asked:
    made = door(ROOMS)
    return made.asked(decode(made.decoder, json.dumps(body).encode()), VISIT)


def refused(door: type[HotDoor[Any]], body: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        asked(door, body)
    return caught.value


def reply(door: type[HotDoor[Any]], body: Any, chunks: Sequence[Chunk]) -> Reply[Any]:
    answer = Answer("echo", "fake", "MISS", Decision(True, ()), chunks[0], nothing())
    made = door(ROOMS)
    return made.reply(ROOMS, decode(made.decoder, json.dumps(body).encode()), VISIT, answer=answer)


def whole(door: type[HotDoor[Any]], body: Any, *choices: Chunk) -> Any:
    return json.loads(reply(door, body, choices).whole(choices))


def streamed(door: type[HotDoor[Any]], body: Any, *chunks: Chunk) -> list[Any]:
    """The events of a stream but [DONE], which is always its end."""
    made = reply(door, body, chunks)
    data = made.opening() + b"".join([made.piece(chunk) for chunk in chunks]) + made.closing(chunks[-1])
    *events, done, rest = data.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]
