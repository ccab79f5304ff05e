"""The embedded engine as the supervisor starts it: which file, which socket, which command."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from aiservice.core.clock import Clock
from aiservice.core.errors import StartRefused
from aiservice.core.settings import EngineSettings, Settings
from aiservice.engines.llamacpp import (
    SMOLLM2,
    embedded_model_name,
    embedded_model_path,
    embedding_socket,
)
from aiservice.engines.minilm import EmbeddingModel, embedding_model
from aiservice.server.child import Child
from aiservice.server.sockets import socket_in

SOCKET = "llamacpp"


@contextmanager
def engine_child(settings: Settings, clock: Clock, *, command: Sequence[str] | None = None) -> Iterator[Child | None]:
    """The embedded engine's process, not started yet; None where it is switched off or not installed.

    `command` stands in for the engine's own. Raises `SettingInvalid` when EMBEDDED_MODEL or EMBEDDED_EMBEDDING_MODEL
    names a file that is not there, `StartRefused` when there is such a file and nothing to run it with.
    """
    model = embedded_model_path(settings.engines.embedded_model)
    if model is None or not _is_installed(settings.engines.embedded_model):
        yield None
        return
    data_dir = settings.server.data_dir
    embedding = embedding_model(settings.engines.embedded_embedding_model, data_dir)
    with socket_in(data_dir.resolve() / "run", SOCKET) as socket:
        own = [*_command(settings.engines, model, socket), *_embedding_options(embedding, socket)]
        yield Child(command or own, data_dir / "log" / "llamacpp.log", clock, name="the embedded engine")
        embedding_socket(socket).unlink(missing_ok=True)


def _is_installed(embedded_model: str) -> bool:
    if find_spec("xllamacpp") is not None:
        return True
    if embedded_model != SMOLLM2:
        raise StartRefused(
            "EMBEDDED_MODEL names a file, but the package xllamacpp that would run it is missing; "
            "install aiservice[embedded], or set EMBEDDED_MODEL=off."
        )
    return False


def _command(engines: EngineSettings, model: Path, socket: Path) -> list[str]:
    options = {
        "parent": os.getpid(),
        "model": model,
        "name": embedded_model_name(engines.embedded_model),
        "socket": socket,
        "slots": engines.embedded_slots,
        "context": engines.embedded_context,
        "threads": engines.embedded_threads or os.cpu_count() or 1,
    }
    return [sys.executable, "-m", "aiservice.server.embedded", *_options(options)]


def _embedding_options(embedding: EmbeddingModel | None, socket: Path) -> list[str]:
    if embedding is None:
        return []
    options = {
        "embedding-model": embedding.file,
        "embedding-source": embedding.source,
        "embedding-name": embedding.name,
        "embedding-socket": embedding_socket(socket),
        "embedding-context": embedding.tokens_max,
    }
    return _options({name: value for name, value in options.items() if value is not None})


def _options(values: Mapping[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]
