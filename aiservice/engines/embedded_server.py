"""One of the two llama.cpp servers in the embedded engine's process, asked over its unix socket.

While the process starts, or starts again after a crash, calls give `EngineBusy` with Retry-After. Every call makes its
own connection: after a stream the server closes it without saying so, and a kept one would hold one of its few threads.
"""

import asyncio
import hashlib
from pathlib import Path

import msgspec

from aiservice.core.errors import EngineBusy, EngineError, EngineUnreachable
from aiservice.core.types import Deadline
from aiservice.engines.http import ByteStream, HttpClient

MODELS_PATH = "/v1/models"
MODELS_TIMEOUT_S = 2.0
STARTING_RETRY_AFTER_S = 2
_DIGEST_PART_BYTES = 1024 * 1024


class _Meta(msgspec.Struct):
    n_ctx: int | None = None


class _Row(msgspec.Struct):
    meta: _Meta | None = None


class _Rows(msgspec.Struct):
    data: list[_Row] = []


class EmbeddedServer:
    """The client of one server. `weights` is a file that changes with its model, `context_length` in tokens."""

    def __init__(self, url: str, *, weights: Path, context_length: int) -> None:
        self._http = HttpClient(url, is_kept_alive=False)
        self._weights = weights
        self._context_length = context_length
        self._digest: str | None = None

    async def loaded_context(self) -> int | None:
        """The context in tokens as the server tells it, None while it does not serve yet."""
        try:
            rows = msgspec.json.decode(await self._http.get(MODELS_PATH, timeout_s=MODELS_TIMEOUT_S), type=_Rows).data
        except (EngineBusy, EngineUnreachable):
            return None
        except msgspec.DecodeError as error:
            raise EngineError("The embedded engine's answer cannot be read.", detail=f"models: {error}") from error
        meta = rows[0].meta if rows else None
        return meta.n_ctx if meta is not None and meta.n_ctx is not None else self._context_length

    async def digest(self) -> str:
        if self._digest is None:
            self._digest = await asyncio.to_thread(file_digest, self._weights)
        return self._digest

    async def stream(self, path: str, body: bytes, deadline: Deadline) -> ByteStream:
        try:
            return await self._http.stream(path, body, deadline)
        except EngineUnreachable as error:
            raise _starting(error) from error

    async def post(self, path: str, body: bytes, deadline: Deadline) -> bytes:
        try:
            return await self._http.post(path, body, deadline)
        except EngineUnreachable as error:
            raise _starting(error) from error

    async def aclose(self) -> None:
        await self._http.aclose()


def file_digest(path: Path) -> str:
    """SHA-256 over a file's size, first and last MiB: a file of weights is told from another without reading it all."""
    size = path.stat().st_size
    digest = hashlib.sha256(size.to_bytes(8, "big"))
    with path.open("rb") as file:
        digest.update(file.read(_DIGEST_PART_BYTES))
        file.seek(max(0, size - _DIGEST_PART_BYTES))
        digest.update(file.read(_DIGEST_PART_BYTES))
    return digest.hexdigest()


def _starting(error: EngineUnreachable) -> EngineBusy:
    return EngineBusy(
        f"The embedded model is starting; try again in {STARTING_RETRY_AFTER_S} s.",
        detail=error.detail,
        retry_after_s=STARTING_RETRY_AFTER_S,
    )
