"""POST /api/pull: an operator has an Ollama engine fetch a model, and sees how far it is."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from aiservice.api.asgi import JSON_TYPE, Receive, Scope, Send, send_bytes
from aiservice.api.auth import Auth, require
from aiservice.api.disconnect import DisconnectWatch, Lookout
from aiservice.api.errors import note
from aiservice.api.guard import guarded
from aiservice.api.hot import STREAM_FAILED
from aiservice.api.ollama.lines import HEADERS, NDJSON
from aiservice.api.ollama.models import NAME_LENGTH_MAX
from aiservice.api.refusals import may_raise
from aiservice.api.rooms import Rooms
from aiservice.api.surfaces import OLLAMA, shown_id
from aiservice.core.errors import AIServiceError, EngineError, EngineTimeout, FieldInvalid
from aiservice.engines import Engine, PullProgress
from aiservice.keys import Caller


class OllamaPullRequest(BaseModel):
    """Which model to fetch: a name of Ollama's library, or `engine/name`. `name` is what older clients call it."""

    model: str | None = Field(default=None, max_length=NAME_LENGTH_MAX)
    name: str | None = Field(default=None, max_length=NAME_LENGTH_MAX)
    stream: bool | None = None
    insecure: bool | None = None


class OllamaProgress(BaseModel):
    """How far a download is, in bytes of the part with this digest; the last status is `success`."""

    status: str
    digest: str | None = None
    total: int | None = None
    completed: int | None = None


# A stream of these unless it is asked for one only; each caller proves itself by either header.
_ANSWERS: Mapping[int | str, dict[str, Any]] = {
    200: {
        "model": OllamaProgress,
        "description": "How far it is.",
        "content": {NDJSON: {"schema": {"$ref": "#/components/schemas/OllamaProgress"}}},
    }
}
_EITHER_KEY: Mapping[str, Any] = {"security": [{"admin": []}, {"key": []}]}


def router(rooms: Rooms) -> APIRouter:
    routes = APIRouter(tags=["ollama"], route_class=guarded(rooms, operator))
    lookout = Lookout()

    @routes.post(
        "/api/pull", responses={**_ANSWERS, **may_raise(EngineError, EngineTimeout)}, openapi_extra=dict(_EITHER_KEY)
    )
    async def pull(wanted: OllamaPullRequest) -> Response:
        """Fetches a model, and tells how far it is in JSON lines unless `stream` is false. For operators."""
        name = wanted.model or wanted.name
        if not name:
            raise FieldInvalid("model is required.", param="model")
        if wanted.insecure:
            raise FieldInvalid("insecure: models are fetched over verified connections only.", param="insecure")
        engine, model = _fetcher(rooms, name)
        return Pulling(engine.pull(model), lookout, is_streamed=wanted.stream is not False)

    return routes


async def operator(auth: Auth, scope: Scope, headers: dict[bytes, bytes]) -> Caller:
    """The operator, or a key with the scope admin."""
    if b"x-admin-key" in headers:
        return await auth.admin(scope, headers)
    return require(await auth.caller(scope, headers), "admin")


class Pulling(Response):
    """A model's download as it goes on; it ends when the client leaves."""

    media_type = NDJSON

    def __init__(self, steps: AsyncGenerator[PullProgress], lookout: Lookout, *, is_streamed: bool) -> None:
        super().__init__()
        self._steps = steps
        self._lookout = lookout
        self._is_streamed = is_streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with DisconnectWatch(receive, self._lookout) as watch:
            watch.start()
            try:
                async with aclosing(self._steps):
                    await (self._stream(scope, send) if self._is_streamed else self._wait(send))
            except asyncio.CancelledError:
                if not watch.is_gone:
                    raise

    async def _wait(self, send: Send) -> None:
        """Answers when all of it is there; what fails before is the answer's status."""
        async for _ in self._steps:
            pass
        await send_bytes(send, 200, _json(PullProgress("success")), headers=[JSON_TYPE])

    async def _stream(self, scope: Scope, send: Send) -> None:
        """A line for each step. What fails before the first is the answer's status, later it is the last line."""
        line = _json(await anext(self._steps)) + b"\n"
        await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS]})
        try:
            await send({"type": "http.response.body", "body": line, "more_body": True})
            async for step in self._steps:
                await send({"type": "http.response.body", "body": _json(step) + b"\n", "more_body": True})
            end = b""
        except AIServiceError as error:
            note(error)
            scope[STREAM_FAILED] = True
            end = OLLAMA.event(error, shown_id(scope))
        await send({"type": "http.response.body", "body": end})


def _fetcher(rooms: Rooms, name: str) -> tuple[Engine, str]:
    """Who fetches the model, and by what name: the engine before the slash, else the first that can.

    Names of Ollama's library may have strokes too (`hf.co/...`): only an engine's name counts as one.
    """
    before, _, model = name.partition("/")
    engine = rooms.registry.engine(before) if model else None
    if engine is not None:
        return engine, model
    engine = rooms.registry.fetcher()
    if engine is None:
        raise FieldInvalid("There is no Ollama here that could fetch a model; set OLLAMA_URL.", param="model")
    return engine, name


def _json(step: PullProgress) -> bytes:
    progress = OllamaProgress(
        status=step.status, digest=step.digest, total=step.total_bytes, completed=step.completed_bytes
    )
    return progress.model_dump_json(exclude_none=True).encode()
