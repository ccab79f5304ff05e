"""A pull as it goes on: lines, its one answer, and a client that leaves."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from aiservice.api.disconnect import PATIENCE_S, Lookout
from aiservice.api.ollama.pull import Pulling
from aiservice.core.errors import EngineRefused, EngineUnreachable
from aiservice.engines import PullProgress

SCOPE = {"type": "http", "path": "/api/pull", "request_id": "id", "headers": []}
STEPS = [
    PullProgress("pulling manifest"),
    PullProgress("pulling abc", 5, 10, "sha256:abc"),
    PullProgress("success"),
]


class Pull:
    """Plays steps, then fails with `error` or waits for ever where it `hangs`; knows when it was closed."""

    def __init__(self, *steps: PullProgress, error: Exception | None = None, hangs: bool = False) -> None:
        self.steps = steps
        self.error = error
        self.hangs = hangs
        self.is_closed = False

    async def run(self) -> AsyncGenerator[PullProgress]:
        try:
            for step in self.steps:
                yield step
            if self.hangs:
                await asyncio.Event().wait()
            if self.error is not None:
                raise self.error
        finally:
            self.is_closed = True


async def answer(pull: Pull, *, is_streamed: bool = True, leaves: bool = False) -> list[Any]:
    """What was sent; a client that `leaves` does so at once."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    scope = dict(SCOPE)
    await Pulling(pull.run(), Lookout(), is_streamed=is_streamed)(scope, receive, send)
    return sent


def told(sent: list[Any]) -> list[Any]:
    return [json.loads(line) for line in b"".join(part.get("body", b"") for part in sent).splitlines()]


async def test_each_step_is_a_line() -> None:
    sent = await answer(Pull(*STEPS))
    assert (b"content-type", b"application/x-ndjson") in sent[0]["headers"]
    assert told(sent) == [
        {"status": "pulling manifest"},
        {"status": "pulling abc", "digest": "sha256:abc", "total": 10, "completed": 5},
        {"status": "success"},
    ]
    assert not sent[-1].get("more_body")


async def test_the_one_answer_comes_when_all_is_there() -> None:
    sent = await answer(Pull(*STEPS), is_streamed=False)
    assert (b"content-type", b"application/json") in sent[0]["headers"]
    assert told(sent) == [{"status": "success"}]


async def test_a_failure_after_the_first_line_is_the_last_line() -> None:
    pull = Pull(STEPS[0], error=EngineRefused("The engine cannot fetch this model: it does not exist"))
    sent = await answer(pull)
    assert sent[0]["status"] == 200
    assert told(sent)[-1] == {"error": "The engine cannot fetch this model: it does not exist"}


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_a_failure_before_anything_was_sent_is_the_answer(is_streamed: bool) -> None:
    with pytest.raises(EngineUnreachable):
        await answer(Pull(error=EngineUnreachable("It is down.")), is_streamed=is_streamed)


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_a_client_that_leaves_ends_the_pull(is_streamed: bool) -> None:
    pull = Pull(STEPS[0], hangs=True)
    async with asyncio.timeout(20 * PATIENCE_S):
        sent = await answer(pull, is_streamed=is_streamed, leaves=True)
    assert pull.is_closed
    assert not sent or sent[-1].get("more_body")
